"""The timeline: where time splits a log into train, validation and test.

A cutoff is a global instant at local midnight. History lies strictly before it, the label window is
[cutoff, end), a horizon of whole local days. Train windows end before or at the validation cutoff,
validation's at the test cutoff, so nothing fitted on train can have seen what it is later measured on.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """One label window. Instants are naive UTC, as events are stored."""

    split: Split
    cutoff: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """All label windows of a log, in order of time: one or more of train, then validation, then test."""

    windows: tuple[Window, ...]

    @property
    def train(self) -> tuple[Window, ...]:
        """The train windows, in order of time."""
        return self.windows[:-2]

    @property
    def validation(self) -> Window:
        """The validation window."""
        return self.windows[-2]

    @property
    def test(self) -> Window:
        """The test window."""
        return self.windows[-1]

    @property
    def fit_until(self) -> datetime:
        """End of the train period: bounds, bins, medians and vocabularies see only events before it."""
        return self.train[-1].end


def shortest_history_days(horizon_days: int) -> int:
    """Whole days a log must span: three label windows and one day of history before the first.

    >>> shortest_history_days(7)
    22
    """
    return 3 * horizon_days + 1


def plan(
    first: datetime,
    last: datetime,
    *,
    horizon_days: int,
    train_cutoffs: int,
    train_every_days: int,
    timezone: str = "UTC",
) -> Timeline | None:
    """Lay out the label windows of a log.

    The test window is the last `horizon_days` whole local days of the log: the day on which the log ends
    counts as whole only when the log reaches into its last hour. Validation comes one horizon earlier, the
    last train window one horizon before that, and further train windows every `train_every_days` back in
    time as long as at least one day of history remains.

    Args:
        first: instant of the first event, naive UTC.
        last: instant of the last event, naive UTC.

    Returns:
        The timeline, or None when the log is too short for three label windows and a day of history.

    >>> log = (datetime(2026, 1, 1), datetime(2026, 3, 1, 23, 59))
    >>> t = plan(*log, horizon_days=7, train_cutoffs=2, train_every_days=7)
    >>> [(w.split, str(w.cutoff.date())) for w in t.windows]
    [('train', '2026-02-02'), ('train', '2026-02-09'), ('validation', '2026-02-16'), ('test', '2026-02-23')]
    """
    zone = ZoneInfo(timezone)
    local_last = last.replace(tzinfo=UTC).astimezone(zone)
    end_day = local_last.date() + timedelta(days=1 if local_last.hour == 23 else 0)

    def window(split: Split, days_before_end: int) -> Window:
        day = end_day - timedelta(days=days_before_end)
        return Window(
            split=split,
            cutoff=local_midnight(day, zone),
            end=local_midnight(day + timedelta(days=horizon_days), zone),
        )

    train = [window("train", 3 * horizon_days + k * train_every_days) for k in range(train_cutoffs)]
    train = [w for w in reversed(train) if w.cutoff >= first + timedelta(days=1)]
    if not train:
        return None
    return Timeline(
        windows=(*train, window("validation", 2 * horizon_days), window("test", horizon_days)),
    )


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """Return the local day of an instant, naive UTC."""
    return instant.replace(tzinfo=UTC).astimezone(zone).date()


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant, naive UTC, at which a local day begins."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return local.astimezone(UTC).replace(tzinfo=None)
