"""Missed nights: when trainings and scorings were due, and which runs there are, in; what did not happen, out.

Airflow starts nothing while it is down or a DAG is paused, and nobody who is not there can say so: the next monitoring
does. The one thing to know: a shop that has never had a nightly run is told nothing.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.runs import last_runs
from behavior_tasks.pipeline.schedules import NIGHTS
from behavior_tasks.watch.alerts import Finding

DAYS = 7
"""How far back it looks."""
MOST_RUNS = 1000
GRACE = timedelta(hours=1)
"""How late a night may begin: tasks of the night before may still run."""
TRIGGERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "training": ("nightly", ("manual", "command line")),
    "scoring": ("scoring in airflow", ("scoring",)),
}
"""What is missed when a night is lost → the trigger that Airflow's runs have, and those of others that make it good."""


def missed_nights(home: Home, moment: datetime, *, settings: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield a finding for trainings, and one for scorings, that were due in the last week and never began.

    Args:
        home: the state folder.
        moment: until when, with a zone.
        settings: the schedules, and their zone (`BEHAVIOR_TIMEZONE`).
    """
    zone = ZoneInfo(settings.get("BEHAVIOR_TIMEZONE") or "UTC")
    for what, (trigger, others) in TRIGGERS.items():
        variable, default = NIGHTS[what]
        runs = [run.record for run in last_runs(home, most=MOST_RUNS, triggers=(trigger, *others))]
        nights, done = {run.day for run in runs if run.trigger == trigger}, {run.day for run in runs}
        due = _due(settings.get(variable) or default, zone, moment) if nights else []
        # Before the first run that is kept, nobody had meant to run it by night, or it is gone by now.
        lost = [day for day in due if day > min(nights) and day not in done]
        if lost:
            yield _finding(what, lost, nights)


def _due(cron: str, zone: ZoneInfo, moment: datetime) -> list[date]:
    """Return the days, as runs name them (UTC), on which a schedule was due within DAYS, oldest first."""
    until = (moment - GRACE).astimezone(zone)
    ticks, due = croniter(cron, until), set()
    while (tick := ticks.get_prev(datetime)) > until - timedelta(days=DAYS):
        due.add(tick.astimezone(UTC).date())
    return sorted(due)


def _finding(what: str, lost: list[date], days: Collection[date]) -> Finding:
    nights = f"{len(lost)} nights" if len(lost) > 1 else "night"
    return Finding(
        code=f"missed_{what}",
        about=what,
        level="warning",
        words=f"The {what} of the {nights} {', '.join(map(str, lost))} never began; the last one was for {max(days)}.",
        # Airflow reads a day as its beginning, which is before the night of that day: so one day more.
        next_step=f"look whether behavior_{what} is paused in Airflow and the scheduler ran; to make it up, trigger it "
        f"with that logical date, or (on Postgres) airflow backfill create --dag-id behavior_{what} --from-date "
        f"{lost[0]} --to-date {lost[-1] + timedelta(days=1)}",
    )
