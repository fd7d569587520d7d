"""Coarsening: ages, genders and times of clean events, less exact where the settings say so.

In come the `privacy` settings; out comes SQL over an event's columns. The one thing to know: a time goes back, never
forward, to a step counted from its own local midnight, so it stays on its day and on its side of every cutoff; and this
comes after duplicates and double-clicks are found, for two events that only look the same are two.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.privacy_config import PrivacyConfig

STEP_US = {"minute": 60_000_000, "hour": 3_600_000_000}


class Coarsening(BaseModel):
    """What clean events are coarsened by; the defaults change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    age_band_years: int = 0
    gender: Literal["keep", "drop"] = "keep"
    time_precision: Literal["second", "minute", "hour", "day"] = "second"

    @classmethod
    def of(cls, config: PrivacyConfig) -> Self:
        """Take what the settings say."""
        return cls(age_band_years=config.age_band_years, gender=config.gender, time_precision=config.time_precision)

    def columns(self, timezone: str) -> dict[str, str]:
        """Return column → SQL that takes its place; columns that stay are left out.

        Args:
            timezone: the shop's.

        >>> Coarsening(age_band_years=10).columns("UTC")
        {'age': 'CAST(age - age % 10 + 5 AS INTEGER)'}
        """
        found = {}
        if self.age_band_years:
            band = self.age_band_years
            found["age"] = f"CAST(age - age % {band} + {band // 2} AS INTEGER)"
        if self.gender == "drop":
            found["gender"] = "CAST(NULL AS VARCHAR)"
        if self.time_precision != "second":
            found["timestamp"] = _floored_sql(self.time_precision, timezone)
        return found


def _floored_sql(precision: str, timezone: str) -> str:
    """SQL for the beginning of an instant's minute, hour or day, counted from its local midnight; naive UTC."""
    local = f"timezone('{timezone}', timezone('UTC', timestamp))"
    # Where clocks skip midnight, the day begins an hour later, and an event cannot lie before that.
    midnight = f"timezone('UTC', timezone('{timezone}', date_trunc('day', {local})))"
    if precision == "day":
        return midnight
    step = STEP_US[precision]
    since = f"(epoch_us(timestamp) - epoch_us({midnight}))"
    return f"make_timestamp(epoch_us({midnight}) + {since} // {step} * {step})"
