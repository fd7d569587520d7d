"""The decision threshold: labels and probabilities of validation and a policy in, the cut and what it does there out.

It is chosen on validation, for the language model and for every baseline alike, and only applied afterwards. The one
thing to know: "probability >= threshold" calls somebody a buyer, whatever the policy.
"""

import math
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from behavior_tasks.base.config import DecisionConfig

NOBODY = math.nextafter(1.0, 2.0)
"""The smallest threshold that no probability reaches."""
ROUNDING = 1e-12
"""The same ratio from other counts may differ in the last bits."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A threshold, and why it is not what one would expect; None: nothing to say."""

    threshold: float
    reason: str | None = None


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray, policy: DecisionConfig) -> Choice:
    """Return the threshold that a policy gives on validation.

    `cost` needs no labels: contacting pays where probability x value exceeds the cost (Elkan 2001, "The foundations
    of cost-sensitive learning"), and the probabilities are calibrated. Searching validation for the most profitable
    cut instead would fit its luck: with few buyers a handful of them moves that cut by a factor.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: finite, shape (n,), aligned with the labels.
        policy: which policy, and its figures.

    Raises:
        ValueError: a figure that the policy needs is missing; a loaded configuration has them.
    """
    if policy.policy == "cost":
        if policy.cost_of_contact is None or policy.value_of_sale is None:
            raise ValueError("the policy cost needs cost_of_contact and value_of_sale")
        return Choice(threshold=min(policy.cost_of_contact / policy.value_of_sale, NOBODY))
    if policy.policy == "precision":
        if policy.min_precision is None:
            raise ValueError("the policy precision needs min_precision")
        return _precise_threshold(labels, probabilities, policy.min_precision)
    threshold = best_f1_threshold(labels, probabilities)
    return Choice(threshold=threshold, reason=None if np.any(labels == 1) else "validation has no buyer")


def best_f1_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold t for which "probability >= t" has the highest F1; the highest such t on a tie.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: shape (n,), aligned with the labels.

    Returns:
        One of the probabilities, or 1.0 when no label is positive, since F1 is then 0 at every threshold.

    >>> best_f1_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9]))
    0.4
    """
    if not np.any(labels == 1):
        return 1.0
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    # The curve's last point (precision 1, recall 0) has no threshold.
    precision, recall = precision[:-1], recall[:-1]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    # Thresholds ascend.
    best = np.flatnonzero(f1 >= f1.max() - ROUNDING)[-1]
    return float(thresholds[best])


def _precise_threshold(labels: np.ndarray, probabilities: np.ndarray, min_precision: float) -> Choice:
    """Return the threshold of the highest recall whose precision suffices; the highest such threshold on a tie.

    Where no threshold is precise enough nobody is called: to call somebody would break what was asked for.
    """
    if not np.any(labels == 1):
        return Choice(threshold=NOBODY, reason="validation has no buyer: nobody is called")
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    precision, recall = precision[:-1], recall[:-1]
    precise = (precision >= min_precision - ROUNDING) & (recall > 0)
    if not precise.any():
        reached = float(precision.max())
        why = (
            f"no threshold reaches precision {min_precision:g} on validation (at most {reached:.3f}): nobody is called"
        )
        return Choice(threshold=NOBODY, reason=why)
    best = np.flatnonzero(precise & (recall >= recall[precise].max() - ROUNDING))[-1]
    return Choice(threshold=float(thresholds[best]))
