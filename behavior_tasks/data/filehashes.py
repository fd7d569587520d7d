"""Hashes of raw files, remembered: an unchanged night reads no byte of the log.

In comes a path; out come its SHA-256 and what identified it when it was read. The one thing to know: a file changed
less than two seconds before it was hashed is never remembered, because a later write could leave the same time.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from behavior_tasks.base.artifacts import hash_file, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder

SETTLED_NS = 2_000_000_000
"""A file must have lain untouched for so long before its hash is remembered."""
MOST_KEPT = 200_000


class Identity(NamedTuple):
    """What changes when a file is written; ctime also tells a write whose mtime was put back."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def identity_of(path: Path) -> Identity:
    """Return a file's identity."""
    held = path.stat()
    return Identity(held.st_size, held.st_mtime_ns, held.st_ctime_ns, held.st_ino)


class FileHashes:
    """The remembered hashes of one state folder; `close` writes what was learned.

    Args:
        home: the state folder.
        now_ns: the clock, in nanoseconds since 1970.
    """

    def __init__(self, home: Home, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = home.cache / "file_hashes.json"
        self._now_ns = now_ns
        self._kept = _read(self._path)
        self._learned: dict[str, tuple[Identity, str]] = {}
        self.read = 0
        """Files that had to be read."""

    def remembers(self, path: Path) -> bool:
        """Whether a file's hash is known without reading it."""
        try:
            held = self._kept.get(str(path.absolute()))
            return held is not None and held[0] == identity_of(path)
        except (OSError, ValueError):
            return False

    def sha256(self, path: Path, *, shown: str) -> tuple[str, Identity]:
        """Return a file's SHA-256 and the identity that it belongs to.

        Raises:
            UserError: when the file changes while it is read.
        """
        before, key = identity_of(path), str(path.absolute())
        held = self._learned.get(key) or self._kept.get(key)
        if held and held[0] == before:
            return held[1], before
        started = self._now_ns()
        self.read += 1
        digest = hash_file(path)
        if identity_of(path)[:2] != before[:2]:
            raise changed_meanwhile(shown)
        if started - before.mtime_ns >= SETTLED_NS:
            self._learned[key] = (before, digest)
        return digest, before

    def close(self) -> None:
        """Write what was learned. Two processes may do so at once: the last one wins, the other's is learned again."""
        if not self._learned:
            return
        kept = {**_read(self._path), **self._learned}
        newest = list(kept.items())[-MOST_KEPT:]
        make_folder(self._path.parent)
        write_durably(self._path, json.dumps({key: [*held[0], held[1]] for key, held in newest}).encode())
        self._learned = {}


def changed_meanwhile(shown: str) -> UserError:
    """The error for a file that grows or changes while it is read."""
    return UserError(
        f"{shown} changed while the run was reading it.",
        found="another size or time than when it was first looked at",
        expected="a finished export",
        next_step="wait until the export has finished, then run again; best, write it elsewhere and rename it",
    )


def _read(path: Path) -> dict[str, tuple[Identity, str]]:
    try:
        held = json.loads(path.read_bytes())
        return {key: (Identity(*values[:4]), values[4]) for key, values in held.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        # It can be made again at any time, so a damaged one is no reason to stop.
        return {}
