"""Work folders: each locked by the process that fills it, so that what a killed process left can be swept.

In comes the folder of a stage; out comes a new, empty folder in it to work in. The one thing to know: the lock is the
kernel's (`flock` of the folder itself), so it ends with its process however that ends; where a file system has no such
locks, nothing is ever swept.
"""

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

NAME = re.compile(r"\.[0-9a-f]+\.[0-9a-f]{8}")
"""A hidden folder: a key, and what tells two workers on one key apart."""
log = logging.getLogger("behavior")


@contextmanager
def work_folder(parent: Path, key: str) -> Iterator[Path]:
    """Make a folder to work in and lock it; at the end it is gone, unless the work has renamed it.

    Args:
        key: hexadecimal digits.
    """
    while True:
        folder = parent / f".{key}.{uuid4().hex[:8]}"
        folder.mkdir()
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        _lock(handle, fcntl.LOCK_EX)
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
    """Delete the work folders in a stage's folder that no process holds any more."""
    for folder in sorted(parent.iterdir()):
        if not NAME.fullmatch(folder.name):
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
                log.info("%s: unfinished work of a process that has died is gone", parent.name)
        finally:
            os.close(handle)


def _lock(handle: int, how: int) -> bool:
    """Return whether the folder could be locked: not when somebody holds it, or nobody can."""
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True
