import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from behavior_tasks.base.errors import UserError
from behavior_tasks.model import batches
from behavior_tasks.model.batches import make_batch
from behavior_tasks.model.decision import Decision, sigmoid
from behavior_tasks.model.network import load_model
from behavior_tasks.model.predict import (
    Predictions,
    Scorer,
    number_names,
    predict,
    run_model,
    score_texts,
    threshold,
)
from behavior_tasks.model.work_folder import WorkFolder
from behavior_tasks.text.tokens import TokenSet
from tests.model.toy import Toy


@pytest.fixture
def tokens(toy: Toy) -> TokenSet:
    return TokenSet.load(toy.encode)


@pytest.fixture
def numbers(tokens: TokenSet) -> pd.DataFrame:
    """The first twenty examples' numbers."""
    return pd.DataFrame(np.array(tokens.sequences.numbers[:20]), columns=list(tokens.sequences.number_names))


def score(work: WorkFolder, tokens: TokenSet, rows: np.ndarray | None) -> np.ndarray:
    return predict(work.bundle, tokens.sequences, rows, device="cpu", threads=1).probability


def test_a_probability_is_the_logistic_of_the_models_logit(trained: WorkFolder, tokens: TokenSet) -> None:
    model = load_model(trained.bundle)
    rows = np.arange(12)
    expected = []
    for row in rows:
        with torch.inference_mode():
            outputs = model(make_batch(tokens.sequences, np.array([row])))
        expected.append(torch.sigmoid(outputs.purchase_B.double()).item())
    raw = run_model(model, tokens.sequences, rows, device=torch.device("cpu"))
    np.testing.assert_allclose(raw.probability, expected, atol=1e-6)
    np.testing.assert_allclose(sigmoid(raw.logit), expected, atol=1e-6)
    assert raw.probability.dtype == raw.logit.dtype == np.float64
    assert raw.probability.std() > 0.1


def test_predict_tells_the_calibrated_probability(trained: WorkFolder, tokens: TokenSet, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained.bundle, tmp_path / "bundle")
    decision = Decision(threshold=0.3, calibration="platt", slope=0.5, intercept=-0.4, prior_offset=0.2)
    decision.save(bundle)
    rows = np.arange(12)
    raw = run_model(load_model(bundle), tokens.sequences, rows, device=torch.device("cpu"))
    found = predict(bundle, tokens.sequences, rows, device="cpu", threads=1)
    np.testing.assert_allclose(found.logit, raw.logit, atol=1e-6)
    np.testing.assert_allclose(found.probability, sigmoid(0.5 * (raw.logit + 0.2) - 0.4), atol=1e-6)
    np.testing.assert_allclose(found.expected_amount / found.probability, raw.expected_amount / raw.probability)
    assert threshold(bundle) == 0.3


