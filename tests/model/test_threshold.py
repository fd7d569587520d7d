"""The threshold of each policy against a search by hand, and what happens where a policy can't have what it wants."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from behavior_tasks.base.config import DecisionConfig
from behavior_tasks.model.threshold import NOBODY, best_f1_threshold, choose_threshold


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_is_better_and_the_highest_of_the_best_is_taken(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 25)
    labels[0] = 1
    scores = random.integers(0, 8, 25) / 8  # ties on purpose

    chosen = best_f1_threshold(labels, scores)

    by_hand = {t: f1_score(labels, scores >= t, zero_division=0) for t in np.unique(scores)}
    best = max(by_hand.values())
    assert chosen == max(t for t, f1 in by_hand.items() if f1 >= best - 1e-12)


def test_without_a_positive_label_nothing_is_predicted() -> None:
    assert best_f1_threshold(np.zeros(3, dtype=int), np.array([0.1, 0.5, 0.9])) == 1.0


def test_a_tie_takes_the_highest_threshold() -> None:
    # At 0.8: 1 of 1 right, 1 of 2 found, F1 2/3. At 0.4: 2 of 4 right, 2 of 2 found, F1 2/3.
    assert best_f1_threshold(np.array([1, 0, 0, 1]), np.array([0.8, 0.6, 0.5, 0.4])) == 0.8


@pytest.mark.parametrize("seed", range(30))
def test_the_precise_threshold_has_the_highest_recall_of_the_precise_ones(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 25)
    labels[0] = 1
    scores = random.integers(0, 8, 25) / 8
    policy = DecisionConfig(policy="precision", min_precision=0.6)

    chosen = choose_threshold(labels, scores, policy)

    calls = {t: scores >= t for t in np.unique(scores)}
    precise = {
        t: recall_score(labels, call)
        for t, call in calls.items()
        if precision_score(labels, call) >= 0.6 and recall_score(labels, call) > 0
    }
    if precise:
        best = max(precise.values())
        assert chosen.threshold == max(t for t, recall in precise.items() if recall == best)
        assert chosen.reason is None
    else:
        assert chosen.threshold == NOBODY


@pytest.mark.parametrize("labels", [np.array([0, 1, 0, 1]), np.zeros(4, dtype=int)])
def test_a_precision_out_of_reach_calls_nobody_not_even_the_certain(labels: np.ndarray) -> None:
    scores = np.array([1.0, 0.9, 0.8, 0.7])
    chosen = choose_threshold(labels, scores, DecisionConfig(policy="precision", min_precision=0.9))
    assert not (scores >= chosen.threshold).any()
    assert chosen.reason is not None
    assert "nobody is called" in chosen.reason
    if labels.any():
        assert "at most 0.500" in chosen.reason


def test_the_cost_policy_calls_whoever_pays_back_on_average() -> None:
    policy = DecisionConfig(policy="cost", cost_of_contact=2.0, value_of_sale=50.0)
    for labels in (np.array([0, 1]), np.array([0, 0])):
        assert choose_threshold(labels, np.array([0.3, 0.9]), policy).threshold == 2.0 / 50.0


def test_on_calibrated_probabilities_no_cut_earns_more_than_that_of_the_costs() -> None:
    random = np.random.default_rng(5)
    probabilities = random.beta(1, 6, 400_000)
    labels = (random.random(len(probabilities)) < probabilities).astype(int)
    cost, value = 3.0, 20.0
    chosen = choose_threshold(
        labels, probabilities, DecisionConfig(policy="cost", cost_of_contact=cost, value_of_sale=value)
    )

    def profit(threshold: float) -> float:
        called = probabilities >= threshold
        return float(value * labels[called].sum() - cost * called.sum()) / len(labels)

    others = [profit(t) for t in np.linspace(0.01, 0.5, 50)]
    assert profit(chosen.threshold) >= max(others) - 0.002
    assert profit(chosen.threshold) > profit(chosen.threshold * 2) + 0.01


def test_the_policies_differ() -> None:
    labels, scores = np.array([1, 0, 1, 0, 0, 1]), np.array([0.9, 0.7, 0.6, 0.5, 0.3, 0.2])
    policies = (
        DecisionConfig(),
        DecisionConfig(policy="precision", min_precision=1.0),
        DecisionConfig(policy="cost", cost_of_contact=1, value_of_sale=4),
    )
    assert [choose_threshold(labels, scores, policy).threshold for policy in policies] == [0.6, 0.9, 0.25]
