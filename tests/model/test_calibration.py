"""Calibration on data whose true probabilities are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from behavior_tasks.base.config import DecisionConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.calibration import fit_decision, prior_offset
from behavior_tasks.model.decision import Decision, sigmoid

METHODS = ("platt", "isotonic", "off")


def draw(n: int, seed: int, base: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the true logits that they were drawn from."""
    random = np.random.default_rng(seed)
    true = base + 1.5 * random.standard_normal(n)
    return (random.random(n) < sigmoid(true)).astype(int), true


def fit(labels: np.ndarray, logits: np.ndarray, method: str, **more: Any) -> Decision:
    return fit_decision(labels, logits, np.ones(len(labels)), calibration=method, **more)


def test_platt_undoes_an_overconfident_network() -> None:
    labels, true = draw(20_000, 0)
    decision = fit(labels, 2.0 * true + 1.0, "platt")
    assert (decision.calibration, decision.reason) == ("platt", None)
    assert decision.slope == pytest.approx(0.5, abs=0.03)
    assert decision.intercept == pytest.approx(-0.5, abs=0.05)
    fresh, true = draw(5000, 1)
    assert np.abs(decision.calibrate(2.0 * true + 1.0) - sigmoid(true)).max() < 0.02
    assert log_loss(fresh, decision.calibrate(2 * true + 1)) < log_loss(fresh, sigmoid(2 * true + 1)) - 0.01


