"""Copies of logs that came from a URL or a database, each named by the hash of its bytes.

In comes something that writes bytes; out comes a finished file in the state folder's `raw/`. The one thing to know:
equal bytes give the same file, a copy is renamed into its place only when it is whole, and it is never changed again.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder

NAME_LENGTH = 24
MB = 1 << 20
STALE_SECONDS = 86_400
"""A half-made copy as old as this belongs to nobody any more."""


class Writable(Protocol):
    """Something that takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Take them."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A finished copy."""

    path: Path
    sha256: str
    bytes: int


class _Hashing:
    """A stream that hashes and counts what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return self._stream.write(data)


def copy_name(sha256: str, suffix: str) -> str:
    """Return the name of a copy in the raw folder."""
    return sha256[:NAME_LENGTH] + suffix


def keep_copy(home: Home, write: Callable[[Writable], object], *, suffix: str, shown: str, min_free_mb: int) -> Copy:
    """Let `write` fill a file and keep it under its hash.

    Args:
        suffix: ending of the file's name, e.g. `.csv.gz`.
        shown: what is copied, for messages.
        min_free_mb: free space that must remain before it starts.

    Raises:
        UserError: when the disk is nearly full or fills up.
    """
    folder = make_folder(home.raw)
    _remove_stale(folder)
    if shutil.disk_usage(folder).free < min_free_mb * MB:
        raise _full(shown, "before the copy began", f"{min_free_mb} MB free (engine.min_free_disk_mb)")
    temporary = folder / f".part-{uuid4().hex}"
    try:
        with temporary.open("wb") as stream:
            hashing = _Hashing(stream)
            write(hashing)
            stream.flush()
            os.fsync(stream.fileno())
        digest = hashing.digest.hexdigest()
        place = folder / copy_name(digest, suffix)
        if not (place.is_file() and place.stat().st_size == hashing.bytes):
            temporary.replace(place)
        return Copy(path=place, sha256=digest, bytes=hashing.bytes)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise _full(shown, "while it was copied", None) from None
    finally:
        temporary.unlink(missing_ok=True)


def remember(home: Home, address: str, content: Mapping[str, Any]) -> None:
    """Note what is known of an address, e.g. its ETag and the copy that belongs to it."""
    make_folder(home.raw / "index")
    write_durably(_note(home, address), json.dumps(content).encode())


def remembered(home: Home, address: str) -> dict[str, Any]:
    """Return what `remember` noted; nothing when there is no note, or a damaged one."""
    try:
        held = json.loads(_note(home, address).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _note(home: Home, address: str) -> Path:
    # The address itself may hold a password or a signature, so it is only hashed.
    return home.raw / "index" / f"{hashlib.sha256(address.encode()).hexdigest()[:NAME_LENGTH]}.json"


def _remove_stale(folder: Path) -> None:
    """Remove what a killed process left, by the clock of the disk that both were written on."""
    probe = folder / f".part-{uuid4().hex}"
    probe.touch()
    now = probe.stat().st_mtime
    for part in folder.glob(".part-*"):
        if part == probe or now - part.stat().st_mtime > STALE_SECONDS:
            part.unlink(missing_ok=True)


def _full(shown: str, when: str, expected: str | None) -> UserError:
    return UserError(
        f"The disk of the state folder is full: {shown} can't be copied.",
        found=f"too little space {when}",
        expected=expected,
        next_step="free some space, or point BEHAVIOR_HOME at a larger disk",
    )
