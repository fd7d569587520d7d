"""Reports: a run's id or a date as somebody typed it in; the path of a page that a stage has written out.

The one thing to know: a name is looked up among those that are there, and never becomes part of a path unless it is
one of them.
"""

from datetime import date
from pathlib import Path

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import Run
from behavior_tasks.serve.served import find_served, served_dates
from behavior_tasks.watch.folders import day_folder, kept_days

STAGES = {"data": "report", "model": "model_report"}
"""Kind of a run's report → the stage that writes it."""
OPEN_TO_ALL = ("audiences", "recommendations", "demand")
"""Applications whose page everybody may read who may read this one; the risk list is not among them."""
RESTRICTED = ("risk",)


def run_report(home: Home, run_id: str, kind: str) -> Path | None:
    """Return a run's report: `data` or `model`; None when there is none."""
    if kind not in STAGES or run_id not in {file.parent.name for file in home.runs.glob("*/run.json")}:
        return None
    try:
        artifact = Run(home, run_id).artifact(STAGES[kind])
    except UserError:
        return None
    return _there(artifact.path / "report.html") if artifact is not None else None


def watch_report(home: Home, day: str) -> Path | None:
    """Return the page of a watched day, as `2026-11-23`; None when there is none."""
    found = {each.isoformat(): each for each in kept_days(home)}.get(day)
    return _there(day_folder(home, found) / "report.html") if found is not None else None


def served_report(home: Home, application: str, day: str) -> Path | None:
    """Return the page of an application's output of a date; None when there is none, or it is damaged."""
    if application not in (*OPEN_TO_ALL, *RESTRICTED):
        return None
    found = {each.isoformat(): each for each in served_dates(home, application)}.get(day)
    try:
        served = find_served(home, application, found) if found is not None else None
    except UserError:
        return None
    return _there(served.folder / "page.html") if served is not None else None


def served_pages(home: Home, applications: tuple[str, ...]) -> dict[str, date]:
    """Return the newest date of each application that has a page."""
    newest = {name: dates[-1] for name in applications if (dates := served_dates(home, name))}
    return {name: day for name, day in newest.items() if served_report(home, name, day.isoformat()) is not None}


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None