def test_platt_minimises_the_loss_of_its_smoothed_targets() -> None:
    labels, logits = draw(300, 2)
    decision = fit(labels, logits, "platt")
    n1, n0 = int(labels.sum()), int((1 - labels).sum())
    targets = np.where(labels == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))

    def loss(slope: float, intercept: float) -> float:
        p = sigmoid(slope * logits + intercept)
        return float(-np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    best = loss(decision.slope, decision.intercept)
    for step in (1e-3, -1e-3):
        assert best < loss(decision.slope + step, decision.intercept)
        assert best < loss(decision.slope, decision.intercept + step)


def test_isotonic_bends_where_a_line_can_not() -> None:
    labels, true = draw(20_000, 3)
    warped = np.sign(true) * np.abs(true) ** 3
    fresh, true = draw(20_000, 4)
    told = {name: fit(labels, warped, name).calibrate(np.sign(true) * np.abs(true) ** 3) for name in METHODS}
    error = {name: float(np.abs(answers - sigmoid(true)).mean()) for name, answers in told.items()}
    assert error["isotonic"] < 0.015
    assert error["isotonic"] < min(error["platt"], error["off"]) / 2
    assert abs(told["isotonic"].mean() - fresh.mean()) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_ranking_stays_as_it_is(method: str) -> None:
    labels, logits = draw(2000, 5)
    decision = fit(labels, logits, method)
    fresh, true = draw(3000, 6)
    true[:2] = -9.0, 9.0  # beyond everything seen in fitting
    told = decision.calibrate(true)
    assert len(np.unique(told)) == len(np.unique(true))
    assert (np.argsort(told) == np.argsort(true)).all()
    assert average_precision_score(fresh, told) == average_precision_score(fresh, true)
    assert roc_auc_score(fresh, told) == roc_auc_score(fresh, true)


def test_the_prior_of_a_sampled_training_is_corrected() -> None:
    # What a perfect network tells that saw a tenth of the non-buyers and counted buyers twice: 20 times the odds.
    labels, true = draw(50_000, 7, base=-3.0)
    offset = prior_offset(positive_weight=2.0, negative_share=0.1)
    decision = fit(labels, true + np.log(20.0), "off", prior_offset=offset)
    told = decision.calibrate(true + np.log(20.0))
    np.testing.assert_allclose(told, sigmoid(true), atol=1e-12)
    assert told.mean() == pytest.approx(labels.mean(), abs=0.005)


def test_a_weight_counts_as_so_many_examples() -> None:
    labels, logits = draw(400, 8)
    weights = np.random.default_rng(0).integers(1, 4, 400)
    repeated = np.repeat(np.arange(400), weights)
    found = fit_decision(labels, logits, weights, calibration="platt")
    wanted = fit(labels[repeated], logits[repeated], "platt")
    assert (found.slope, found.intercept) == pytest.approx((wanted.slope, wanted.intercept), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_threshold_is_the_best_on_the_calibrated_probabilities(method: str) -> None:
    labels, logits = draw(1500, 9)
    decision = fit(labels, logits, method, prior_offset=-0.7)
    told = decision.calibrate(logits)
    chosen = f1_score(labels, told >= decision.threshold)
    assert chosen == max(f1_score(labels, told >= cut) for cut in told)
    assert (decision.chosen_on, decision.objective) == ("validation", "f1")


def test_the_policy_and_its_figures_are_frozen_in_the_decision(tmp_path: Path) -> None:
    labels, logits = draw(1500, 9)
    precise = DecisionConfig(policy="precision", min_precision=0.7)
    fit(labels, logits, "platt", policy=precise).save(tmp_path)
    decision = Decision.load(tmp_path)
    assert (decision.objective, decision.min_precision, decision.threshold_reason) == ("precision", 0.7, None)
    called = decision.calibrate(logits) >= decision.threshold
    assert labels[called].mean() >= 0.7
    fit(labels, logits, "platt", policy=DecisionConfig(policy="cost", cost_of_contact=1, value_of_sale=8)).save(
        tmp_path
    )
    decision = Decision.load(tmp_path)
    assert (decision.objective, decision.threshold) == ("cost", 0.125)
    assert (decision.cost_of_contact, decision.value_of_sale, decision.min_precision) == (1, 8, None)


def test_a_precision_out_of_reach_is_kept_with_its_reason(tmp_path: Path) -> None:
    labels, logits = draw(1500, 9)
    labels[np.argmax(logits)] = 0
    fit(labels, logits, "off", policy=DecisionConfig(policy="precision", min_precision=1.0)).save(tmp_path)
    decision = Decision.load(tmp_path)
    assert not (decision.calibrate(np.array([1000.0])) >= decision.threshold).any()
    assert "nobody is called" in str(decision.threshold_reason)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("few", [0, 1])
def test_too_few_of_a_kind_leave_only_the_prior(method: str, few: int) -> None:
    labels, logits = draw(3000, 10)
    kept = np.concatenate([np.flatnonzero(labels == few)[:49], np.flatnonzero(labels != few)])
    decision = fit(labels[kept], logits[kept], method, prior_offset=-0.4)
    assert decision.calibration == "off"
    assert decision.reason is not None
    assert "50 of each" in decision.reason
    np.testing.assert_array_equal(decision.calibrate(logits), sigmoid(logits - 0.4))


def test_few_examples_are_scaled_and_not_bent() -> None:
    labels, logits = draw(900, 11)
    decision = fit(labels, logits, "isotonic")
    assert decision.calibration == "platt"
    assert decision.reason == "validation has 900 examples; isotonic needs 1000"


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("sign", [-1.0, 0.0])
def test_a_network_that_ranks_no_better_than_chance_is_left_alone(method: str, sign: float) -> None:
    labels = np.repeat([1, 0], 1000)
    logits = sign * np.repeat([3.0, -3.0], 1000)
    decision = fit(labels, logits, method)
    assert decision.calibration == "off"
    assert decision.reason is not None
    assert "no higher" in decision.reason


def test_labels_of_one_kind_give_a_decision() -> None:
    nobody = fit(np.zeros(80, dtype=int), np.linspace(-1, 1, 80), "platt")
    assert (nobody.threshold, nobody.calibration) == (1.0, "off")
    everybody = fit(np.ones(80, dtype=int), np.linspace(-1, 1, 80), "platt")
    assert everybody.threshold == pytest.approx(sigmoid(np.array(-1.0)))


def test_a_logit_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit(np.array([0, 1]), np.array([0.0, np.nan]), "off")


@pytest.mark.parametrize("method", METHODS)
def test_a_decision_comes_back_to_the_bit(method: str, tmp_path: Path) -> None:
    labels, logits = draw(1200, 12)
    decision = fit(labels, logits, method, prior_offset=-1 / 3)
    decision.save(tmp_path)
    again = Decision.load(tmp_path)
    assert again == decision
    assert again.calibrate(logits).tobytes() == decision.calibrate(logits).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "no json",
        "{}",
        '{"threshold": null}',
        '{"threshold": 1.5}',
        '{"threshold": NaN}',
        '{"threshold": 0.5, "slope": 0}',
        '{"threshold": 0.5, "calibration": "isotonic", "knots": [[0, 0], [1, 0]]}',
        '{"threshold": 0.5, "calibration": "isotonic"}',
        '{"threshold": 0.5, "something": 1}',
    ],
)
def test_a_missing_or_damaged_decision_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "decision.json").write_text(content)
    with pytest.raises(UserError, match=r"decision\.json") as caught:
        Decision.load(tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_what_stands_in_the_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    labels, logits = draw(1200, 13)
    fit(labels, logits, "platt").save(tmp_path)
    told = json.loads((tmp_path / "decision.json").read_text())
    assert told["calibration"] == "platt"
    assert told["chosen_on"] == "validation"
