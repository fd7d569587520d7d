"""Two samples compared: a reference and today's values of one column in; how far they lie apart, and by chance, out.

The population stability index says how far, a p-value says whether chance alone would do it, and both must speak before
anybody is woken. The one thing to know: of two samples of one distribution the index is not 0 but about
(bins - 1)(1/n + 1/m), so that is taken off before it is compared with a threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, ks_2samp

BINS = 10
MOST_WORDS = 20
"""Words of a column of words that are counted by themselves; the others are counted together."""
SMOOTHING = 0.5
"""Added to the count of every bin, so that an empty one has a logarithm."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far two samples of one column lie apart."""

    psi: float
    noise: float
    """The index to be expected of two samples of one distribution."""
    psi_p: float
    """Probability of such an index, or a larger one, when nothing has changed."""
    ks: float
    """Largest difference of the two distribution functions; NaN for words."""
    ks_p: float

    @property
    def excess(self) -> float:
        """The index above what chance gives."""
        return self.psi - self.noise


def compare(reference: np.ndarray, now: np.ndarray) -> Comparison:
    """Return how far two samples lie apart: numbers (missing ones NaN) in quantile bins of the reference, or words.

    Args:
        reference: float64 or objects, (n,).
        now: the same kind, (m,).
    """
    numbers = reference.dtype.kind == "f"
    then, today = _count_numbers(reference, now) if numbers else _count_words(reference, now)
    found = stability(then, today)
    ks, ks_p = math.nan, math.nan
    if numbers:
        first, second = reference[np.isfinite(reference)], now[np.isfinite(now)]
        if len(first) and len(second):
            tested = ks_2samp(first, second, method="asymp")
            ks, ks_p = float(tested.statistic), float(tested.pvalue)
    return Comparison(psi=found.psi, noise=found.noise, psi_p=found.psi_p, ks=ks, ks_p=ks_p)


def stability(then: np.ndarray, today: np.ndarray) -> Comparison:
    """Return the population stability index of counts by bin, with its size under chance and its p-value.

    Both counts being of one distribution, the index times n m / (n + m) follows about a chi-squared distribution with
    (bins - 1) degrees of freedom (Yurdakul and Naranjo 2020, "Statistical properties of the population stability
    index", Journal of Risk Model Validation 14(4)), whose mean is the noise.

    Args:
        then: counts of the reference, (bins,).
        today: counts of the same bins, (bins,).

    >>> same = stability(np.array([50, 50]), np.array([500, 500]))
    >>> round(same.psi, 6), round(same.noise, 3)
    (0.0, 0.011)
    """
    filled = (then + today) > 0
    n, m, bins = float(then.sum()), float(today.sum()), int(filled.sum())
    if bins < 2 or not n or not m:
        return Comparison(psi=0.0, noise=0.0, psi_p=1.0, ks=math.nan, ks_p=math.nan)
    share = (then[filled] + SMOOTHING) / (n + SMOOTHING * bins)
    share_now = (today[filled] + SMOOTHING) / (m + SMOOTHING * bins)
    psi = float(((share_now - share) * np.log(share_now / share)).sum())
    noise = (bins - 1) * (1 / n + 1 / m)
    p = float(chi2.sf(psi * n * m / (n + m), bins - 1))
    return Comparison(psi=psi, noise=noise, psi_p=p, ks=math.nan, ks_p=math.nan)


def adjusted(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values that may be held against one level though many are looked at, (k,); NaN stays NaN.

    Benjamini and Hochberg (1995): when nothing has changed, the chance that any of them falls below the level is at
    most the level.

    >>> adjusted([0.01, 0.02, 0.5, float("nan")]).round(3).tolist()
    [0.03, 0.03, 0.5, nan]
    """
    values = np.asarray(p_values, dtype=np.float64)
    result = np.full(len(values), np.nan)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(-values[there], kind="stable")]
    ranks = np.arange(len(order), 0, -1)
    result[order] = np.minimum.accumulate(np.minimum(1.0, values[order] * len(order) / np.maximum(ranks, 1)))
    return result


def _count_numbers(reference: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count both by the bins of the reference's quantiles; what is missing has a bin of its own."""
    known = reference[np.isfinite(reference)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)

    def count(values: np.ndarray) -> np.ndarray:
        there = values[np.isfinite(values)]
        # A value that equals an edge lies below it: a column that is mostly 0 has a bin for exactly that.
        binned = np.bincount(np.searchsorted(edges, there, side="left"), minlength=len(edges) + 1)
        return np.append(binned, len(values) - len(there)).astype(np.float64)

    return count(reference), count(now)


def _count_words(reference: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count both by the words that are most frequent in either; the others together; what is missing is a word."""
    first, second = (np.where(values == None, "", values).astype(str) for values in (reference, now))  # noqa: E711
    words, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    then = np.bincount(places[: len(first)], minlength=len(words)).astype(np.float64)
    today = np.bincount(places[len(first) :], minlength=len(words)).astype(np.float64)
    return grouped(then, today)


def grouped(then: np.ndarray, today: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return counts in which all but the largest bins of the two together are one."""
    if len(then) <= MOST_WORDS:
        return then, today
    order = np.argsort(-(then / max(1.0, then.sum()) + today / max(1.0, today.sum())), kind="stable")
    kept, rest = order[:MOST_WORDS], order[MOST_WORDS:]
    return np.append(then[kept], then[rest].sum()), np.append(today[kept], today[rest].sum())
