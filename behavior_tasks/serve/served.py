"""What is served: finished outputs in; a folder a date for each application, whole or not at all, out.

`served/audiences/date=2026-11-23/` holds exactly the files below `served/` of the application's artifact, and
`served.json`, which says where they come from. The one thing to know: a date that is served again is replaced only once
the new files are all there, so yesterday's good output is never lost to today's bad one.
"""

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import Artifact, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.rewriting import Work, rewrite_folder
from behavior_tasks.base.workfolder import finish_exchange, flush, sweep, work_folder
from behavior_tasks.serve.banners import Banner, banner_facts, banners_of

FOLDER = "served"
"""Folder of an application's artifact that is handed out."""
RECORD = "served.json"
REPLACED = ".replaced-"
DATED = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
log = logging.getLogger("behavior")


class _Record(BaseModel):
    """What stands in `served.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    artifact: str
    facts: dict[str, Any]
    files: dict[str, int]
    """The files beside it, and their bytes."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """One application's output of one date."""

    application: str
    as_of: date
    folder: Path
    artifact: str
    """URI of the artifact that it was copied from."""
    facts: dict[str, Any]
    """That artifact's facts; `banners` are those of the day too."""

    @property
    def banners(self) -> list[Banner]:
        """What must be known before it is used."""
        return banners_of(self.facts)


def publish(home: Home, artifact: Artifact, as_of: date, banners: Sequence[Banner] = ()) -> Served:
    """Hand out an application's artifact for a date, in place of what was handed out for that date before.

    Killed at any step, it leaves what was there or what shall be there, whole; of two at once the last one's stays.

    Args:
        home: the state folder.
        artifact: finished, with a folder `served`.
        as_of: the date.
        banners: of the day; they stand in its facts beside the application's own.
    """
    told = banner_facts([*banners_of(artifact.facts), *banners])
    facts = {**artifact.facts, "banners": told}
    application = artifact.manifest.stage
    parent = make_folder(home.served / application)
    sweep(parent)
    place = parent / f"date={as_of.isoformat()}"
    with _alone(parent):
        _bring_back(parent)
        found = _whole(place, application)
    if found is not None and (found.artifact, found.facts.get("banners")) == (artifact.uri, told):
        return found
    with work_folder(parent, "new") as folder:
        shutil.copytree(artifact.path / FOLDER, folder, dirs_exist_ok=True)
        record = _Record(as_of=as_of, artifact=artifact.uri, facts=facts, files=_sizes(folder))
        for file in folder.rglob("*"):
            if file.is_file():
                flush(file)
        write_durably(folder / RECORD, record.model_dump_json(indent=2).encode())
        with _alone(parent):
            _bring_back(parent)
            old = parent / f"{REPLACED}{place.name}"
            if place.exists():
                place.rename(old)
            folder.rename(place)
            flush(parent)
            shutil.rmtree(old, ignore_errors=True)
    return Served(application=application, as_of=as_of, folder=place, artifact=artifact.uri, facts=facts)


def served_dates(home: Home, application: str) -> list[date]:
    """Return the dates of which an application's output is there, oldest first."""
    parent = home.served / application
    names = (folder.name for folder in parent.glob("date=*")) if parent.is_dir() else ()
    return sorted(date.fromisoformat(found[1]) for name in names if (found := DATED.fullmatch(name)))


def find_served(home: Home, application: str, as_of: date | None = None) -> Served | None:
    """Return an application's output of a date, or the newest one, or None.

    Raises:
        UserError: when it is damaged.
    """
    parent = home.served / application
    if not parent.is_dir():
        return None
    with _alone(parent):  # nobody replaces a date meanwhile
        _bring_back(parent)
        dates = served_dates(home, application)
        wanted = as_of or (dates[-1] if dates else None)
        if wanted not in dates or wanted is None:
            return None
        return _read(parent / f"date={wanted.isoformat()}", application)


