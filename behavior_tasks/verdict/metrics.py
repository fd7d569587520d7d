"""Metrics: labels and probabilities in; the figures of one model, or the difference between two, out.

A model's figures are taken at its own frozen threshold; where a figure is undefined it is NaN, never a guess.
Differences come with a paired bootstrap by shopper: both models see the same resampled shoppers, so what they
share (hard shoppers, easy shoppers) cancels out.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

METRICS: tuple[str, ...] = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "average_precision",
    "roc_auc",
    "log_loss",
    "ece",
    "brier",
)
"""Every figure of a model beside its threshold."""
BASELINES: tuple[str, ...] = ("prior", "logistic", "boosting")
"""What every candidate is measured beside."""
CALIBRATION_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model's answers: probabilities (n,), and the threshold from which on it calls a shopper a buyer."""

    probabilities: np.ndarray
    threshold: float

    @property
    def decisions(self) -> np.ndarray:
        """Who is called a buyer: boolean (n,)."""
        return self.probabilities >= self.threshold

    @property
    def usable(self) -> bool:
        """Whether every probability and the threshold are finite numbers."""
        return bool(np.isfinite(self.probabilities).all()) and math.isfinite(self.threshold)


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a bootstrap is drawn."""

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First model minus second: on the examples as they are, and the bootstrap's percentile interval."""

    difference: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class CalibrationBins:
    """Mean probability, share of buyers and number of examples of each bin, in order of probability."""

    predicted: np.ndarray
    observed: np.ndarray
    examples: np.ndarray


def measure(labels: np.ndarray, scored: Scored) -> dict[str, float]:
    """Return threshold and METRICS of one model.

    Precision is 0 where nobody is called a buyer (scikit-learn's `zero_division=0`). Recall, F1 and average
    precision need a buyer, ROC-AUC a buyer and a non-buyer; without them they are NaN. All are NaN when there
    are no examples or a probability is not finite.

    Args:
        labels: 0 or 1, (n,).
        scored: probabilities (n,) and threshold.

    >>> m = measure(np.array([1, 0, 1, 0]), Scored(probabilities=np.array([.9, .6, .4, .1]), threshold=.5))
    >>> m["precision"], m["recall"], m["f1"], m["roc_auc"]
    (0.5, 0.5, 0.5, 0.75)
    """
    probabilities = scored.probabilities
    if labels.shape != probabilities.shape:
        raise ValueError(f"{labels.shape} labels and {probabilities.shape} probabilities")
    if not len(labels) or not scored.usable:
        return {"threshold": float(scored.threshold), **dict.fromkeys(METRICS, math.nan)}
    hits = int((scored.decisions & (labels == 1)).sum())
    called = int(scored.decisions.sum())
    buyers = int((labels == 1).sum())
    both_classes = 0 < buyers < len(labels)
    return {
        "threshold": float(scored.threshold),
        "accuracy": float(np.mean(scored.decisions == (labels == 1))),
        "precision": hits / called if called else 0.0,
        "recall": hits / buyers if buyers else math.nan,
        "f1": 2 * hits / (called + buyers) if buyers else math.nan,
        "average_precision": float(average_precision_score(labels, probabilities)) if buyers else math.nan,
        "roc_auc": float(roc_auc_score(labels, probabilities)) if both_classes else math.nan,
        "log_loss": float(log_loss(labels, probabilities, labels=[0, 1])),
        "ece": expected_calibration_error(labels, probabilities),
        "brier": float(brier_score_loss(labels, probabilities)),
    }


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray) -> CalibrationBins:
    """Return up to ten bins of about equal numbers of examples; equal probabilities are never parted.

    With few buyers nearly all probabilities are small; bins of equal width would put them all into the first.
    """
    ordered = np.sort(probabilities)
    starts = [math.ceil(len(ordered) * k / CALIBRATION_BINS) for k in range(1, CALIBRATION_BINS)]
    edges = np.unique(ordered[[start for start in starts if start < len(ordered)]])
    place = np.searchsorted(edges, probabilities, side="right")
    examples = np.bincount(place, minlength=len(edges) + 1)
    filled = examples > 0
    predicted = np.bincount(place, weights=probabilities, minlength=len(edges) + 1)
    observed = np.bincount(place, weights=labels, minlength=len(edges) + 1)
    return CalibrationBins(
        predicted=predicted[filled] / examples[filled],
        observed=observed[filled] / examples[filled],
        examples=examples[filled],
    )


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean gap between probability and share of buyers over ten bins of equal mass, weighted by size.

    Expected calibration error of Naeini et al. (AAAI 2015) with the equal-mass bins of Nixon et al. (CVPR
    workshops 2019, "Measuring calibration in deep learning").
    """
    bins = calibration_bins(labels, probabilities)
    return float(np.average(np.abs(bins.predicted - bins.observed), weights=bins.examples))


def measure_amounts(amounts: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how well expected amounts fit what was paid: `mae`, `gini`, and the number of `examples` with an amount.

    The mean absolute error is in the log's currency. Both are NaN where no example has an amount.

    Args:
        amounts: what was paid within the horizon, 0 for whoever bought nothing, NaN where it is not known, (n,).
        expected: what the model expected, finite, (n,).

    >>> measure_amounts(np.array([0.0, 10.0, math.nan]), np.array([1.0, 7.0, 5.0]))
    {'mae': 2.0, 'gini': 1.0, 'examples': 2}
    """
    known = np.isfinite(amounts)
    amounts, expected = amounts[known], expected[known]
    if not len(amounts):
        return {"mae": math.nan, "gini": math.nan, "examples": 0}
    mae = float(np.abs(amounts - expected).mean())
    return {"mae": mae, "gini": normalised_gini(amounts, expected), "examples": len(amounts)}


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
    best = _gain(amounts, amounts)
    return _gain(amounts, scores) / best if best > 0 else math.nan


