"""Metrics against figures worked out by hand, and the bootstrap against what it must be able to tell apart."""

import math
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from behavior_tasks.verdict.metrics import (
    METRICS,
    Resampling,
    Scored,
    average_precision_difference,
    calibration_bins,
    expected_calibration_error,
    f1_difference,
    hash_examples,
    measure,
)

DRAW = Resampling(resamples=400, confidence=0.95, seed=7)


def scored(*probabilities: float, threshold: float = 0.5) -> Scored:
    return Scored(probabilities=np.array(probabilities), threshold=threshold)


def test_every_metric_is_what_it_is_by_hand() -> None:
    # Calls: yes yes no no no. Hits 1, false alarms 1, misses 1, rightly left 2.
    found = measure(np.array([1, 0, 1, 0, 0]), scored(0.8, 0.5, 0.4, 0.3, 0.2))
    assert found["threshold"] == 0.5
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["precision"] == pytest.approx(1 / 2)
    assert found["recall"] == pytest.approx(1 / 2)
    assert found["f1"] == pytest.approx(1 / 2)
    # The buyers stand at ranks 1 and 3: precision 1 and 2/3.
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    # Of the six pairs of a buyer and a non-buyer, five are in the right order.
    assert found["roc_auc"] == pytest.approx(5 / 6)
    loss = -(math.log(0.8) + math.log(0.5) + math.log(0.4) + math.log(0.7) + math.log(0.8)) / 5
    assert found["log_loss"] == pytest.approx(loss)
    assert found["brier"] == pytest.approx((0.04 + 0.25 + 0.36 + 0.09 + 0.04) / 5)
    # Five different probabilities are five bins of one.
    assert found["ece"] == pytest.approx((0.2 + 0.5 + 0.6 + 0.3 + 0.2) / 5)


def test_a_probability_at_the_threshold_is_a_yes() -> None:
    assert measure(np.array([1, 0]), scored(0.5, 0.4))["recall"] == 1.0


def test_without_a_buyer_what_needs_one_is_undefined() -> None:
    found = measure(np.array([0, 0, 0]), scored(0.9, 0.2, 0.1))
    assert {name for name in METRICS if math.isnan(found[name])} == {"recall", "f1", "average_precision", "roc_auc"}
    assert found["log_loss"] == pytest.approx(-(math.log(0.1) + math.log(0.8) + math.log(0.9)) / 3)


def test_without_a_non_buyer_only_the_ranking_against_one_is_undefined() -> None:
    found = measure(np.array([1, 1]), scored(0.9, 0.2))
    assert {name for name in METRICS if math.isnan(found[name])} == {"roc_auc"}


def test_naming_nobody_has_precision_zero() -> None:
    found = measure(np.array([1, 0]), scored(0.2, 0.1))
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_probability_that_is_no_number_leaves_nothing_defined(bad: float) -> None:
    found = measure(np.array([1, 0]), scored(0.9, bad))
    assert all(math.isnan(found[name]) for name in METRICS)


def test_no_examples_leave_nothing_defined() -> None:
    found = measure(np.array([], dtype=int), scored())
    assert all(math.isnan(found[name]) for name in METRICS)


def test_calibration_bins_hold_equal_numbers_and_part_no_ties() -> None:
    labels = np.array([0, 1] * 50)
    spread = calibration_bins(labels, np.arange(100) / 100)
    assert spread.examples.tolist() == [10] * 10
    assert spread.predicted[0] == pytest.approx(0.045)
    tied = calibration_bins(labels, np.array([0.1] * 55 + [0.7] * 45))
    assert tied.examples.tolist() == [55, 45]
    assert tied.predicted == pytest.approx([0.1, 0.7])


def test_a_constant_probability_is_off_by_its_distance_from_the_share_of_buyers() -> None:
    labels = np.array([1] * 3 + [0] * 7)
    assert expected_calibration_error(labels, np.full(10, 0.3)) == pytest.approx(0.0)
    assert expected_calibration_error(labels, np.full(10, 0.5)) == pytest.approx(0.2)


