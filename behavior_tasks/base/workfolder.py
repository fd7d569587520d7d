"""Work folders: each locked by the process that fills it, so that what a killed process left can be swept.

In comes the folder in which one is wanted; out comes a new, empty folder in it to work in. The one thing to know: the
lock is the kernel's (`flock` of the folder itself), so it ends with its process however that ends; where a file system
has no such locks, nothing is ever swept.
"""

import ctypes
import errno
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.locks import try_lock

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of `renameat2` (Linux): two names change places in one step."""
REPLACEMENT = ".replacement"
"""Ending of the hidden folder that waits, whole, to take a folder's place."""
NAME = re.compile(r"\.[0-9a-z]+\.[0-9a-f]{8}")
"""A hidden folder: a name, and what tells two workers of one name apart."""
log = logging.getLogger("behavior")


@contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder to work in and lock it; at the end it is gone, unless the work has renamed it.

    Args:
        name: digits and small letters, e.g. the key that is worked on.

    Raises:
        UserError: when this user may not write there.
    """
    while True:
        folder = parent / f".{name}.{uuid4().hex[:8]}"
        _make(folder)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try_lock(handle, fcntl.LOCK_EX)
        if folder.is_dir():
            break
        # Somebody swept it between its making and its locking.
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(parent: Path) -> None:
    """Delete the work folders in a folder that no process holds any more."""
    for folder in sorted(parent.iterdir()):
        if not NAME.fullmatch(folder.name):
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except (FileNotFoundError, PermissionError):
            continue
        try:
            if try_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
                log.info("%s: unfinished work of a process that has died is gone", parent.name)
        finally:
            os.close(handle)


def replacement_of(place: Path) -> Path:
    """Return where a whole folder waits that shall take another's place; `sweep` does not touch it."""
    return place.with_name(f".{place.name}{REPLACEMENT}")


def exchange(place: Path) -> None:
    """Put a folder's whole replacement in its place and delete the old one.

    Killed at any step, `finish_exchange` finds the new folder or the old one whole. Where the system can, both change
    places in one step, so that no reader ever finds neither.
    """
    new = replacement_of(place)
    if not _swap_names(new, place):
        old = place.with_name(f".{re.sub('[^0-9a-z]', '', place.name)}.{uuid4().hex[:8]}")
        place.rename(old)
        new.rename(place)
        new = old
    flush(place.parent)
    shutil.rmtree(new, ignore_errors=True)


def finish_exchange(place: Path) -> bool:
    """Bring the replacement into a place that a killed process left empty; return whether there was one.

    Where the place is filled, a replacement beside it is what was replaced, or was never needed, and goes.
    """
    new = replacement_of(place)
    if not new.is_dir():
        return False
    if place.exists():
        shutil.rmtree(new, ignore_errors=True)
        return False
    try:
        new.rename(place)
    except FileNotFoundError:
        return place.exists()  # somebody else has just done it
    flush(place.parent)
    return True


def _swap_names(one: Path, other: Path) -> bool:
    """Let two names change places; False where the system or the file system can't."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and not rename(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), ctypes.c_uint(RENAME_EXCHANGE)
    )


def flush(path: Path) -> None:
    """Flush a file's bytes, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        raise UserError(
            f"The folder {folder.parent.name} in the state folder may not be written to.",
            found=error.strerror,
            expected="a folder that this user may write to (BEHAVIOR_HOME names it)",
            next_step="run as the user who made it, or set BEHAVIOR_HOME to another folder",
        ) from None
