"""Outliers and medians, fitted on the train period only.

In come how often each value occurs in each category before `fit_until`; out come, for every category, the bounds
beyond which an amount is an outlier, and the median that replaces it. The one thing to know: a category with too
few values, or without any spread, takes the whole log's bounds, and a log with too few has none.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from behavior_tasks.base.config import CleanConfig

LEAST_SPREAD = 1e-9
"""Less than this is rounding, on the logarithm of an amount."""
WHOLE_LOG = None
"""The category under which the figures of the whole log stand."""
Count = tuple[str | None, float, int]
"""Category (None: unknown), value, how often it occurs there."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of the amounts of one category; amounts equal to a bound are within."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was fitted for one category, or (category None) for the whole log."""

    category: str | None
    values: int
    median: float
    bounds: Bounds | None
    """None: the values have no spread, so the whole log's bounds hold."""


def fit_values(counts: Iterable[Count], config: CleanConfig, *, with_bounds: bool) -> list[Fit]:
    """Fit the whole log and every category with enough values; the whole log comes first, when it has enough.

    Args:
        counts: ordered by category, then value.
        with_bounds: also fit outlier bounds; the values must be positive then.
    """
    whole: Counter[float] = Counter()
    groups: list[tuple[str | None, list[tuple[float, int]]]] = []
    for category, rows in groupby(counts, key=itemgetter(0)):
        group = [(value, times) for _, value, times in rows]
        for value, times in group:
            whole[value] += times
        if category is not None:
            groups.append((category, group))
    fits: list[Fit] = []
    for category, group in [(WHOLE_LOG, sorted(whole.items())), *groups]:
        n = np.array([times for _, times in group], np.int64)
        if n.sum() < config.outlier_min_group:
            continue
        values = np.array([value for value, _ in group], np.float64)
        bounds = fit_bounds(values, n, config) if with_bounds else None
        median = weighted_quantile(values, n, 0.5)
        fits.append(Fit(category=category, values=int(n.sum()), median=median, bounds=bounds))
    return fits


def fit_bounds(values: np.ndarray, n: np.ndarray, config: CleanConfig) -> Bounds | None:
    """Return the bounds of positive amounts, found on their logarithm; None when they have no spread.

    `iqr`: quartiles widened by `outlier_factor` interquartile ranges (Tukey's fences; the usual far-out fence is
    3). `zscore`: mean plus and minus `outlier_factor` standard deviations.

    Args:
        values: distinct amounts in ascending order, all > 0.
        n: how often each occurs.
    """
    logs = np.log(values)
    if config.outliers == "iqr":
        low, high = weighted_quantile(logs, n, 0.25), weighted_quantile(logs, n, 0.75)
        spread = high - low
    else:
        low = high = float(np.average(logs, weights=n))
        spread = float(np.sqrt(np.average((logs - low) ** 2, weights=n)))
    if config.outliers == "off" or spread < LEAST_SPREAD:
        return None
    margin = config.outlier_factor * spread
    # A margin beyond what a float can hold bounds nothing on that side.
    with np.errstate(over="ignore", under="ignore"):
        return Bounds(low=float(np.exp(low - margin)), high=float(np.exp(high + margin)))


def weighted_quantile(values: np.ndarray, n: np.ndarray, q: float) -> float:
    """Return the quantile of values that occur n times, by linear interpolation (as numpy's default does).

    >>> weighted_quantile(np.array([1.0, 2.0, 10.0]), np.array([1, 2, 1]), 0.5)
    2.0
    >>> weighted_quantile(np.array([1.0, 2.0]), np.array([1, 1]), 0.25)
    1.25
    """
    ends = np.cumsum(n)
    place = q * (ends[-1] - 1)
    below = int(np.floor(place))
    low, high = (values[np.searchsorted(ends, at, side="right")] for at in (below, min(below + 1, int(ends[-1]) - 1)))
    return float(low + (high - low) * (place - below))
