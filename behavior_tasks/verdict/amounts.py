"""Amounts: what was paid and what a model expected in; error, order and total of the expected amounts out.

Only examples whose amount is known count; whoever bought nothing paid 0. The one thing to know: the three figures
answer three questions, how far off one example is, whether the big spenders come first, and whether the sum is right.
"""

import math

import numpy as np

from behavior_tasks.verdict.bootstrap import Statistic

AMOUNT_FIGURES = ("mae", "gini", "total_ratio")


def measure_amounts(amounts: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how well expected amounts fit what was paid: AMOUNT_FIGURES, and the number of `examples` with an amount.

    The mean absolute error is in the log's currency; `total_ratio` is all that was expected over all that was paid,
    1 when a budget made of the expected amounts comes out even. They are NaN where no example has an amount or an
    expected amount is not finite; the ratio also where nobody paid anything.

    Args:
        amounts: what was paid within the horizon, 0 for whoever bought nothing, NaN where it is not known, (n,).
        expected: what the model expected, (n,).

    >>> measure_amounts(np.array([0.0, 10.0, math.nan]), np.array([1.0, 7.0, 5.0]))
    {'mae': 2.0, 'gini': 1.0, 'total_ratio': 0.8, 'examples': 2}
    """
    known = np.isfinite(amounts)
    amounts, expected = amounts[known], expected[known]
    if not len(amounts) or not np.isfinite(expected).all():
        return {**dict.fromkeys(AMOUNT_FIGURES, math.nan), "examples": len(amounts)}
    paid = float(amounts.sum())
    return {
        "mae": float(np.abs(amounts - expected).mean()),
        "gini": normalised_gini(amounts, expected),
        "total_ratio": float(expected.sum()) / paid if paid > 0 else math.nan,
        "examples": len(amounts),
    }


def amount_statistic(amounts: np.ndarray, expected: np.ndarray, codes: np.ndarray) -> Statistic:
    """Return the function of AMOUNT_FIGURES that a bootstrap resamples.

    Args:
        amounts: as for `measure_amounts`; those not known are left out.
        expected: finite, (n,).
        codes: number of each example's shopper, (n,).
    """
    known = np.isfinite(amounts)
    amounts, expected, mine = amounts[known], expected[known], codes[known]
    errors = np.abs(amounts - expected)
    ours, best = _Order(expected), _Order(amounts)

    def figures(draw: np.ndarray) -> np.ndarray:
        weights = draw[mine]
        total, paid = float(weights.sum()), float(weights @ amounts)
        if not total:
            return np.full(len(AMOUNT_FIGURES), math.nan)
        weighted = weights * amounts
        top = best.gain(weights, weighted)
        gini = ours.gain(weights, weighted) / top if top > 0 else math.nan
        ratio = float(weights @ expected) / paid if paid > 0 else math.nan
        return np.array([float(weights @ errors) / total, gini, ratio])

    return figures


def normalised_gini(amounts: np.ndarray, scores: np.ndarray) -> float:
    """Return the Gini coefficient of the amounts in the order of the scores, over that of their own order.

    1 is the perfect order, 0 what chance gives (Wang, Liu and Miao 2019); equal scores count as any order of them
    does on average. NaN where all amounts are equal.

    >>> normalised_gini(np.array([0.0, 1.0, 3.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    >>> normalised_gini(np.array([0.0, 1.0, 3.0]), np.array([0.3, 0.2, 0.1]))
    -1.0
    >>> normalised_gini(np.array([0.0, 1.0, 3.0]), np.zeros(3))
    0.0
    """
    one = np.ones(len(amounts))
    best = _Order(amounts).gain(one, amounts)
    return _Order(scores).gain(one, amounts) / best if best > 0 else math.nan


class _Order:
    """Examples by descending score, groups of equal scores together."""

    def __init__(self, scores: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.ends = np.append(np.flatnonzero(np.diff(scores[self.order])), len(scores) - 1)

    def gain(self, weights: np.ndarray, amounts: np.ndarray) -> float:
        """Area between the curve of the share of the amounts and the diagonal; 0 without amounts.

        Args:
            weights: how often each example counts, (n,).
            amounts: what was paid for it, times the weight, (n,).
        """
        total = float(amounts.sum())
        if not total > 0:
            return 0.0
        seen = np.append(0.0, np.cumsum(weights[self.order])[self.ends])
        paid = np.append(0.0, np.cumsum(amounts[self.order])[self.ends])
        examples = seen / seen[-1]
        return float(np.trapezoid(paid / total - examples, examples))
