"""The settings of privacy: what protects the people of the log, beyond their pseudonyms.

In comes the `privacy` section of a YAML file; out comes a frozen section. The one thing to know: nothing here is on
by default that would change what a model learns.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, PositiveInt

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


class PrivacyConfig(Section):
    """Differential privacy, coarsening, small groups, retention and erasure."""

    # erasure
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
