"""The settings of the gate: what a model must show before it may take the champion's place.

In come plain values, out comes a frozen section of the one configuration model in `base/config.py`. The one thing to
know: an empty ceiling or floor is a rule that is not asked, and the verdict says so.
"""

from typing import Literal

from pydantic import Field

from behavior_tasks.base.section import Section


class GateConfig(Section):
    """When a new model may replace the champion."""

    min_f1: float = Field(0.3, ge=0, le=1, description="The candidate's F1 on test must reach this.")
    comparison: Literal["non_inferior", "superior"] = Field(
        "non_inferior",
        description="What F1 must be beside each baseline, beyond noise: not behind it by more than gate.margin "
        "(non_inferior), or above it (superior).",
    )
    margin: float = Field(
        0.02, ge=0, le=1, description="By how much F1 may fall behind a baseline or the champion, at worst."
    )
    bootstrap: int = Field(1000, ge=100, le=100_000, description="Paired bootstrap resamples, by shopper.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence level of the intervals.")
    seed: int = Field(7, ge=0, description="Random seed of the bootstrap.")
    min_positives: int = Field(30, ge=1, description="Buyers that test must have, for its figures to say anything.")
    max_ece: float | None = Field(
        0.1, ge=0, le=1, description="Highest expected calibration error on test. Empty: not asked."
    )
    slice_drop: float | None = Field(
        0.3,
        ge=0,
        le=1,
        description="By how much the F1 of a slice of the shoppers may fall below the F1 of all, beyond noise. "
        "Empty: not asked.",
    )
    min_slice_f1: float | None = Field(
        None, ge=0, le=1, description="The F1 that every slice must reach, beyond noise. Empty: not asked."
    )
    slice_buyers: int = Field(50, ge=1, description="Buyers in test from which on a slice is judged.")
    max_epsilon: float | None = Field(
        None,
        gt=0,
        description="Privacy budget: a model trained without differential privacy, or with a larger epsilon, is kept "
        "out. Empty: not asked.",
    )
    max_latency_ms: float | None = Field(
        None, gt=0, description="Longest time of an answer of the packaged model (95th percentile). Empty: not asked."
    )
    max_size_mb: float | None = Field(None, gt=0, description="Largest packaged model. Empty: not asked.")
    audit_events: int = Field(
        10_000,
        ge=0,
        description="About so many events, of whole shoppers, are audited for leakage in every run. 0: no audit.",
    )
    allow_baseline_champion: bool = Field(
        True,
        description="When gradient boosting is better than the language model and passes the gate itself, it may "
        "become the champion.",
    )
    approval: Literal["off", "required"] = Field(
        "off", description="Whether a person must say yes before a model that passed becomes the champion."
    )
    approval_hours: float = Field(
        8.0, gt=0, le=18, description="Hours that a person has for it; afterwards the champion is kept."
    )
