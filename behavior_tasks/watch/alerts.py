"""Alerts: what the watch found on a day in; the same sentences with since when they stand, kept day by day, out.

The journal is one JSON line a watched day and is only ever added to; watching a day again adds a line only when it
found something else. The one thing to know: an alert that goes on is one alert; it keeps the day of its first.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import append_line

JOURNAL = "alerts.jsonl"
QUIET_DAYS = 3
"""An alert that comes back after at most so many days without it has gone on."""
LEVELS = ("notice", "warning", "severe")


class Finding(BaseModel):
    """What is wrong on a day, in one sentence, and what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    """E.g. `outage`."""
    about: str
    """What it is about, e.g. the action; code and this tell alerts apart."""
    level: Literal["notice", "warning", "severe"]
    words: str
    """One sentence, with its figures and its full stop."""
    next_step: str
    """What to type, or to do."""
    training: bool = False
    """Whether a new training is the answer; a severe one asks for it. A fault of the data is mended instead."""


class Alert(Finding):
    """A finding that stands since some day."""

    since: date

    @property
    def paragraph(self) -> str:
        """The alert in words."""
        return f"{self.words} It stands since {self.since}. What to do: {self.next_step}."


class Day(BaseModel):
    """A line of the journal: what stood on a watched day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    alerts: tuple[Alert, ...]

    @property
    def new(self) -> list[Alert]:
        """The alerts that stand since this very day."""
        return [alert for alert in self.alerts if alert.since == self.day]


def read_journal(home: Home) -> dict[date, Day]:
    """Return what stood on each watched day, oldest first; the last line of a day counts.

    A line that a crash left unfinished at the end of the file is left out.
    """
    days: dict[date, Day] = {}
    path = home.watch / JOURNAL
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            found = Day.model_validate_json(line)
        except ValidationError:
            if number < len(lines):
                raise
            continue
        days[found.day] = found
    return dict(sorted(days.items()))


def date_findings(findings: Iterable[Finding], day: date, journal: dict[date, Day]) -> Day:
    """Return what stands on a day: its findings, each since the first day of its unbroken row.

    Args:
        findings: of the day; of two about the same, the more severe counts.
        day: the watched day.
        journal: what `read_journal` gave; only its days before this one are looked at.
    """
    known: dict[tuple[str, str], tuple[date, date]] = {}
    for earlier, stood in journal.items():
        if earlier < day:
            known |= {(alert.code, alert.about): (alert.since, earlier) for alert in stood.alerts}
    alerts: dict[tuple[str, str], Alert] = {}
    for finding in sorted(findings, key=lambda one: LEVELS.index(one.level)):
        key = (finding.code, finding.about)
        since, last = known.get(key, (day, day))
        goes_on = day - last <= timedelta(days=1 + QUIET_DAYS)
        alerts[key] = Alert(**finding.model_dump(), since=since if goes_on else day)
    return Day(
        day=day, alerts=tuple(sorted(alerts.values(), key=lambda a: (-LEVELS.index(a.level), a.since, a.code, a.about)))
    )


def keep_day(home: Home, findings: Sequence[Finding], day: date) -> Day:
    """Write a day's findings into the journal, unless they stand there already, and return what stands."""
    path = make_folder(home.watch) / JOURNAL
    with FileLock(path.with_name(f".{JOURNAL}.lock")):
        journal = read_journal(home)
        found = date_findings(findings, day, journal)
        if journal.get(day) != found:
            append_line(path, lambda _: found.model_dump_json().encode() + b"\n")
    return found


def claim_training(home: Home, *, today: date, run_id: str, alerts: Sequence[Alert]) -> str | None:
    """Ask for a training once a day: return None when this run may, else why not.

    The run that was allowed to is allowed again, so that a task may be tried twice.

    Args:
        home: keeps who asked on which day.
        today: the calendar day.
        run_id: of the monitoring that asks.
        alerts: what stands.
    """
    asking = [alert for alert in alerts if alert.level == "severe" and alert.training]
    if not asking:
        return "nothing severe stands that a training would mend"
    path = make_folder(home.watch) / "trainings.json"
    with FileLock(path.with_name(".trainings.lock")):
        asked = json.loads(path.read_bytes()) if path.is_file() else {}
        before = asked.get(today.isoformat())
        if before is not None and before["run_id"] != run_id:
            return f"a training was asked for on {today} already"
        asked[today.isoformat()] = {"run_id": run_id, "why": [alert.words for alert in asking]}
        write_durably(path, json.dumps(asked, ensure_ascii=False, indent=1).encode())
    return None
