"""The settings of privacy: what protects the people of the log, beyond their pseudonyms.

In comes the `privacy` section of a YAML file; out comes a frozen section. The one thing to know: nothing here is on
by default that would change what a model learns.
"""

from typing import Literal

from pydantic import Field

from behavior_tasks.base.section import Section


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
