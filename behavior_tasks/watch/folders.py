"""The folders of watched days: the state folder in; which days there are, and which are old, out.

`watch/date=2026-11-23/` is one watched day; the journal of alerts beside them is none and stays. The one thing to know:
who makes a day and who lets old ones go hold the same lock, so nobody reads a day that is half gone.
"""

import shutil
from datetime import date
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from behavior_tasks.base.home import Home, make_folder


def day_folder(home: Home, day: date) -> Path:
    """Return where a watched day lies, or would."""
    return home.watch / f"date={day.isoformat()}"


def kept_days(home: Home) -> list[date]:
    """Return the days that were watched, oldest first."""
    names = (folder.name for folder in home.watch.glob("date=*")) if home.watch.is_dir() else ()
    return sorted(date.fromisoformat(name.removeprefix("date=")) for name in names)


def alone(home: Home) -> FileLock:
    """Return the lock of whoever makes or lets go watched days; the kernel's: it ends with its process."""
    return FileLock(make_folder(home.watch) / ".days.lock")


def old_days(home: Home, *, before: float) -> list[date]:
    """Return the days that were watched before an instant (Unix seconds); the newest day never is among them."""
    return [day for day in kept_days(home)[:-1] if day_folder(home, day).stat().st_mtime < before]


def let_go(home: Home, day: date) -> None:
    """Delete a watched day; renamed first, into what is swept away should this process be killed."""
    with alone(home):
        gone = home.watch / f".old.{uuid4().hex[:8]}"
        day_folder(home, day).rename(gone)
        shutil.rmtree(gone)
