"""The forecast of the gate's interval, against intervals really drawn."""

import math

import numpy as np
import pytest

from behavior_tasks.examples.power import PASSES, best_threshold, forecast, half_width
from behavior_tasks.verdict.metrics import Difference, Resampling, Scored, f1_difference

TOLERANCE = 0.12


def draw(shoppers: int, share: float, auc: float, correlation: float, seed: int, resamples: int = 200) -> Difference:
    """Draw two models of like quality whose scores correlate, and their interval as the gate takes it."""
    rng = np.random.default_rng(seed)
    # An AUC of Phi(d / sqrt(2)) for normals set apart by d; found here by search, not by the formula's inverse.
    apart = next(d for d in np.arange(0, 4, 0.001) if 0.5 * (1 + math.erf(d / 2)) >= auc)
    labels = (rng.random(shoppers) < share).astype(float)
    common = rng.normal(size=shoppers)
    scores = [
        apart * labels + math.sqrt(correlation) * common + math.sqrt(1 - correlation) * rng.normal(size=shoppers)
        for _ in range(2)
    ]
    threshold = best_threshold(share, float(apart))
    first, second = (Scored(probabilities=score, threshold=threshold) for score in scores)
    ids = np.arange(shoppers).astype(str)
    return f1_difference(labels, first, second, ids, Resampling(resamples=resamples, confidence=0.95, seed=seed))


@pytest.mark.parametrize(
    ("shoppers", "share", "auc", "correlation"),
    [(4000, 0.34, 0.74, 0.8), (3000, 0.2, 0.7, 0.85), (3000, 0.1, 0.8, 0.9), (1000, 0.18, 0.6, 0.5)],
)
def test_the_forecast_is_what_the_bootstrap_gives(shoppers: int, share: float, auc: float, correlation: float) -> None:
    drawn = [draw(shoppers, share, auc, correlation, seed) for seed in range(6)]
    measured = np.mean([(d.upper - d.lower) / 2 for d in drawn])
    told = half_width(shoppers=shoppers, share=share, confidence=0.95, auc=auc, correlation=correlation)
    assert measured == pytest.approx(told, rel=TOLERANCE)


def test_an_equal_model_passes_as_often_as_is_told() -> None:
    share, margin = 0.3, 0.02
    wanted = forecast(shoppers=1000, buyers=300, margin=margin, confidence=0.95)
    assert wanted is not None
    shoppers = round(wanted.needed_buyers / share)
    there = forecast(shoppers=shoppers, buyers=wanted.needed_buyers, margin=margin, confidence=0.95)
    assert there is not None
    assert there.passes == pytest.approx(PASSES, abs=0.01)
    passed = [draw(shoppers, share, 0.7, 0.85, seed, resamples=100).lower >= -margin for seed in range(100)]
    # Three standard deviations of a share of a hundred, and the little that 100 resamples blur the interval.
    assert np.mean(passed) == pytest.approx(PASSES, abs=0.14)


@pytest.mark.parametrize(
    ("shoppers", "buyers", "measured"), [(4103, 1391, 0.0125), (2899, 666, 0.0155), (983, 181, 0.05)]
)
def test_the_forecast_is_within_a_third_of_what_the_gate_measured(shoppers: int, buyers: int, measured: float) -> None:
    power = forecast(shoppers=shoppers, buyers=buyers, margin=0.02, confidence=0.95)
    assert power is not None
    assert power.half_width == pytest.approx(measured, rel=1 / 3)


def test_four_times_the_shoppers_halve_the_interval() -> None:
    one, four = (forecast(shoppers=n * 1000, buyers=n * 200, margin=0.02, confidence=0.95) for n in (1, 4))
    assert one is not None
    assert four is not None
    assert four.half_width == pytest.approx(one.half_width / 2)
    assert four.needed_buyers == one.needed_buyers
    assert four.passes > one.passes


def test_a_split_of_buyers_only_has_no_power() -> None:
    assert forecast(shoppers=10, buyers=10, margin=0.02, confidence=0.95) is None
    assert forecast(shoppers=10, buyers=0, margin=0.02, confidence=0.95) is None
