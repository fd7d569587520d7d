"""The settings of privacy: what protects the people of the log, beyond their pseudonyms.

In comes the `privacy` section of a YAML file; out comes a frozen section. The one thing to know: nothing here is on
by default that would change what a model learns.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt

from behavior_tasks.base.model_config import TrainConfig
from behavior_tasks.base.section import Section

KeptKind = Literal[
    "raw", "events", "examples", "texts", "models", "scores", "campaigns", "watch", "runs", "mlflow", "logs", "work",
    "cache", "certificates",
]  # fmt: skip
KEEP_DAYS: Mapping[KeptKind, int] = {
    "raw": 30,
    "events": 400,
    "examples": 180,
    "texts": 180,
    "models": 400,
    "scores": 400,
    "campaigns": 400,
    "watch": 400,
    "runs": 1095,
    "mlflow": 1095,
    "logs": 90,
    "work": 30,
    "cache": 30,
    "certificates": 3650,
}
"""Age limits, in days, of what is kept; `privacy.keep` changes single ones."""

NOT_PRIVATE: Mapping[str, tuple[float, str]] = {
    "distillation": (0.0, "the teacher, gradient boosting, has read the labels without noise"),
    "number_epochs": (0, "the head start fits the numbers without noise"),
}
"""Settings of `train` that are off by default with DP, unless somebody asked for them: their value then, and why."""


class DpConfig(Section):
    """Training with differential privacy (DP-SGD); the unit is the shopper."""

    epsilon: float = Field(
        gt=0,
        le=1000,
        description="Privacy loss (ε) that the training may cost each shopper; below 1 is strong, above 8 weak.",
    )
    delta: float = Field(
        1e-5, gt=0, lt=1, description="Chance (δ) that ε does not hold; must be below 1 / the number of train shoppers."
    )
    max_grad_norm: float = Field(
        1.0, gt=0, le=1000, description="Longest gradient (C) of one shopper; longer ones are clipped to it."
    )
    examples_per_shopper: int = Field(
        4,
        ge=1,
        le=200,
        description="Most examples of one shopper in a step; of more, so many are drawn each time.",
    )
    shoppers_per_step: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Shoppers that a step draws on average (Poisson); takes the place of train.batch_size. "
        "More of them make the same ε less noisy, and fewer steps.",
    )


class PrivacyConfig(Section):
    """Differential privacy, coarsening, small groups, retention and erasure."""

    # Erasure
    retrain: Literal["now", "next_night", "within_days"] = Field(
        "next_night",
        description="When a champion is trained anew that was trained with somebody who is erased: at once, by the "
        "next night's training, or within retrain_days.",
    )
    retrain_days: int = Field(
        30, ge=1, le=365, description="Days within which that must have happened (within_days); then it alarms."
    )

    # Coarsening
    age_band_years: int = Field(
        0,
        ge=0,
        le=60,
        description="Ages become the middle of a band of so many years, e.g. 10: everybody from 30 to 39 is 35. "
        "0: as in the log.",
    )
    gender: Literal["keep", "drop"] = Field("keep", description="drop: nothing after cleaning knows a gender.")
    time_precision: Literal["second", "minute", "hour", "day"] = Field(
        "second",
        description="Times of events go back to the beginning of their minute, hour or local day; never across a "
        "midnight. second: as in the log.",
    )
    min_product_shoppers: int = Field(
        0,
        ge=0,
        description="A text calls a product by name only if so many shoppers touched it on train; of rarer ones it "
        "tells the category. 0: any.",
    )

    # Differential privacy and its budget.
    dp: DpConfig | None = Field(None, description="Training with differential privacy; empty: off.")
    budget_epsilon: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Most that all trainings on the same shoppers may cost together (ε); a training past it is refused "
        "before its first step. Empty: no limit.",
    )
    budget_delta: float = Field(1e-5, gt=0, lt=1, description="The δ at which the budget is counted.")

    # What leaves, and what goes with age.
    min_group: int = Field(
        20,
        ge=1,
        le=100_000,
        description="Fewest people that a list, or a figure about people, may be about: smaller lists are refused, "
        "smaller counts read “fewer than 20”, budgets go in steps of so many; 1: any group is shown. The newest "
        "scoring's value counts.",
    )
    keep: dict[KeptKind, PositiveInt] = Field(
        default_factory=dict,
        description="Kind of what is kept → the most days that it is kept, in place of its default; `behavior privacy "
        "retention --dry-run` lists the kinds with their limits. Older things go, every night.",
    )

    def keep_days(self, kind: KeptKind) -> int:
        """Return the age limit of a kind, in days."""
        return self.keep.get(kind, KEEP_DAYS[kind])


def with_dp_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which, with DP on, what is not private and nobody asked for is off.

    Args:
        raw: section → key → value, as merged from preset, file and overrides.
    """
    if not asks_for_dp(raw) or not isinstance(raw.get("train", {}), dict):
        return raw
    return {**raw, "train": {**{name: value for name, (value, _) in NOT_PRIVATE.items()}, **raw.get("train", {})}}


def asks_for_dp(raw: Mapping[str, Any]) -> bool:
    """Whether settings, valid or not, turn differential privacy on."""
    section = raw.get("privacy")
    return isinstance(section, Mapping) and section.get("dp") is not None


def privacy_problems(privacy: PrivacyConfig, train: TrainConfig, *, private: bool) -> list[str]:
    """Return what contradicts differential privacy, a line each.

    Args:
        private: whether DP was asked for, even where its own settings are wrong.
    """
    if not private:
        if privacy.budget_epsilon is None:
            return []
        return [
            f"privacy.budget_epsilon: {privacy.budget_epsilon:g}, but privacy.dp is off, and a training without it has "
            "no finite ε; expected privacy.dp.epsilon, or no budget"
        ]
    found = [
        f"train.{name}: {getattr(train, name):g}, but privacy.dp is on and {why}; expected {value:g}"
        for name, (value, why) in NOT_PRIVATE.items()
        if getattr(train, name) != value
    ]
    if train.negative_share != 1:
        found.append(
            f"train.negative_share: {train.negative_share:g}, but with privacy.dp shoppers are drawn, each by a "
            "chance of its own; drawing non-buyers by their number would spoil that; expected 1"
        )
    if train.processes != 1:
        found.append(
            f"train.processes: {train.processes}, but with privacy.dp one process draws the shoppers and adds the "
            "noise, once a step; expected 1"
        )
    if train.compile:
        found.append(
            "train.compile: true, but with privacy.dp every shopper is a batch of its own shape, and each would be "
            "compiled anew; expected false"
        )
    dp, budget = privacy.dp, privacy.budget_epsilon
    if dp is not None and budget is not None and dp.epsilon > budget:
        found.append(
            f"privacy.dp.epsilon: {dp.epsilon:g} is more than privacy.budget_epsilon = {budget:g}; "
            "expected a training within the budget"
        )
    return found
