"""Calibration: validation's labels and logits in; the bundle's decision (calibration and threshold) out.

It is fitted once, on the validation logits of the best epoch, and only applied afterwards. How well it fits is told
by the ECE on test: on validation itself isotonic regression looks better than it is, as it was fitted there.
"""

import math
from typing import Any, Literal

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from behavior_tasks.base.config import DecisionConfig
from behavior_tasks.model.decision import Decision, logit
from behavior_tasks.model.threshold import choose_threshold

MIN_OF_EACH = 50
"""Fewest buyers and fewest non-buyers on validation for Platt scaling: below, its two numbers are mostly noise."""
MIN_FOR_ISOTONIC = 1000
"""Fewest examples on validation for isotonic regression, which overfits smaller sets (scikit-learn's user guide)."""

SAME_VALUE = 1e-9
"""Probabilities closer than this are one block of the isotonic regression."""
NO_ORDER = "the network ranks validation's buyers no higher than the others"


def fit_decision(
    labels: np.ndarray,
    logits: np.ndarray,
    weights: np.ndarray,
    *,
    calibration: Literal["platt", "isotonic", "off"],
    prior_offset: float = 0.0,
    policy: DecisionConfig | None = None,
) -> Decision:
    """Fit the calibration on validation and choose the policy's threshold on the calibrated probabilities.

    Platt scaling (Platt 1999) is a logistic regression on the logit with smoothed targets. Isotonic regression
    (Zadrozny and Elkan 2002) is kept as the centres of its blocks, with straight lines between (centred isotonic
    regression, Oron and Flournoy 2017), so that no two examples tie that the network told apart. Where validation is
    too small, or ranks buyers no better than chance, less is done and `reason` says so.

    Args:
        labels: 0 or 1, shape (n,), n at least 1.
        logits: what the network said, uncalibrated and finite, shape (n,).
        weights: how many examples each stands for, shape (n,).
        calibration: what is asked for.
        prior_offset: what `prior_offset` gives for the training's settings.
        policy: how the threshold is chosen; None: by the best F1.

    Raises:
        ValueError: when a logit is not finite.
    """
    labels, logits, weights = (np.asarray(values, dtype=np.float64) for values in (labels, logits, weights))
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    fields: dict[str, Any] = {"prior_offset": prior_offset, **_fit(labels, logits + prior_offset, weights, calibration)}
    probabilities = Decision(threshold=1.0, **fields).calibrate(logits)
    policy = policy or DecisionConfig()
    chosen = choose_threshold(labels, probabilities, policy)
    return Decision(
        threshold=chosen.threshold,
        objective=policy.policy,
        threshold_reason=chosen.reason,
        **policy.model_dump(exclude={"policy"}),
        **fields,
    )


def prior_offset(positive_weight: float, negative_share: float) -> float:
    """Return what to add to a logit so that buyers are again as rare as they are (King and Zeng 2001).

    Args:
        positive_weight: by how much a buyer's loss was multiplied.
        negative_share: share of the non-buyers that the training saw.

    A network that saw a tenth of the non-buyers, or counted each buyer ten times, tells ten times the odds:

    >>> round(math.exp(prior_offset(1.0, 0.1)), 3), round(math.exp(prior_offset(10.0, 1.0)), 3)
    (0.1, 0.1)
    """
    return math.log(negative_share) - math.log(positive_weight)


def _fit(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, calibration: str) -> dict[str, Any]:
    buyers = int((labels == 1).sum())
    others = len(labels) - buyers
    if calibration == "off":
        return {"calibration": "off"}
    if min(buyers, others) < MIN_OF_EACH:
        return _off(f"validation has {buyers} buyers and {others} non-buyers; {MIN_OF_EACH} of each are needed")
    targets = smoothed_targets(labels, weights)
    if calibration == "isotonic" and len(labels) >= MIN_FOR_ISOTONIC:
        knots = _isotonic(targets, logits, weights)
        return {"calibration": "isotonic", "knots": knots} if len(knots) > 1 else _off(NO_ORDER)
    slope, intercept = _platt(targets, logits, weights)
    if slope <= 0:
        return _off(NO_ORDER)
    fields: dict[str, Any] = {"calibration": "platt", "slope": slope, "intercept": intercept}
    if calibration == "isotonic":
        fields["reason"] = f"validation has {len(labels)} examples; isotonic needs {MIN_FOR_ISOTONIC}"
    return fields


def _off(reason: str) -> dict[str, Any]:
    return {"calibration": "off", "reason": reason}


def smoothed_targets(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Platt's targets, (n₊ + 1) / (n₊ + 2) for a buyer and 1 / (n₋ + 2) else: never quite 0 or 1.

    >>> smoothed_targets(np.array([1.0, 0.0, 0.0]), np.ones(3)).round(3).tolist()
    [0.667, 0.25, 0.25]
    """
    buyers = float(weights[labels == 1].sum())
    others = float(weights[labels != 1].sum())
    return np.where(labels == 1, (buyers + 1) / (buyers + 2), 1 / (others + 2))


def _platt(targets: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept. A target t is a buyer of weight t and a non-buyer of weight 1 - t."""
    if np.ptp(logits) == 0:
        return 0.0, 0.0
    # Standardised, Newton's method takes a few steps whatever the scale.
    centre, spread = float(logits.mean()), float(logits.std())
    standard = (logits - centre) / spread
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8).fit(
        np.concatenate([standard, standard])[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([targets, 1 - targets]) * np.concatenate([weights, weights]),
    )
    slope = float(fitted.coef_[0, 0]) / spread
    return slope, float(fitted.intercept_[0]) - slope * centre


def _isotonic(targets: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return one knot for each block of equal fitted values: its mean logit and the logit of its mean target."""
    order = np.argsort(logits, kind="stable")
    targets, logits, weights = targets[order], logits[order], weights[order]
    fitted = IsotonicRegression().fit_transform(logits, targets, sample_weight=weights)
    # Within a block the values are equal but for rounding.
    block = np.concatenate([[0], np.cumsum(np.diff(fitted) > SAME_VALUE)])
    mass = np.bincount(block, weights=weights)
    centres = np.bincount(block, weights=weights * logits) / mass
    means = np.bincount(block, weights=weights * targets) / mass
    return tuple((float(centre), logit(float(mean))) for centre, mean in zip(centres, means, strict=True))