def crowd(seed: int, *, good: float, poor: float, size: int = 600) -> tuple[np.ndarray, Scored, Scored, np.ndarray]:
    """Labels, a model of skill `good`, one of skill `poor`, and shoppers with two examples each."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.3).astype(int)
    noise = generator.random((2, size))
    models = [
        Scored(probabilities=(labels * skill + noise[i]) / (1 + skill), threshold=0.5)
        for i, skill in enumerate((good, poor))
    ]
    return labels, models[0], models[1], np.array([f"s{i // 2}" for i in range(size)])


def test_the_difference_is_that_of_the_f1s_and_flips_with_the_models() -> None:
    labels, good, poor, shoppers = crowd(1, good=1.0, poor=0.2)
    there, back = (f1_difference(labels, a, b, shoppers, DRAW) for a, b in ((good, poor), (poor, good)))
    assert there.difference == pytest.approx(measure(labels, good)["f1"] - measure(labels, poor)["f1"])
    assert 0 < there.lower < there.difference < there.upper
    assert (back.difference, back.lower, back.upper) == pytest.approx((-there.difference, -there.upper, -there.lower))


def test_a_model_does_not_differ_from_itself() -> None:
    labels, good, _, shoppers = crowd(2, good=0.5, poor=0.5)
    same = f1_difference(labels, good, good, shoppers, DRAW)
    assert (same.difference, same.lower, same.upper) == (0.0, 0.0, 0.0)


def test_each_model_is_taken_at_its_own_threshold() -> None:
    labels = np.array([1, 0, 1, 0])
    low, high = scored(0.9, 0.1, 0.8, 0.2), scored(0.09, 0.01, 0.08, 0.02, threshold=0.05)
    assert f1_difference(labels, low, high, np.arange(4), DRAW).difference == 0.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # The truth: the difference on a crowd so large that chance plays no part.
    labels, good, poor, shoppers = crowd(0, good=0.8, poor=0.6, size=400_000)
    truth = measure(labels, good)["f1"] - measure(labels, poor)["f1"]
    draw = Resampling(resamples=200, confidence=0.8, seed=1)
    covered = 0
    for seed in range(1, 101):
        labels, good, poor, shoppers = crowd(seed, good=0.8, poor=0.6, size=300)
        found = f1_difference(labels, good, poor, shoppers, draw)
        covered += found.lower <= truth <= found.upper
    assert 68 <= covered <= 92


def test_shoppers_are_drawn_whole() -> None:
    # The same hundred examples a hundred times over are a hundred shoppers, not ten thousand.
    labels, good, poor, _ = crowd(3, good=0.8, poor=0.4, size=100)
    many = [Scored(probabilities=np.tile(m.probabilities, 100), threshold=0.5) for m in (good, poor)]
    one = f1_difference(labels, good, poor, np.arange(100), DRAW)
    tiled = f1_difference(np.tile(labels, 100), many[0], many[1], np.tile(np.arange(100), 100), DRAW)
    assert (tiled.lower, tiled.upper) == pytest.approx((one.lower, one.upper))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    labels, good, poor, shoppers = crowd(4, good=0.8, poor=0.4)
    first, again = (f1_difference(labels, good, poor, shoppers, DRAW) for _ in range(2))
    other = f1_difference(labels, good, poor, shoppers, Resampling(resamples=400, confidence=0.95, seed=8))
    assert first == again
    assert first.lower != other.lower


def test_a_higher_confidence_gives_a_wider_interval() -> None:
    labels, good, poor, shoppers = crowd(5, good=0.8, poor=0.4)
    narrow, wide = (
        f1_difference(labels, good, poor, shoppers, Resampling(resamples=400, confidence=c, seed=7))
        for c in (0.8, 0.99)
    )
    assert wide.lower < narrow.lower < narrow.upper < wide.upper


def test_average_precision_differences_are_scikit_learns_with_ties_too() -> None:
    labels, good, poor, shoppers = crowd(6, good=0.5, poor=0.1)
    first, second = np.round(good.probabilities, 1), np.round(poor.probabilities, 1)
    found = average_precision_difference(labels, first, second, shoppers, DRAW)
    expected = average_precision_score(labels, first) - average_precision_score(labels, second)
    assert found.difference == pytest.approx(expected)
    assert found.lower < found.difference < found.upper


def test_resampled_average_precision_weighs_each_example_by_its_draws() -> None:
    # One shopper holds two of the three examples; with one resample the draw can be repeated by hand.
    labels, probabilities = np.array([1, 0, 1]), np.array([0.2, 0.6, 0.9])
    shoppers = np.array(["a", "a", "b"])
    draw = Resampling(resamples=1, confidence=0.9, seed=11)
    draws = np.bincount(np.random.default_rng(11).integers(2, size=2), minlength=2)
    weights = draws[[0, 0, 1]]
    expected = average_precision_score(labels, probabilities, sample_weight=weights) - 1.0
    perfect = np.array([1.0, 0.0, 1.0])
    found = average_precision_difference(labels, probabilities, perfect, shoppers, draw)
    assert (found.lower, found.upper) == pytest.approx((expected, expected))


@pytest.mark.parametrize("labels", [np.zeros(4, dtype=int), np.array([0, 1, 0, 1])])
def test_a_difference_without_buyers_or_numbers_is_undefined(labels: np.ndarray) -> None:
    bad = scored(0.1, math.nan, 0.3, 0.4) if labels.any() else scored(0.1, 0.2, 0.3, 0.4)
    good = scored(0.1, 0.9, 0.3, 0.4)
    for found in (
        f1_difference(labels, good, bad, np.arange(4), DRAW),
        average_precision_difference(labels, bad.probabilities, good.probabilities, np.arange(4), DRAW),
    ):
        assert math.isnan(found.difference)
        assert math.isnan(found.lower)
        assert math.isnan(found.upper)


def test_a_thousand_resamples_of_five_thousand_take_less_than_two_cpu_seconds() -> None:
    labels, good, poor, shoppers = crowd(7, good=0.5, poor=0.1, size=5000)
    started = time.process_time()
    f1_difference(labels, good, poor, shoppers, Resampling(resamples=1000, confidence=0.95, seed=7))
    assert time.process_time() - started < 2


def test_the_hash_knows_ids_labels_and_order() -> None:
    told = hash_examples(["a", "b"], [0, 1])
    assert told == hash_examples(["a", "b"], np.array([0, 1]))
    others = (["a", "b"], [1, 0]), (["b", "a"], [0, 1]), (["a", "c"], [0, 1]), (["a"], [0])
    assert told not in {hash_examples(*other) for other in others}
