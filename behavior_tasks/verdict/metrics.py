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
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from behavior_tasks.verdict.bootstrap import Resampling, draws, percentile_interval, shopper_codes
from behavior_tasks.verdict.ranking import LIFTS, Ranking, measure_ranking

__all__ = [
    "BASELINES",
    "FIGURES",
    "METRICS",
    "CalibrationBins",
    "Costs",
    "Difference",
    "Resampling",
    "Scored",
    "average_precision_difference",
    "calibration_bins",
    "calibration_edges",
    "expected_calibration_error",
    "explain_undefined",
    "f1_difference",
    "hash_examples",
    "measure",
    "profit_per_1000",
    "surprises",
]

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
"""What the gate wants of every model beside its threshold."""
FIGURES: tuple[str, ...] = (*METRICS, *LIFTS)
"""Every figure of a model."""
NEED_BUYER = ("recall", "f1", "average_precision", "roc_auc", *LIFTS)
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""For the log-loss a probability of what happened counts at least this, so that one sure miss costs 36 and not all."""
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
class Costs:
    """What a contact costs and what a sale is worth, in the log's currency."""

    contact: float
    sale: float


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
    """Return threshold and FIGURES of one model.

    Precision is 0 where nobody is called a buyer (scikit-learn's `zero_division=0`). Recall, F1, average precision,
    lifts and gains need a buyer, ROC-AUC a buyer and a non-buyer; without them they are NaN. All are NaN when there
    are no examples or a probability is not finite. The log-loss takes probabilities of exactly 0 and 1 as
    LEAST_PROBABILITY away from them, as scikit-learn does.

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
        return {"threshold": float(scored.threshold), **dict.fromkeys(FIGURES, math.nan)}
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
        "log_loss": float(surprises(labels, probabilities).mean()),
        "ece": expected_calibration_error(labels, probabilities),
        "brier": float(brier_score_loss(labels, probabilities, labels=[0, 1])),
        **measure_ranking(labels, probabilities),
    }


def explain_undefined(labels: np.ndarray, scored: Scored) -> dict[str, str]:
    """Return the figures that `measure` leaves undefined, each with its reason.

    >>> explain_undefined(np.array([1, 1]), Scored(probabilities=np.array([.9, .1]), threshold=.5))
    {'roc_auc': 'every example is a buyer'}
    """
    if not len(labels):
        return dict.fromkeys(FIGURES, "there are no examples")
    if not scored.usable:
        lost = int((~np.isfinite(scored.probabilities)).sum())
        why = f"{lost:,} of {len(labels):,} probabilities are not finite numbers" if lost else "there is no threshold"
        return dict.fromkeys(FIGURES, why)
    buyers = int((labels == 1).sum())
    if not buyers:
        return dict.fromkeys(NEED_BUYER, "no example is a buyer")
    return {"roc_auc": "every example is a buyer"} if buyers == len(labels) else {}


def surprises(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return minus the logarithm of the probability of what happened, (n,), in nats; at most 36.

    >>> surprises(np.array([1, 0]), np.array([0.0, 0.5])).round(2).tolist()
    [36.04, 0.69]
    """
    happened = np.where(labels == 1, probabilities, 1 - probabilities)
    return -np.log(np.clip(happened, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


def profit_per_1000(hits: float, called: float, examples: float, costs: Costs) -> float:
    """Return what calling brings per 1,000 examples: the worth of the buyers called less the cost of all calls.

    >>> profit_per_1000(hits=2, called=10, examples=100, costs=Costs(contact=1.0, sale=20.0))
    300.0
    """
    return 1000 * (costs.sale * hits - costs.contact * called) / examples


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray) -> CalibrationBins:
    """Return up to ten bins of about equal numbers of examples; equal probabilities are never parted.

    With few buyers nearly all probabilities are small; bins of equal width would put them all into the first.
    """
    edges = calibration_edges(probabilities)
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


def calibration_edges(probabilities: np.ndarray) -> np.ndarray:
    """Return the rising probabilities from which on the bins after the first begin."""
    ordered = np.sort(probabilities)
    starts = [math.ceil(len(ordered) * k / CALIBRATION_BINS) for k in range(1, CALIBRATION_BINS)]
    return np.unique(ordered[[start for start in starts if start < len(ordered)]])


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean gap between probability and share of buyers over ten bins of equal mass, weighted by size.

    Expected calibration error of Naeini et al. (AAAI 2015) with the equal-mass bins of Nixon et al. (CVPR
    workshops 2019, "Measuring calibration in deep learning").
    """
    bins = calibration_bins(labels, probabilities)
    return float(np.average(np.abs(bins.predicted - bins.observed), weights=bins.examples))


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
    codes, count = shopper_codes(shoppers)
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
    if not len(labels):
        return _undefined()
    codes, count = shopper_codes(shoppers)
    rankings = [(ranking, codes[ranking.order]) for ranking in (Ranking.of(labels, first), Ranking.of(labels, second))]

    def difference(draw: np.ndarray) -> float:
        found = [ranking.walk(draw[mine]).average_precision() for ranking, mine in rankings]
        return found[0] - found[1]

    return _bootstrap(difference, count, resampling)


def hash_examples(examples: Iterable[str], labels: Iterable[int]) -> str:
    """Return the hash that says on what a model was measured: the ordered example ids with their labels."""
    digest = hashlib.sha256()
    for example, label in zip(examples, labels, strict=True):
        digest.update(f"{example}\t{int(label)}\n".encode())
    return digest.hexdigest()


def _bootstrap(difference: Callable[[np.ndarray], float], shoppers: int, resampling: Resampling) -> Difference:
    """Call `difference` with how often each shopper is drawn: once each, then resampled again and again."""
    drawn = np.array([difference(draw) for draw in draws(shoppers, resampling)])
    lower, upper = percentile_interval(drawn, resampling.confidence)
    if math.isnan(lower):
        return _undefined()
    return Difference(difference=float(difference(np.ones(shoppers))), lower=lower, upper=upper)


def _undefined() -> Difference:
    return Difference(difference=math.nan, lower=math.nan, upper=math.nan)
