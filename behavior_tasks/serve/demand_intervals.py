"""Intervals of a demand: forecasts of the past beside what then came in; how far around a new forecast it may lie out.

Split-conformal prediction (Papadopoulos and others 2002; by bands of size as Mondrian, Vovk and others 2005): an error
is counted in units of its forecast's own spread, and the quantiles of past errors are laid around the new one. The one
thing to know: past and future must be alike for the promised coverage to hold, so coverage is measured, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

NO_DEMAND = 0.05
"""Pieces below which a forecast is in the band of products that hardly sell."""
FEWEST_IN_BAND = 50
MOST_BANDS = 5
"""Bands of products that sell, beside the one of those that hardly do."""
LEAST_SPREAD = 0.1
"""Standard deviation, pieces, of a forecast of nothing."""
LEAST_OVERDISPERSION, MOST_OVERDISPERSION = 0.0025, 4.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the ranges shall hold."""

    interval: float
    """Share of what comes that shall lie between `lower` and `upper`."""
    service_level: float
    """Share of what comes that shall not exceed `safe`."""

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """Of `lower`, `upper` and `safe`."""
        tail = (1 - self.interval) / 2
        return tail, 1 - tail, self.service_level


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Forecasts of one past window beside what came, all of shape (n,)."""

    expected: np.ndarray
    variance: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Around forecasts, pieces, (n,); lower ≤ expected ≤ upper, and nothing below zero."""

    lower: np.ndarray
    upper: np.ndarray
    safe: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Quantiles of past errors by band of the forecast."""

    overdispersion: float
    """Share of the squared forecast that is added to its variance, as in a negative binomial."""
    edges: np.ndarray
    """Forecasts at which a band begins, (k − 1,)."""
    quantiles: np.ndarray
    """Of the errors in units of the spread, (k, 3): for lower, upper and safe."""
    errors: int
    """How many there were; 0: nothing is known, and the ranges are those of a normal distribution."""

    @classmethod
    def fit(cls, past: Sequence[Outcome], asked: Asked) -> "Calibration":
        """Fit on past windows.

        Where a band has too few errors for a quantile, it is the larger of what a normal distribution and the
        outermost error say.
        """
        levels = asked.quantiles
        counted = np.array([NormalDist().inv_cdf(level) for level in levels])
        expected, variance, actual = (
            np.concatenate([getattr(one, name) for one in past]) if past else np.empty(0)
            for name in ("expected", "variance", "actual")
        )
        overdispersion = _overdispersion(expected, variance, actual)
        scores = (actual - expected) / spread(expected, variance, overdispersion)
        edges = _edges(expected)
        band = np.searchsorted(edges, expected, side="right")
        quantiles = np.array([_quantiles(scores[band == k], levels, counted) for k in range(len(edges) + 1)])
        return cls(overdispersion=overdispersion, edges=edges, quantiles=quantiles, errors=len(scores))

    def ranges(self, expected: np.ndarray, variance: np.ndarray) -> Ranges:
        """Return the ranges around new forecasts, (n,)."""
        deviation = spread(expected, variance, self.overdispersion)
        found = self.quantiles[np.searchsorted(self.edges, expected, side="right")]
        lower, upper, safe = (np.maximum(0.0, expected + found[:, k] * deviation) for k in range(3))
        return Ranges(
            lower=np.minimum(lower, expected), upper=np.maximum(upper, expected), safe=np.maximum(safe, expected)
        )


def spread(expected: np.ndarray, variance: np.ndarray, overdispersion: float) -> np.ndarray:
    """Return the standard deviation in which errors are counted, (n,)."""
    return np.sqrt(variance + overdispersion * expected**2 + LEAST_SPREAD**2)


def _overdispersion(expected: np.ndarray, variance: np.ndarray, actual: np.ndarray) -> float:
    """Return what the squared errors have beyond the variance, as a share of the squared forecasts."""
    squared = float((expected**2).sum())
    if not squared:
        return LEAST_OVERDISPERSION
    beyond = float(((actual - expected) ** 2 - variance).sum())
    return float(np.clip(beyond / squared, LEAST_OVERDISPERSION, MOST_OVERDISPERSION))


def _edges(expected: np.ndarray) -> np.ndarray:
    """Return the edges of the bands: those that hardly sell, then bands of equally many."""
    selling = np.sort(expected[expected >= NO_DEMAND])
    bands = min(MOST_BANDS, len(selling) // FEWEST_IN_BAND)
    if not bands:
        return np.empty(0)
    inner = [selling[len(selling) * k // bands] for k in range(1, bands)]
    apart = [NO_DEMAND] if len(expected) - len(selling) >= FEWEST_IN_BAND else []
    return np.unique([*apart, *inner])


def _quantiles(scores: np.ndarray, levels: Sequence[float], counted: np.ndarray) -> list[float]:
    """Return the conformal quantiles: of n errors the one in the place of n + 1 times the level, outwards."""
    if not len(scores):
        return counted.tolist()
    ordered, found = np.sort(scores), []
    for level, normal in zip(levels, counted, strict=True):
        upwards = level >= 0.5
        outward = ordered if upwards else -ordered[::-1]
        place = math.ceil((len(scores) + 1) * (level if upwards else 1 - level))
        value = outward[place - 1] if place <= len(scores) else max(outward[-1], abs(normal))
        found.append(float(value if upwards else -value))
    return found
