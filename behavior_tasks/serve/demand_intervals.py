"""Intervals of a demand: forecasts of the past beside what then came in; how far around a new forecast it may lie out.

Split-conformal prediction (Papadopoulos and others 2002; by bands of size as Mondrian, Vovk and others 2005): an error
is counted in units of its forecast's own spread, and the quantiles of past errors are laid around the new one. The
errors of one window go together (a whole shop sells more than it did), so the ranges are then widened until those of
past windows, fitted on what came before them, would have held what was promised; recent windows count more (Barber and
others 2023). The one thing to know: coverage is promised as far as the future is like that past, and is measured, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
FEWEST_WIDENING = 3
"""Past windows with ranges from before them, without which nothing is widened."""
MOST_WIDENED = 4.0
FADING = 0.8
"""Weight of a past window in the widening, relative to the one after it."""


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
    widened: tuple[float, float] = (1.0, 1.0)
    """By which the ranges, and `safe`, are farther from the forecast than the quantiles say; 1 at least."""

    @classmethod
    def fit(cls, past: Sequence[Outcome], asked: Asked) -> "Calibration":
        """Fit on past windows, oldest first."""
        return cls.fit_each(past, asked)[-1]

    @classmethod
    def fit_each(cls, past: Sequence[Outcome], asked: Asked) -> list["Calibration"]:
        """Fit on the first 0, 1, …, n of n past windows, oldest first; n + 1 in all."""
        plain = [cls._fit_quantiles(past[:count], asked) for count in range(len(past) + 1)]
        needed = [one._factors(outcome) for one, outcome in zip(plain[1:], past[1:], strict=False)]
        return [replace(one, widened=_widened(needed[: max(0, count - 1)], asked)) for count, one in enumerate(plain)]

    @classmethod
    def _fit_quantiles(cls, past: Sequence[Outcome], asked: Asked) -> "Calibration":
        """Fit all but the widening.

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
        away, (both, one) = self._away(expected, variance), self.widened
        lower, upper, safe = (
            np.maximum(0.0, expected + by * side) for by, side in zip((both, both, one), away, strict=True)
        )
        return Ranges(
            lower=np.minimum(lower, expected), upper=np.maximum(upper, expected), safe=np.maximum(safe, expected)
        )

    def _away(self, expected: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
        """Return how far from the forecast lower, upper and safe lie by the quantiles alone, each (n,)."""
        deviation = spread(expected, variance, self.overdispersion)
        found = self.quantiles[np.searchsorted(self.edges, expected, side="right")]
        return [found[:, k] * deviation for k in range(3)]

    def _factors(self, window: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Return how many times as wide the range, and `safe`, had to be to hold what came where a forecast sells."""
        sells = counts(window.expected)
        lower, upper, safe = (side[sells] for side in self._away(window.expected, window.variance))
        error = (window.actual - window.expected)[sells]
        return _times(error, np.where(error < 0, lower, upper)), _times(error, np.where(error < 0, -np.inf, safe))


def counts(expected: np.ndarray) -> np.ndarray:
    """Return whose intervals are counted: what hardly sells lies in its own anyway, and there is much of it, (n,)."""
    return expected >= NO_DEMAND


def _times(error: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Return by what a distance must be multiplied to reach an error on its side, (n,); infinity where none does."""
    reaches = np.sign(error) * np.sign(away)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, np.where(reaches > 0, error / away, np.inf))


def _widened(needed: Sequence[tuple[np.ndarray, np.ndarray]], asked: Asked) -> tuple[float, float]:
    ranges, safe = ([window[k] for window in needed] for k in range(2))
    return _widening(ranges, asked.interval), _widening(safe, asked.service_level)


def _widening(windows: Sequence[np.ndarray], level: float) -> float:
    """Return the factor at which a share `level` of past windows, oldest first, is held; 1 at least."""
    windows = [window for window in windows if len(window)]
    if len(windows) < FEWEST_WIDENING:
        return 1.0
    needed = np.concatenate(windows)
    ages = range(len(windows) - 1, -1, -1)
    weights = np.concatenate(
        [np.full(len(window), FADING**age / len(window)) for age, window in zip(ages, windows, strict=True)]
    )
    order = np.argsort(needed, kind="stable")
    held = np.cumsum(weights[order])
    place = int(np.searchsorted(held, (level - 1e-9) * held[-1]))
    return float(np.clip(needed[order][place], 1.0, MOST_WIDENED))


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
    selling = np.sort(expected[counts(expected)])
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