def need_served(home: Home, application: str, as_of: date | None = None) -> Served:
    """Return what `find_served` finds.

    Raises:
        UserError: when there is nothing of that date, naming the dates that there are, or it is damaged.
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


@dataclass(frozen=True, kw_only=True)
class OldDate:
    """A date of an application that was handed out too long ago."""

    application: str
    as_of: date
    folder: Path


def old_dates(home: Home, *, before: float) -> list[OldDate]:
    """Return the dates that were handed out before an instant (Unix seconds); the newest of an application never is."""
    found: list[OldDate] = []
    for parent in _applications(home):
        for as_of in served_dates(home, parent.name)[:-1]:
            folder = parent / f"date={as_of.isoformat()}"
            if folder.stat().st_mtime < before:
                found.append(OldDate(application=parent.name, as_of=as_of, folder=folder))
    return found


def withdraw(old: OldDate) -> None:
    """Delete a date; renamed first, into what is swept away should this process be killed."""
    parent = old.folder.parent
    with _alone(parent):
        gone = parent / f".old.{uuid4().hex[:8]}"
        old.folder.rename(gone)
        shutil.rmtree(gone)


def rewrite_date(home: Home, application: str, as_of: date, work: Work) -> int:
    """Let a work take people out of what was handed out for a date; return how many rows went.

    Args:
        home: the state folder.
        application: whose.
        as_of: the date.
        work: gets a copy of the folder, whose files it may replace; when no row went, nothing is changed.

    Raises:
        UserError: when what was handed out is damaged, or the disk fills up.
    """
    parent = home.served / application
    place = parent / f"date={as_of.isoformat()}"
    with _alone(parent):
        _bring_back(parent)
        finish_exchange(place)
        if _read(place, application) is None:
            return 0

        def renewed(folder: Path) -> int:
            rows = work(folder)
            if rows:
                record = _Record.model_validate_json((folder / RECORD).read_bytes())
                sizes = {name: size for name, size in _sizes(folder).items() if name != RECORD}
                told = record.model_copy(update={"files": sizes})
                write_durably(folder / RECORD, told.model_dump_json(indent=2).encode())
            return rows

        return rewrite_folder(place, renewed)


def applications(home: Home) -> list[str]:
    """Return the applications of which anything was handed out."""
    return [parent.name for parent in _applications(home)]


def served_artifacts(home: Home) -> set[str]:
    """Return the URIs of the artifacts that were handed out, of all dates."""
    uris = set()
    for record in (file for parent in _applications(home) for file in parent.glob(f"date=*/{RECORD}")):
        try:
            uris.add(_Record.model_validate_json(record.read_bytes()).artifact)
        except ValidationError:
            log.warning("served/%s is damaged.", record.relative_to(home.served))
    return uris


def _applications(home: Home) -> list[Path]:
    return sorted(path for path in home.served.iterdir() if path.is_dir()) if home.served.is_dir() else []


def _alone(parent: Path) -> FileLock:
    """Return the lock of whoever reads or changes an application's dates; the kernel's: it ends with its process."""
    return FileLock(parent / ".lock")


def _bring_back(parent: Path) -> None:
    """End a replacement that was interrupted: what was replaced comes back, or goes if the new is there."""
    for old in parent.glob(f"{REPLACED}*"):
        place = parent / old.name.removeprefix(REPLACED)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(place)


def _whole(place: Path, application: str) -> Served | None:
    try:
        return _read(place, application)
    except UserError as damaged:
        log.warning("%s It is handed out anew.", damaged.problem)
        return None


def _read(place: Path, application: str) -> Served | None:
    try:
        record = _Record.model_validate_json((place / RECORD).read_bytes())
    except FileNotFoundError:
        if place.is_dir():
            raise _damaged(place, application, f"{RECORD} is missing") from None
        return None
    except ValidationError as error:
        raise _damaged(place, application, f"{RECORD}: {error.errors()[0]['msg']}") from None
    for name, size in record.files.items():
        file = place / name
        if not file.is_file() or file.stat().st_size != size:
            raise _damaged(place, application, f"{name} is missing or has another size")
    return Served(
        application=application, as_of=record.as_of, folder=place, artifact=record.artifact, facts=record.facts
    )


def _damaged(place: Path, application: str, what: str) -> UserError:
    day = place.name.removeprefix("date=")
    return UserError(
        f"What was handed out as {application} of {day} is damaged.",
        found=what,
        next_step=f"behavior score --as-of {day}, with the same log, hands it out anew",
    )


def _sizes(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
