"""A ranking: labels and scores in, sorted once; average precision, ROC-AUC and gains under any weights out.

Equal scores are never put into an order: they are gone through together, so that where several stand at the edge of
the top 5 % their buyers count by the expected share. The one thing to know: examples may weigh anything, which is how a
bootstrap asks for the same figures again and again.
"""

import math
from dataclasses import dataclass

import numpy as np

SHARES: dict[str, float] = {"1": 0.01, "5": 0.05, "10": 0.1}
"""Names of the top shares of which lift and gain are told."""
LIFTS: tuple[str, ...] = (*(f"lift_{name}" for name in SHARES), *(f"gain_{name}" for name in SHARES))


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Examples in descending order of their scores."""

    order: np.ndarray
    """Place in the input of each, shape (n,)."""
    buys: np.ndarray
    """1.0 for a buyer, shape (n,)."""
    ends: np.ndarray | None
    """Last place of each group of equal scores; None: all scores differ."""

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> "Ranking":
        """Sort n examples, at least one of them, by scores (n,)."""
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        buys = (labels[order] == 1).astype(np.float64)
        return cls(order=order, buys=buys, ends=None if len(ends) == len(order) else ends)

    def walk(self, weights: np.ndarray) -> "Walk":
        """Go down the ranking with weights (n,) in its order."""
        seen, found = np.cumsum(weights), np.cumsum(weights * self.buys)
        return Walk(seen=self._at_ends(seen), found=self._at_ends(found))

    def _at_ends(self, sums: np.ndarray) -> np.ndarray:
        return sums if self.ends is None else sums[self.ends]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How much was seen and how many buyers were found down to the end of each group of equal scores, shape (g,)."""

    seen: np.ndarray
    found: np.ndarray

    def average_precision(self) -> float:
        """Average precision as scikit-learn defines it; NaN without a buyer."""
        buyers = self.found[-1]
        if not buyers:
            return math.nan
        precision = np.divide(self.found, self.seen, out=np.zeros_like(self.found), where=self.seen > 0)
        return float(np.diff(self.found, prepend=0.0) @ precision / buyers)

    def roc_auc(self) -> float:
        """Area under the ROC curve; NaN without a buyer or without anybody else."""
        buyers, others = self.found[-1], self.seen[-1] - self.found[-1]
        if not (buyers and others > 0):
            return math.nan
        passed = self.seen - self.found
        # Of a group of equal scores, half of the pairs count as in the right order.
        above = self.found - np.diff(self.found, prepend=0.0) / 2
        return float(np.diff(passed, prepend=0.0) @ above / (buyers * others))

    def gains(self) -> list[float]:
        """LIFTS: lift, then gain, of the top shares; NaN without a buyer.

        The gain is the share of all buyers found in the top share of the examples; the lift is the gain over the share,
        which is the same as the precision there over the share of buyers. An example, or a group of equal scores,
        that lies across the edge counts by the part of it that lies within.
        """
        if not self.found[-1]:
            return [math.nan] * len(LIFTS)
        tops = np.array(list(SHARES.values()))
        found = np.interp(tops * self.seen[-1], np.append(0.0, self.seen), np.append(0.0, self.found))
        gains = found / self.found[-1]
        return [float(value) for value in (*(gains / tops), *gains)]


def measure_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return LIFTS of one model; NaN without a buyer.

    Args:
        labels: 0 or 1, (n,).
        scores: finite, (n,).

    Of twenty equal scores, the top 10 % find 10 % of the buyers, whoever stands first:

    >>> round(measure_ranking(np.array([1] + [0] * 19), np.zeros(20))["gain_10"], 3)
    0.1
    """
    if not len(labels):
        return dict.fromkeys(LIFTS, math.nan)
    ranking = Ranking.of(labels, scores)
    return dict(zip(LIFTS, ranking.walk(np.ones(len(labels))).gains(), strict=True))
