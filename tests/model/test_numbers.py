import math

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from behavior_tasks.model.baselines import signed_log
from behavior_tasks.model.fusion import NumberFusion
from behavior_tasks.model.numbers import EncodedNumbers, NumberEncoding, fit_numbers

ENCODING = NumberEncoding(
    names=("days", "spent"),
    edges=((0.0, 1.0, 3.0), (-1.0, 1.0)),
    skewed=(False, True),
    medians=(2.0, 1.0),
    means=(2.0, 0.5),
    deviations=(4.0, 0.5),
)


def encode(encoding: NumberEncoding, numbers: list[list[float]]) -> list[list[float]]:
    return EncodedNumbers(encoding)(torch.tensor(numbers)).tolist()


def test_a_number_is_told_by_its_bins_by_being_undefined_and_standardised() -> None:
    log2 = math.log(2)
    expected = {
        # Three bins, of which the first two are of `days`; two undefined; two standardised.
        (0.0, 0.0): [0, 0, 0.5, 0, 0, -0.5, -1],
        (2.0, 1.0): [1, 0.5, 1, 0, 0, 0, (log2 - 0.5) / 0.5],
        (-7.0, -1.0): [0, 0, 0, 0, 0, -9 / 4, (-log2 - 0.5) / 0.5],
        (99.0, 1e9): [1, 1, 1, 0, 0, 5, 5],
        (math.nan, 0.5): [0, 0, 0.75, 1, 0, 0, (math.log(1.5) - 0.5) / 0.5],
        (1.0, math.nan): [1, 0, 0, 0, 1, -0.25, 1],
        (math.inf, -math.inf): [1, 1, 0, 0, 0, 5, -5],
    }
    found = encode(ENCODING, [list(row) for row in expected])
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-6)


def test_the_standardised_copy_is_that_of_the_logistic_baseline() -> None:
    random = np.random.default_rng(0)
    train = np.column_stack([random.lognormal(2, 1.5, 500), random.standard_normal(500) * 3 + 1])
    train[random.random(train.shape) < 0.2] = np.nan
    encoding = fit_numbers(train, ["skewed", "even"])
    assert encoding.skewed == (True, False)
    other = np.array([[3.0, 4.0], [np.nan, -2.0], [80.0, np.nan]])
    columns = [
        make_pipeline(*steps, SimpleImputer(strategy="median"), StandardScaler())
        .fit(train[:, [place]])
        .transform(other[:, [place]])[:, 0]
        for place, steps in enumerate([[FunctionTransformer(signed_log)], []])
    ]
    np.testing.assert_allclose(np.array(encode(encoding, other.tolist()))[:, -2:], np.column_stack(columns), atol=1e-5)


def test_edges_are_quantiles_of_train_and_each_bin_holds_as_many() -> None:
    column = np.random.default_rng(1).lognormal(size=4000)
    (edges,) = fit_numbers(column[:, None], ["spent"]).edges
    assert len(edges) == 9
    # Quantiles that are values of train themselves, not between two of them.
    assert set(edges) <= set(column.tolist())
    counts, _ = np.histogram(column, edges)
    assert counts.tolist() == pytest.approx([500] * 8, abs=1)


def test_a_feature_of_few_values_has_few_bins_and_an_undefined_one_none() -> None:
    numbers = np.array([[0.0, 5.0, np.nan], [1.0, 5.0, np.nan], [1.0, np.nan, np.inf], [0.0, 5.0, np.nan]])
    encoding = fit_numbers(numbers, ["few", "constant", "never"])
    assert encoding.names == ("few", "constant")
    assert encoding.edges == ((0.0, 1.0), (5.0, 6.0))
    # A constant tells by being undefined; nothing is divided by its deviation of zero.
    assert encode(encoding, [[0.0, 5.0], [0.0, math.nan]]) == [[0, 0, 0, 0, -1, 0], [0, 0, 0, 1, -1, 0]]


def test_the_encoding_travels_as_json() -> None:
    encoding = fit_numbers(np.random.default_rng(2).lognormal(size=(60, 3)), ["a", "b", "c"])
    assert NumberEncoding.model_validate_json(encoding.model_dump_json()) == encoding


def test_fused_numbers_add_wide_and_deep() -> None:
    torch.manual_seed(0)
    fusion = NumberFusion(ENCODING, width=3, answers=2, dropout=0.5)
    numbers_BF, last_BD = torch.tensor([[2.0, 1.0], [math.nan, -3.0]]), torch.randn(2, 3)
    with torch.no_grad():
        # Nothing, or nearly so, before the first step.
        assert fusion(numbers_BF, last_BD).abs().max() < 0.05
        assert fusion.wide.weight.abs().max() == 0
        fusion.wide.weight.normal_()
        fusion.eval()
        places_BZ = EncodedNumbers(ENCODING)(numbers_BF)
        first, second = fusion.deep[0], fusion.deep[3]
        inner = torch.relu(torch.cat([places_BZ, last_BD], 1) @ first.weight.T + first.bias)
        inner = torch.relu(inner @ second.weight.T + second.bias)
        expected = places_BZ @ fusion.wide.weight.T + inner @ fusion.out.weight.T + fusion.out.bias
        torch.testing.assert_close(fusion(numbers_BF, last_BD), expected)
        # Both the numbers and the text's state count.
        assert not torch.allclose(fusion(numbers_BF, last_BD), fusion(numbers_BF, last_BD + 1))
    assert first.weight.shape == (64, ENCODING_PLACES + 3)
    assert second.weight.shape == (64, 64)


ENCODING_PLACES = 3 + 2 + 2
