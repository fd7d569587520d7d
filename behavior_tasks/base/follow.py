"""Followed logs: a file of JSON lines that is only added to, each line with the hash of the line before it.

In comes what a line tells; out come the line durably behind the others, or all lines, checked. The one thing to know: a
line holds no hash of its own (`base/chain` adds one), so a changed line shows once another one follows it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.chain import PREVIOUS_HASH, digest, to_line
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.journal import OWNER_ONLY, append_line, whole_lines


def add_following(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line, flushed to disk, and return it with its `previous_hash`. Half a line of a crash is cut off first.

    Args:
        path: the log, of mode 0600; it and its folder are made.
        told: JSON-able.
    """
    make_folder(path.parent)
    line = dict(told)

    def follow(whole: bytes) -> bytes:
        line[PREVIOUS_HASH] = digest(whole.splitlines()[-1] if whole else b"")
        return to_line(line)

    with FileLock(path.with_name(f".{path.stem}.lock")):
        append_line(path, follow, mode=OWNER_ONLY)
    return line


def read_following(path: Path, what: str, *, older: bool = False) -> list[dict[str, Any]]:
    """Return all lines, oldest first; none where there is no file.

    Args:
        path: the log.
        what: its name for people, e.g. `log of actions`.
        older: whether lines without a hash, of versions before the chain, may stand before all others.

    Raises:
        UserError: naming the line that does not follow the one before it.
    """
    content = path.read_bytes() if path.is_file() else b""
    found: list[dict[str, Any]] = []
    last, chained = b"", not older
    for number, line in enumerate(whole_lines(content).splitlines(), start=1):
        entry = json.loads(line)
        chained = chained or PREVIOUS_HASH in entry
        if chained and entry.get(PREVIOUS_HASH) != digest(last):
            raise UserError(
                f"Line {number} of the {what} does not follow what stands before it.",
                found=f"{path.parent.name}/{path.name}, in which a line was changed, lost or put in",
                expected="lines as they were written, each with the hash of the line before it",
                next_step="bring the file back from a backup, or move it away; a new one begins by itself",
            )
        found.append(entry)
        last = line
    return found
