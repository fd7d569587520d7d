"""Who uses the state folder's artifacts: stages together, whoever deletes alone.

In comes the state folder; a lock is held while the block runs. The one thing to know: the lock is the kernel's
(`flock`), so it ends with its process however that ends; where a file system has no such locks, nothing is deleted.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.locks import try_lock

LOCK_FILE = "artifacts-in-use.lock"


class BusyError(UserError):
    """A run is at work: nothing is wrong with what was asked, and later it may be done."""


@contextmanager
def using_artifacts(home: Home) -> Iterator[None]:
    """Keep artifacts from being deleted while the block runs; waits while somebody deletes."""
    handle = _open(home)
    try:
        try_lock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone_with_artifacts(
    home: Home, *, wait: bool = False, undone: str = "nothing was deleted", again: str = "try again"
) -> Iterator[None]:
    """Keep every stage from starting while the block runs.

    Args:
        home: the state folder.
        wait: for stages at work, instead of refusing.
        undone: what was not done when it is refused, for people.
        again: what to do then.

    Raises:
        BusyError: when a stage of some run is at work, or the file system has no locks.
    """
    handle = _open(home)
    try:
        if not try_lock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB):
            raise BusyError(
                f"A run is at work in this state folder; {undone}.",
                expected="no stage at work (or a file system with locks)",
                next_step=f"wait until the run has ended, and {again}",
            )
        yield
    finally:
        os.close(handle)


def _open(home: Home) -> int:
    return os.open(make_folder(home.work) / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
