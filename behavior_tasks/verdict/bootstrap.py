"""The bootstrap by shopper: whose examples there are in; resamples of the shoppers and percentile intervals out.

Examples of one shopper are not independent, so whole shoppers are drawn (Efron and Tibshirani 1993). The one thing to
know: a draw is how often each shopper was drawn, never a table of copied rows, so a figure that is a weighted sum or a
walk along a sorted list costs one pass over the examples.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes how often each shopper is drawn, shape (shoppers,); returns figures, shape (k,), NaN where undefined."""
MOST_WORK = 100_000_000
"""Resamples times examples that one bootstrap walks through: with five models some forty seconds on one core."""
FEWEST_RESAMPLES = 200
"""Still enough for the ends of a 95 % interval to be steady to a few per cent of its width."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a bootstrap is drawn."""

    resamples: int
    confidence: float
    seed: int

    def within_reach(self, examples: int) -> "Resampling":
        """Return the same with fewer resamples where so many examples would take too long.

        >>> draw = Resampling(resamples=1000, confidence=0.95, seed=7)
        >>> [draw.within_reach(n).resamples for n in (10_000, 100_000, 200_000, 10_000_000)]
        [1000, 1000, 500, 200]
        """
        most = max(FEWEST_RESAMPLES, MOST_WORK // max(1, examples))
        return Resampling(resamples=min(self.resamples, most), confidence=self.confidence, seed=self.seed)


def shopper_codes(shoppers: np.ndarray) -> tuple[np.ndarray, int]:
    """Return each example's shopper as a number, shape (n,), and how many shoppers there are; row order plays no part.

    >>> shopper_codes(np.array(["b", "a", "b"]))[0].tolist()
    [1, 0, 1]
    """
    names, codes = np.unique(np.asarray(shoppers, dtype=str), return_inverse=True)
    return codes, len(names)


def draws(shoppers: int, resampling: Resampling) -> Iterator[np.ndarray]:
    """Give how often each shopper is drawn, float64 of shape (shoppers,), once a resample; nothing without shoppers."""
    generator = np.random.default_rng(resampling.seed)
    for _ in range(resampling.resamples if shoppers else 0):
        yield np.bincount(generator.integers(shoppers, size=shoppers), minlength=shoppers).astype(np.float64)


def resample(statistics: Mapping[str, Statistic], shoppers: int, resampling: Resampling) -> dict[str, np.ndarray]:
    """Return each statistic's figures on the same resamples, shape (resamples, k); (0, 0) without shoppers."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for draw in draws(shoppers, resampling):
        for name, statistic in statistics.items():
            found[name].append(statistic(draw))
    return {name: np.array(rows) if rows else np.empty((0, 0)) for name, rows in found.items()}


def percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of one figure's resamples, shape (resamples,); those undefined are left out.

    NaN, NaN where it is defined on none of them.

    >>> percentile_interval(np.array([1.0, 2.0, 3.0, np.nan]), 0.5)
    (1.5, 2.5)
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(values, [tail, 1 - tail])
    return float(lower), float(upper)