def test_neither_order_nor_company_changes_a_probability(
    trained: WorkFolder, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = score(trained, tokens, None)
    assert everything.shape == (280,)
    rows = np.random.default_rng(0).permutation(280)[:50]
    np.testing.assert_allclose(score(trained, tokens, rows), everything[rows], atol=1e-5)
    np.testing.assert_allclose(score(trained, tokens, rows[:1]), everything[rows[:1]], atol=1e-5)
    monkeypatch.setattr(batches, "SCORING_BATCH_TOKENS", 40)
    np.testing.assert_allclose(score(trained, tokens, None), everything, atol=1e-5)


def test_asking_twice_gives_the_same_bits(trained: WorkFolder, tokens: TokenSet) -> None:
    assert score(trained, tokens, None).tobytes() == score(trained, tokens, None).tobytes()


def test_threads_with_a_batch_each_change_no_bit_and_leave_the_count_of_threads(
    trained: WorkFolder, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SCORING_BATCH_TOKENS", 100)
    before, alone = torch.get_num_threads(), score(trained, tokens, None)
    together = predict(trained.bundle, tokens.sequences, device="cpu", threads=3).probability
    assert together.tobytes() == alone.tobytes()
    assert torch.get_num_threads() == before


def test_no_rows_give_no_probabilities(trained: WorkFolder, tokens: TokenSet) -> None:
    assert score(trained, tokens, np.array([], dtype=int)).shape == (0,)


def test_texts_score_as_their_tokens_do(trained: WorkFolder, toy: Toy, tokens: TokenSet, numbers: pd.DataFrame) -> None:
    found = score_texts(trained.bundle, toy.texts[:20], numbers, device="cpu", threads=1).probability
    np.testing.assert_allclose(found, score(trained, tokens, np.arange(20)), atol=1e-6)


def test_the_threshold_separates_what_the_model_has_learned(trained: WorkFolder, toy: Toy, tokens: TokenSet) -> None:
    test_rows = tokens.rows("test")
    predicted = score(trained, tokens, test_rows) >= threshold(trained.bundle)
    assert (predicted == (toy.labels[test_rows] == 1)).mean() > 0.9


def test_the_callers_thread_count_stays(trained: WorkFolder, tokens: TokenSet) -> None:
    before = torch.get_num_threads()
    predict(trained.bundle, tokens.sequences, np.arange(2), device="cpu", threads=before + 1)
    assert torch.get_num_threads() == before


def test_amounts_are_those_of_the_zero_inflated_lognormal() -> None:
    """Against a sample: who buys is drawn first, then what they pay."""
    random = np.random.default_rng(5)
    told = Predictions(
        probability=np.array([0.15, 0.6, 1.0, 0.0]),
        logit=np.zeros(4),
        log_mean=np.array([3.0, 1.0, 2.0, 2.0]),
        log_std=np.array([0.5, 0.9, 0.2, 0.5]),
    )
    drawn = np.exp(told.log_mean + told.log_std * random.standard_normal((200_000, 4)))
    drawn *= random.random((200_000, 4)) < told.probability
    np.testing.assert_allclose(told.expected_amount, drawn.mean(axis=0), rtol=0.02)
    for q in (0.1, 0.35, 0.5, 0.9, 0.97):
        np.testing.assert_allclose(told.quantile(q), np.quantile(drawn, q, axis=0), rtol=0.04, atol=0.01)
    # Exactly where the amounts begin, and before.
    assert told.quantile(0.85)[0] == 0
    assert told.quantile(0.4)[1] == 0
    assert told.quantile(0.851)[0] > 0
    with pytest.raises(ValueError, match="quantile"):
        told.quantile(1.0)


def test_without_an_amount_head_there_are_no_amounts() -> None:
    told = Predictions(probability=np.array([0.5]), logit=np.zeros(1), log_mean=None, log_std=None)
    assert told.expected_amount is None
    assert told.quantile(0.5) is None


def test_answers_that_are_no_numbers_are_refused(trained: WorkFolder, tokens: TokenSet, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained.bundle, tmp_path / "bundle")
    weights = load_file(bundle / "model.safetensors")
    weights["purchase.bias"] = torch.full_like(weights["purchase.bias"], torch.nan)
    save_file(weights, bundle / "model.safetensors")
    with pytest.raises(UserError, match="probabilities that are not finite") as caught:
        predict(bundle, tokens.sequences, np.arange(3), device="cpu", threads=1)
    assert caught.value.found == "3 of 3"


def test_parts_score_as_their_text_does(trained: WorkFolder, toy: Toy, numbers: pd.DataFrame) -> None:
    parts = [[word + " " for word in text.split()] for text in toy.texts[:20]]
    found = Scorer.load(trained.bundle, device="cpu", threads=1).score_parts(parts, numbers).probability
    wanted = score_texts(trained.bundle, toy.texts[:20], numbers, device="cpu", threads=1).probability
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_columns_are_found_by_name_and_an_empty_one_is_undefined(
    trained: WorkFolder, toy: Toy, numbers: pd.DataFrame
) -> None:
    assert number_names(trained.bundle) == tuple(numbers.columns)
    wanted = score_texts(trained.bundle, toy.texts[:20], numbers, device="cpu", threads=1).probability
    shuffled = numbers[numbers.columns[::-1]].assign(more="words").astype({numbers.columns[0]: "Float64"})
    found = score_texts(trained.bundle, toy.texts[:20], shuffled, device="cpu", threads=1).probability
    np.testing.assert_array_equal(found, wanted)
    empty = numbers.assign(**{numbers.columns[0]: None})
    undefined = numbers.assign(**{numbers.columns[0]: np.nan})
    told = [score_texts(trained.bundle, toy.texts[:20], n, device="cpu", threads=1) for n in (empty, undefined)]
    np.testing.assert_array_equal(told[0].probability, told[1].probability)
    assert not np.allclose(told[0].probability, wanted)


def test_a_missing_or_wordy_column_is_named(trained: WorkFolder, toy: Toy, numbers: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="not all there") as caught:
        score_texts(trained.bundle, toy.texts[:20], numbers.drop(columns="recency_days"), device="cpu")
    assert caught.value.found == "no recency_days"
    with pytest.raises(UserError, match="not all there"):
        score_texts(trained.bundle, toy.texts[:20], device="cpu")
    with pytest.raises(UserError, match='"recency_days" holds what is not a number'):
        score_texts(trained.bundle, toy.texts[:20], numbers.assign(recency_days="soon"), device="cpu")


def test_numbers_are_found_by_name_and_read_batch_by_batch(trained: WorkFolder, tokens: TokenSet) -> None:
    names, numbers = tokens.sequences.number_names, np.asarray(tokens.sequences.numbers)
    spare = np.full((len(numbers), 1), np.nan, dtype=np.float32)
    wider = replace(
        tokens.sequences,
        numbers=_Rationed(np.hstack([numbers[:, ::-1], spare])),
        number_names=(*names[::-1], "spare"),
    )
    np.testing.assert_array_equal(
        predict(trained.bundle, wider, device="cpu", threads=1).probability, score(trained, tokens, None)
    )


class _Rationed:
    """Numbers that give rows, never a whole column."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.int64
        return self.values[rows]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(trained: WorkFolder, tokens: TokenSet) -> None:
    with pytest.raises(UserError, match=r"train\.device"):
        predict(trained.bundle, tokens.sequences, None, device="cuda")
