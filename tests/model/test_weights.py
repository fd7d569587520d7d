"""Weights of sampled negatives: probabilities learned from a sample are those of all candidates."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.model.baselines import fit_baselines, make_logistic, predict_simple, read_examples
from behavior_tasks.model.predict import predict
from behavior_tasks.pipeline import Run
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.verdict.metrics import expected_calibration_error
from tests.model.toy import make_toy, make_work, train_here
from tests.shop import run_until

SHOP: dict[str, object] = {
    "examples.unit": "shopper_product",
    "examples.train_cutoffs": 4,
    "simulate.shoppers": 700,
    "simulate.days": 90,
    "simulate.rollouts": 10,
    "engine.buckets": 1,
}
FEW = [
    *("this_events", "this_recency_days", "this_open_carts", "this_purchases", "this_popularity", "this_share"),
    *("recency_days", "events_7d", "purchases"),
]


@pytest.fixture(scope="module")
def runs() -> tuple[Run, Run]:
    """The simulated shop with four negatives a positive, and with all of them."""

    def run(kept: float) -> Run:
        return run_until("features", f"{kept} negatives", overrides={**SHOP, "examples.negatives_per_positive": kept})

    return run(4.0), run(1e6)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        # Which negatives are kept depends on the ids, and the pseudonyms in them on the key.
        patch.setenv(KEY_VARIABLE, "5a" * 32)
        yield path


def examples_of(run: Run) -> pd.DataFrame:
    artifact = run.artifact("features")
    assert artifact is not None
    return read_examples(artifact.path / "examples", FEW)


@pytest.mark.slow
def test_the_weighted_share_of_a_sample_is_the_share_of_all(runs: tuple[Run, Run]) -> None:
    sample, every = (examples[examples["split"] == "train"] for examples in map(examples_of, runs))
    share = every["label"].mean()
    assert len(sample) < len(every) / 5
    assert (every["weight"] == 1).all()
    # The positives are all there; the weight of the negatives varies with how many were drawn.
    assert sample["label"].sum() == every["label"].sum()
    kept = int((sample["label"] == 0).sum())
    assert np.average(sample["label"], weights=sample["weight"]) == pytest.approx(share, rel=4 / np.sqrt(kept))
    assert sample["label"].mean() == pytest.approx(1 / 5, abs=0.03)


@pytest.mark.slow
def test_probabilities_are_calibrated_with_weights_and_are_not_without(runs: tuple[Run, Run]) -> None:
    sample, every = map(examples_of, runs)
    validation = every[every["split"] == "validation"]
    share, labels = validation["label"].mean(), validation["label"].to_numpy()

    def predicted(examples: pd.DataFrame) -> pd.DataFrame:
        with threadpool_limits(limits=1):
            fitted = fit_baselines(examples, FEW, [], seed=1)
            asked = examples[examples["split"] != "train"]
            answer = predict_simple(fitted, asked, FEW, [])
            answer["boosting"] = fitted.boosting.predict_proba(asked[FEW])[:, 1]
        assert answer["example"][answer["split"] == "validation"].tolist() == validation["example"].tolist()
        return answer[answer["split"] == "validation"]

    weighted, unweighted = predicted(sample), predicted(sample.assign(weight=1.0))
    # Of 198 purchases that happened later; boosted trees overfit so small a sample a little.
    for name, off in (("prior", 0.2), ("logistic", 0.25), ("boosting", 0.5)):
        assert weighted[name].mean() == pytest.approx(share, rel=off), name
        assert unweighted[name].mean() > 8 * share, name
        assert expected_calibration_error(labels, weighted[name].to_numpy()) < 0.012, name
        assert expected_calibration_error(labels, unweighted[name].to_numpy()) > 0.12, name
    # Learning from a twelfth of the negatives costs little: the regression is nearly that of all of them.
    train = every[every["split"] == "train"]
    full = make_logistic(train, FEW, []).fit(train[FEW], train["label"]).predict_proba(validation[FEW])[:, 1]
    assert weighted["logistic"].mean() == pytest.approx(full.mean(), rel=0.1)
    assert np.corrcoef(weighted["logistic"], full)[0, 1] > 0.9


@pytest.mark.parametrize(("weight", "low", "high"), [(1.0, 0.35, 0.45), (9.0, 0.05, 0.1)])
def test_the_language_model_learns_the_weighted_share(tmp_path: Path, weight: float, low: float, high: float) -> None:
    toy = make_toy(tmp_path / "toy", train_examples=400)
    index = pd.read_parquet(toy.encode / "index.parquet")
    # Labels that no text tells of: all there is to learn is how many are positive.
    index["label"] = (np.random.default_rng(5).random(len(index)) < 0.4).astype(np.int32)
    index["weight"] = np.where((index["split"] == "train") & (index["label"] == 0), weight, 1.0)
    index.to_parquet(toy.encode / "index.parquet")
    work = make_work(tmp_path / "work", toy, epochs=2, patience=9, learning_rate=0.003)
    assert train_here(work) == 0
    tokens = TokenSet.load(toy.encode)
    found = predict(work.bundle, tokens.sequences, tokens.rows("validation"), device="cpu", threads=1).probability
    assert low < found.mean() < high
    metrics = json.loads(work.metrics.read_text().splitlines()[-1])
    train = index[index["split"] == "train"]
    share = np.average(train["label"], weights=train["weight"])
    # The loss of the epoch is the weighted one: near the entropy of the weighted share.
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert metrics["purchase_loss"] == pytest.approx(entropy, rel=0.15)