def _gain(amounts: np.ndarray, scores: np.ndarray) -> float:
    """Area between the curve of the share of the amounts, highest score first, and the diagonal; 0 without amounts."""
    total = float(amounts.sum())
    if not total > 0:
        return 0.0
    _, place = np.unique(-scores, return_inverse=True)
    examples = np.concatenate([[0], np.cumsum(np.bincount(place))]) / len(amounts)
    paid = np.concatenate([[0], np.cumsum(np.bincount(place, weights=amounts))]) / total
    return float(np.trapezoid(paid - examples, examples))


def f1_difference(
    labels: np.ndarray, first: Scored, second: Scored, shoppers: np.ndarray, resampling: Resampling
) -> Difference:
    """Return the F1 of the first model minus the second's, each at its own threshold.

    Paired percentile bootstrap (Efron and Tibshirani 1993) that draws shoppers, because examples of one
    shopper are not independent. Resamples without a buyer have no F1 and are left out.

    Args:
        labels: 0 or 1, (n,).
        first: answers of the first model, (n,).
        second: answers of the second model, (n,).
        shoppers: whose example it is, (n,).
        resampling: number of resamples, confidence level, seed.

    Returns:
        NaN throughout when a probability is not finite or no example is a buyer.
    """
    if not (first.usable and second.usable):
        return _undefined()
    codes, count = _codes(shoppers)
    buys = labels == 1
    columns = (first.decisions & buys, first.decisions, second.decisions & buys, second.decisions, buys)
    # Sums of each shopper: hits and calls of both models, buyers.
    sums = np.column_stack([np.bincount(codes, weights=column, minlength=count) for column in columns])

    def difference(draws: np.ndarray) -> float:
        hits_1, called_1, hits_2, called_2, buyers = draws @ sums
        return 2 * hits_1 / (called_1 + buyers) - 2 * hits_2 / (called_2 + buyers) if buyers else math.nan

    return _bootstrap(difference, count, resampling)


def average_precision_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, shoppers: np.ndarray, resampling: Resampling
) -> Difference:
    """Return the average precision of the first model's probabilities (n,) minus the second's.

    Drawn as in `f1_difference`; average precision as scikit-learn defines it, each example weighted by how
    often its shopper was drawn.
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return _undefined()
    codes, count = _codes(shoppers)
    precision_1, precision_2 = _weighted_average_precision(labels, first), _weighted_average_precision(labels, second)

    def difference(draws: np.ndarray) -> float:
        weights = draws[codes]
        return precision_1(weights) - precision_2(weights)

    return _bootstrap(difference, count, resampling)


def hash_examples(examples: Iterable[str], labels: Iterable[int]) -> str:
    """Return the hash that says on what a model was measured: the ordered example ids with their labels."""
    digest = hashlib.sha256()
    for example, label in zip(examples, labels, strict=True):
        digest.update(f"{example}\t{int(label)}\n".encode())
    return digest.hexdigest()


def _bootstrap(difference: Callable[[np.ndarray], float], shoppers: int, resampling: Resampling) -> Difference:
    """Call `difference` with how often each shopper is drawn: once each, then resampled again and again."""
    generator = np.random.default_rng(resampling.seed)
    drawn = np.array(
        [
            difference(np.bincount(generator.integers(shoppers, size=shoppers), minlength=shoppers).astype(float))
            for _ in range(resampling.resamples)
        ]
        if shoppers
        else []
    )
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return _undefined()
    tail = (1 - resampling.confidence) / 2
    lower, upper = np.quantile(drawn, [tail, 1 - tail])
    return Difference(difference=float(difference(np.ones(shoppers))), lower=float(lower), upper=float(upper))


def _weighted_average_precision(labels: np.ndarray, probabilities: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function of the examples' weights; sorting, the slow part, is done once."""
    order = np.argsort(-probabilities, kind="stable")
    ordered, buys = probabilities[order], labels[order] == 1
    # Examples of equal probability are ranked together, at the last of them.
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def average_precision(weights: np.ndarray) -> float:
        ranked = weights[order]
        seen = np.cumsum(ranked)[ends]
        hits = np.cumsum(ranked * buys)[ends]
        if not hits[-1]:
            return math.nan
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return float(np.diff(hits, prepend=0.0) @ precision / hits[-1])

    return average_precision


def _codes(shoppers: np.ndarray) -> tuple[np.ndarray, int]:
    names, codes = np.unique(np.asarray(shoppers, dtype=str), return_inverse=True)
    return codes, len(names)


def _undefined() -> Difference:
    return Difference(difference=math.nan, lower=math.nan, upper=math.nan)
