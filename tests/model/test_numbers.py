import math

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from behavior_tasks.model.fusion import AmountHead, NumberFusion
from behavior_tasks.model.numbers import EncodedNumbers, NumberEncoding, fit_numbers
from behavior_tasks.model.skewness import signed_log

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
    expected: dict[tuple[float, float], list[float]] = {
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


def test_numbers_tell_the_purchase_wide_and_deep_and_amounts_deep() -> None:
    torch.manual_seed(0)
    fusion = NumberFusion(ENCODING, answers=2, dropout=0.5)
    numbers_BF = torch.tensor([[2.0, 1.0], [math.nan, -3.0]])
    with torch.no_grad():
        # Nothing, or nearly so, before the first step.
        assert fusion(numbers_BF).abs().max() < 0.1
        fusion.eval()
        for parameter in fusion.parameters():
            parameter.normal_()
        weights = dict(fusion.named_parameters())
        places_BZ = EncodedNumbers(ENCODING)(numbers_BF)
        inner = torch.relu(places_BZ @ weights["deep.0.weight"].T + weights["deep.0.bias"])
        inner = torch.relu(inner @ weights["deep.3.weight"].T + weights["deep.3.bias"])
        expected = inner @ fusion.out.weight.T + fusion.out.bias
        expected[:, :1] += places_BZ @ fusion.wide.weight.T
        torch.testing.assert_close(fusion(numbers_BF), expected)
    assert weights["deep.0.weight"].shape == (64, 7)
    assert weights["deep.3.weight"].shape == (64, 64)


def test_amounts_are_told_on_the_scale_of_trains_buyers() -> None:
    head = AmountHead(3)
    head.standardise(4.0, 0.5)
    last_BD, told_B = torch.randn(2, 3), torch.tensor([0.0, 2.0])
    with torch.no_grad():
        mean_B, log_std_B = head.spread(head.text(last_BD).squeeze(1) + told_B)
        assert mean_B.tolist() == [4.0, 5.0]
        assert log_std_B.exp().tolist() == pytest.approx([0.5, 0.5])
        head.text.weight.fill_(1.0)
        torch.testing.assert_close(head.spread(head.text(last_BD).squeeze(1))[0], 4 + 0.5 * last_BD.sum(1))
        # An expected amount can't explode, whatever is learned.
        for learned, told in ((50.0, 2.0), (-50.0, 0.05)):
            head.log_std.fill_(learned)
            assert head.spread(told_B)[1].exp().tolist() == pytest.approx([told, told], rel=0.01)
    head.standardise(4.0, 0.0)
    assert torch.isfinite(head.spread(told_B)[1]).all()
