"""What is served: finished outputs in; a folder a date for each application, whole or not at all, out.

`served/audiences/date=2026-11-23/` holds exactly the files below `served/` of the application's artifact, and
`served.json`, which says where they come from. The one thing to know: a date that is served again is replaced only once
the new files are all there, so yesterday's good output is never lost to today's bad one.
"""

import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.workfolder import sweep, work_folder
from behavior_tasks.serve.banners import Banner, banners_of

FOLDER = "served"
"""Folder of an application's artifact that is handed out."""
RECORD = "served.json"
REPLACED = ".replaced-"


@dataclass(frozen=True, kw_only=True)
class Served:
    """One application's output of one date."""

    application: str
    as_of: date
    folder: Path
    artifact: str
    """URI of the artifact that it was copied from."""
    facts: dict[str, Any]
    """That artifact's facts."""

    @property
    def banners(self) -> list[Banner]:
        """What must be known before it is used."""
        return banners_of(self.facts)


def publish(home: Home, artifact: Artifact, as_of: date) -> Served:
    """Hand out an application's artifact for a date, in place of what was handed out for that date before."""
    application = artifact.manifest.stage
    parent = make_folder(home.served / application)
    sweep(parent)
    place = parent / f"date={as_of.isoformat()}"
    found = _read(place, application)
    if found is not None and found.artifact == artifact.uri:
        return found
    with work_folder(parent, "new") as folder:
        shutil.copytree(artifact.path / FOLDER, folder, dirs_exist_ok=True)
        record = {"as_of": as_of.isoformat(), "artifact": artifact.uri, "facts": artifact.facts}
        write_durably(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=2).encode())
        old = parent / f"{REPLACED}{place.name}"
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        folder.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    served = _read(place, application)
    assert served is not None  # it was written above
    return served


def served_dates(home: Home, application: str) -> list[date]:
    """Return the dates of which an application's output is there, oldest first."""
    parent = home.served / application
    names = (folder.name for folder in parent.glob("date=*")) if parent.is_dir() else ()
    return sorted(date.fromisoformat(name.removeprefix("date=")) for name in names)


def find_served(home: Home, application: str, as_of: date | None = None) -> Served | None:
    """Return an application's output of a date, or the newest one, or None."""
    _bring_back(home.served / application)
    dates = served_dates(home, application)
    wanted = as_of or (dates[-1] if dates else None)
    if wanted not in dates or wanted is None:
        return None
    return _read(home.served / application / f"date={wanted.isoformat()}", application)


def need_served(home: Home, application: str, as_of: date | None = None) -> Served:
    """Return what `find_served` finds.

    Raises:
        UserError: when there is nothing of that date, naming the dates that there are.
    """
    found = find_served(home, application, as_of)
    if found is not None:
        return found
    dates = served_dates(home, application)
    told = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else str(dates[0]) if dates else "nothing yet"
    raise UserError(
        f"There are no {application} of {as_of}." if as_of else f"There are no {application} yet.",
        found=told,
        next_step=f"behavior score{f' --as-of {as_of}' if as_of else ''}",
    )


def _bring_back(parent: Path) -> None:
    """Undo a replacement that was interrupted between its two renames."""
    for old in parent.glob(f"{REPLACED}*") if parent.is_dir() else ():
        place = parent / old.name.removeprefix(REPLACED)
        if not place.exists():
            old.rename(place)


def _read(place: Path, application: str) -> Served | None:
    try:
        record = json.loads((place / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    return Served(
        application=application,
        as_of=date.fromisoformat(record["as_of"]),
        folder=place,
        artifact=record["artifact"],
        facts=record["facts"],
    )
