"""Measures of recommendations: lists and what was really bought in; figures with intervals, and a choice, out.

Relevance is yes or no: bought within the horizon. The one thing to know: a shopper has one value of each figure, and
intervals come from drawing whole shoppers, the same ones for every method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior_tasks.verdict.bootstrap import Resampling, draws, percentile_interval

AT = 10
"""Places of a list that count."""
FIGURES = ("recall", "ndcg", "mrr", "hit")
NOBODY = -1
"""In a list: no product."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One method on one set of shoppers."""

    per_shopper: dict[str, np.ndarray]
    """FIGURES → value of each shopper, shape (shoppers,)."""
    coverage: float
    """Share of the products sold or touched lately that are recommended to anybody."""
    novelty: float
    """Mean of -log2 of the share of shoppers who ever touched a recommended product (Zhou et al. 2010), bits."""

    def mean(self, figure: str) -> float:
        """Return the mean over the shoppers."""
        return float(self.per_shopper[figure].mean())


def measure_lists(lists: np.ndarray, targets: Sequence[np.ndarray], reach: np.ndarray, alive: np.ndarray) -> Measured:
    """Measure what was recommended.

    Recall@10 is the share of what a shopper bought that is in the list. NDCG@10 is that of Järvelin and Kekäläinen
    (2002) with gains 0 and 1. MRR@10 is one over the place of the first product that was bought, or 0. A hit is a
    shopper who bought anything of the list.

    Args:
        lists: products, best first, NOBODY where a list ends early, shape (shoppers, at least AT).
        targets: what each shopper bought, at least one product each.
        reach: share of the shoppers who ever touched each product, (products,).
        alive: whether a product may be recommended at all, for the coverage, (products,).

    >>> found = measure_lists(np.array([[3, 1] + [-1] * 8]), [np.array([1, 2])], np.full(4, 0.5), np.ones(4, bool))
    >>> found.mean("recall"), found.mean("mrr"), round(found.mean("ndcg"), 3), found.coverage, found.novelty
    (0.5, 0.5, 0.387, 0.5, 1.0)
    """
    lists = lists[:, :AT]
    counts = np.array([len(target) for target in targets])
    row = np.repeat(np.arange(len(targets)), counts)
    step = np.int64(len(reach) + 1)
    wanted = row * step + (np.concatenate(targets) if len(targets) else np.zeros(0, dtype=np.int64))
    hit = np.isin(np.arange(len(lists))[:, None] * step + lists, wanted) & (lists != NOBODY)
    discount = 1 / np.log2(np.arange(2, AT + 2))
    ideal = np.append(0, np.cumsum(discount))[np.minimum(counts, AT)]
    first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)
    named = lists[lists != NOBODY]
    return Measured(
        per_shopper={
            "recall": hit.sum(axis=1) / counts,
            "ndcg": (hit * discount).sum(axis=1) / ideal,
            "mrr": 1 / first,
            "hit": hit.any(axis=1).astype(np.float64),
        },
        coverage=float(len(np.unique(named)) / max(1, alive.sum())),
        novelty=float(-np.log2(np.maximum(reach[named], 1e-9)).mean()) if len(named) else 0.0,
    )


def intervals(measured: Mapping[str, Measured], drawing: Resampling) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the interval of each figure of each method."""
    names = [(method, figure) for method in measured for figure in FIGURES]
    means = _drawn_means(np.stack([measured[method].per_shopper[figure] for method, figure in names]), drawing)
    found: dict[str, dict[str, tuple[float, float]]] = {method: {} for method in measured}
    for (method, figure), values in zip(names, means, strict=True):
        found[method][figure] = percentile_interval(values, drawing.confidence)
    return found


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """By how much one method is above another."""

    difference: float
    lower: float
    upper: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies above zero."""
        return self.lower > 0


def ahead(one: Measured, other: Measured, drawing: Resampling, figure: str = "ndcg") -> Ahead:
    """Return how far one method is above another on the same shoppers, with its interval."""
    gap = one.per_shopper[figure] - other.per_shopper[figure]
    lower, upper = percentile_interval(_drawn_means(gap[None], drawing)[0], drawing.confidence)
    return Ahead(difference=float(gap.mean()), lower=lower, upper=upper)


def choose(measured: Mapping[str, Measured], drawing: Resampling) -> str:
    """Return the simplest method that the best one, by NDCG@10, is not shown to be above.

    Args:
        measured: the simplest first.
        drawing: how intervals are drawn.
    """
    best = max(measured, key=lambda name: measured[name].mean("ndcg"))
    return next(
        name for name in measured if name == best or not ahead(measured[best], measured[name], drawing).is_shown
    )


def _drawn_means(values: np.ndarray, drawing: Resampling) -> np.ndarray:
    """Return the means of each row's resamples, (rows, resamples)."""
    shoppers = values.shape[1]
    means = [values @ draw / shoppers for draw in draws(shoppers, drawing)]
    return np.array(means).T if means else np.empty((len(values), 0))
