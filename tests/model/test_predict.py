import numpy as np
import pandas as pd
import pytest
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.model import batches
from behavior_tasks.model.batches import make_batch
from behavior_tasks.model.network import load_model
from behavior_tasks.model.predict import predict, score_texts, threshold
from behavior_tasks.model.work_folder import WorkFolder
from behavior_tasks.text.tokens import TokenSet
from tests.model.toy import Toy


@pytest.fixture
def tokens(toy: Toy) -> TokenSet:
    return TokenSet.load(toy.encode)


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
    found = score(trained, tokens, rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 0.1


def test_neither_order_nor_company_changes_a_probability(
    trained: WorkFolder, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = score(trained, tokens, None)
    assert everything.shape == (280,)
    rows = np.random.default_rng(0).permutation(280)[:50]
    np.testing.assert_allclose(score(trained, tokens, rows), everything[rows], atol=1e-6)
    np.testing.assert_allclose(score(trained, tokens, rows[:1]), everything[rows[:1]], atol=1e-6)
    monkeypatch.setattr(batches, "SCORING_BATCH_TOKENS", 40)
    np.testing.assert_allclose(score(trained, tokens, None), everything, atol=1e-6)


def test_asking_twice_gives_the_same_bits(trained: WorkFolder, tokens: TokenSet) -> None:
    assert score(trained, tokens, None).tobytes() == score(trained, tokens, None).tobytes()


def test_no_rows_give_no_probabilities(trained: WorkFolder, tokens: TokenSet) -> None:
    assert score(trained, tokens, np.array([], dtype=int)).shape == (0,)


def test_texts_score_as_their_tokens_do(trained: WorkFolder, toy: Toy, tokens: TokenSet) -> None:
    numbers = pd.DataFrame(np.array(tokens.sequences.numbers[:20]), columns=list(tokens.sequences.number_names))
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(trained: WorkFolder, tokens: TokenSet) -> None:
    with pytest.raises(UserError, match=r"train\.device"):
        predict(trained.bundle, tokens.sequences, None, device="cuda")
