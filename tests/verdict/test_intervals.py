"""Intervals of all figures: that a resample is measured as rows really copied would be, and what they cover."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.verdict.amounts import AMOUNT_FIGURES, amount_statistic, measure_amounts
from behavior_tasks.verdict.bootstrap import Resampling, percentile_interval, resample, shopper_codes
from behavior_tasks.verdict.intervals import figure_names, model_statistic
from behavior_tasks.verdict.metrics import FIGURES, Costs, Scored, measure

DRAW = Resampling(resamples=300, confidence=0.95, seed=7)
COSTS = Costs(contact=1.0, sale=8.0)


def crowd(seed: int, size: int = 400, per: int = 2) -> tuple[np.ndarray, Scored, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.25).astype(int)
    told = np.clip((labels * 0.6 + generator.random(size)) / 1.6, 0, 1)
    shoppers = np.array([f"s{place // per}" for place in range(size)])
    return labels, Scored(probabilities=told, threshold=0.5), shoppers


def intervals(labels: np.ndarray, scored: Scored, shoppers: np.ndarray, draw: Resampling = DRAW) -> np.ndarray:
    codes, count = shopper_codes(shoppers)
    rows = resample({"m": model_statistic(labels, scored, codes)}, count, draw)["m"]
    return np.array([percentile_interval(column, draw.confidence) for column in rows.T])


@given(seed=st.integers(0, 30), digits=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_every_shopper_once_gives_the_figures_themselves(seed: int, digits: int) -> None:
    labels, scored, shoppers = crowd(seed, size=60)
    scored = Scored(probabilities=np.round(scored.probabilities, digits), threshold=scored.threshold)
    codes, count = shopper_codes(shoppers)
    found = dict(zip(FIGURES, model_statistic(labels, scored, codes)(np.ones(count)), strict=True))
    expected = measure(labels, scored)
    assert found == pytest.approx({name: expected[name] for name in FIGURES}, nan_ok=True)


@given(seed=st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_a_draw_is_measured_as_copied_rows_would_be(seed: int) -> None:
    labels, scored, shoppers = crowd(seed, size=80)
    codes, count = shopper_codes(shoppers)
    draw = np.random.default_rng(seed).integers(0, 4, count).astype(float)
    copied = np.repeat(np.arange(80), draw[codes].astype(int))
    answers = Scored(probabilities=scored.probabilities[copied], threshold=scored.threshold)
    names = figure_names(COSTS)
    found = dict(zip(names, model_statistic(labels, scored, codes, COSTS)(draw), strict=True))
    expected = measure(labels[copied], answers)
    # The bins of the calibration error stay those of the whole set.
    for name in set(FIGURES) - {"ece"}:
        assert found[name] == pytest.approx(expected[name], nan_ok=True), name
    called = answers.decisions
    profit = 8.0 * labels[copied][called].sum() - called.sum()
    assert found["profit_per_1000"] == pytest.approx(1000 * profit / len(copied))


def test_the_interval_holds_the_figure_and_almost_always_the_truth() -> None:
    labels, scored, shoppers = crowd(0, size=200_000)
    truth = measure(labels, scored)
    covered = dict.fromkeys(FIGURES, 0)
    draw = Resampling(resamples=100, confidence=0.9, seed=1)
    for seed in range(1000, 1040):
        labels, scored, shoppers = crowd(seed)
        mine = measure(labels, scored)
        for name, (lower, upper) in zip(FIGURES, intervals(labels, scored, shoppers, draw), strict=True):
            covered[name] += lower <= truth[name] <= upper
            if name != "ece":
                assert lower - 0.02 <= mine[name] <= upper + 0.02
    # The calibration error of a sample is larger than the truth's: chance alone makes bins miss.
    assert all(count >= 31 for name, count in covered.items() if name != "ece"), covered


def test_the_examples_of_a_shopper_count_as_one() -> None:
    labels, scored, _ = crowd(5, size=300, per=1)
    own = np.array([f"s{place:05d}" for place in range(300)])
    again = Scored(probabilities=np.tile(scored.probabilities, 5), threshold=scored.threshold)
    once, often = intervals(labels, scored, own), intervals(np.tile(labels, 5), again, np.tile(own, 5))
    assert once == pytest.approx(often)
    # Taken for five times as many shoppers, the same rows would look far surer than they are.
    others = np.array([f"s{place:05d}" for place in range(1500)])
    surer = intervals(np.tile(labels, 5), again, others)
    place = FIGURES.index("f1")
    assert np.ptp(surer[place]) < 0.6 * np.ptp(once[place])


def test_neither_the_order_of_rows_nor_the_names_of_shoppers_matter() -> None:
    labels, scored, shoppers = crowd(6)
    other = np.random.default_rng(1).permutation(len(labels))
    moved = Scored(probabilities=scored.probabilities[other], threshold=scored.threshold)
    first = intervals(labels, scored, shoppers)
    assert intervals(labels[other], moved, shoppers[other]) == pytest.approx(first)
    codes, _ = shopper_codes(shoppers)
    assert intervals(labels, scored, np.array([f"z{code:09d}" for code in codes])) == pytest.approx(first)
    # Names in another order draw other shoppers: another resample of the same kind.
    shuffled = np.random.default_rng(2).permutation(codes.max() + 1)[codes]
    many = Resampling(resamples=2000, confidence=0.9, seed=7)
    renamed = intervals(labels, scored, np.array([f"z{code:09d}" for code in shuffled]), many)
    for name, mine, its in zip(FIGURES, intervals(labels, scored, shoppers, many), renamed, strict=True):
        assert its == pytest.approx(mine, abs=0.15 * float(np.ptp(mine))), name


def test_probabilities_of_exactly_0_and_1_have_a_finite_loss() -> None:
    labels = np.array([1, 0, 1, 0])
    scored = Scored(probabilities=np.array([0.0, 1.0, 1.0, 0.0]), threshold=0.5)
    codes, count = shopper_codes(np.arange(4))
    found = model_statistic(labels, scored, codes)(np.ones(count))
    assert np.isfinite(found).all()
    assert dict(zip(FIGURES, found, strict=True))["log_loss"] == pytest.approx(18.02, abs=0.01)


def test_three_buyers_give_wide_intervals_and_no_crash() -> None:
    labels, scored, shoppers = crowd(7, size=200, per=1)
    labels = np.where(np.cumsum(labels) <= 3, labels, 0)
    found = dict(zip(FIGURES, intervals(labels, scored, shoppers), strict=True))
    assert all(np.isfinite(found[name]).all() for name in FIGURES)
    assert np.ptp(found["recall"]) > 0.5


def test_one_class_leaves_the_intervals_undefined_that_need_both() -> None:
    _, scored, shoppers = crowd(8, size=50)
    found = dict(zip(FIGURES, intervals(np.zeros(50, dtype=int), scored, shoppers), strict=True))
    undefined = {name for name, interval in found.items() if math.isnan(interval[0])}
    assert undefined == {"recall", "f1", "average_precision", "roc_auc", *FIGURES[-6:]}


def test_amounts_are_resampled_as_copied_rows() -> None:
    generator = np.random.default_rng(2)
    amounts = np.where(generator.random(120) < 0.4, np.exp(generator.normal(3, 1, 120)), 0.0)
    amounts[::17] = math.nan
    expected = np.round(generator.exponential(10, 120))
    codes, count = shopper_codes(np.arange(120) // 3)
    statistic = amount_statistic(amounts, expected, codes)
    for draw in (np.ones(count), generator.integers(0, 3, count).astype(float)):
        copied = np.repeat(np.arange(120), draw[codes].astype(int))
        told = measure_amounts(amounts[copied], expected[copied])
        assert statistic(draw) == pytest.approx([told[name] for name in AMOUNT_FIGURES])


def test_the_total_is_told_beside_the_error_and_the_order() -> None:
    told = measure_amounts(np.array([0.0, 30.0, 10.0]), np.array([10.0, 30.0, 20.0]))
    assert told["total_ratio"] == pytest.approx(60 / 40)
    assert math.isnan(measure_amounts(np.zeros(3), np.ones(3))["total_ratio"])
    assert math.isnan(measure_amounts(np.ones(2), np.array([1.0, math.nan]))["mae"])


def test_ten_thousand_examples_take_seconds() -> None:
    labels, scored, shoppers = crowd(9, size=10_000, per=1)
    started = time.process_time()
    intervals(labels, scored, shoppers, Resampling(resamples=100, confidence=0.95, seed=7))
    # A thousand resamples of five models in half a minute leave this much for a hundred of one.
    assert time.process_time() - started < 0.6
