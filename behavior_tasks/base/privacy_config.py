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
