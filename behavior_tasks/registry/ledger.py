"""The promotion ledger: one JSON line for every promotion, only ever appended to.

In comes who promoted what, when and why; out comes the list of all promotions in order. A line is written under
a lock and flushed to disk before the lock is given back; half a line, left by a crash, is cut off by the next writer.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder

FIELDS: tuple[str, ...] = ("when", "who", "why", "version", "from_version", "verdict", "test_hash", "run_id")
"""What every line holds. `from_version` is None for the first champion."""


def ledger_path(home: Home) -> Path:
    """Return the ledger's file; it need not exist."""
    return home.registry / "ledger.jsonl"


def append(
    home: Home, entry: Mapping[str, Any], *, unless: Callable[[Mapping[str, Any]], bool] = lambda _: False
) -> bool:
    """Append one promotion and flush it to disk.

    Args:
        home: the state folder.
        entry: exactly FIELDS, JSON-able.
        unless: nothing is written when this holds for a line that is there already.

    Returns:
        Whether a line was written.
    """
    if set(entry) != set(FIELDS):
        raise ValueError(f"a ledger line holds {FIELDS}, not {tuple(entry)}")
    line = json.dumps({name: entry[name] for name in FIELDS}, ensure_ascii=False) + "\n"
    make_folder(home.registry)
    with FileLock(home.registry / ".ledger.lock"), ledger_path(home).open("a+b") as stream:
        stream.seek(0)
        content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        if any(unless(known) for known in _parse(whole)):
            return False
        stream.truncate(len(whole))
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())
    return True


def read(home: Home) -> list[dict[str, Any]]:
    """Return all promotions, oldest first; an empty list when there was none.

    Raises:
        UserError: naming the line that is not a promotion.
    """
    try:
        content = ledger_path(home).read_bytes()
    except FileNotFoundError:
        return []
    return _parse(content[: content.rfind(b"\n") + 1])


def _parse(content: bytes) -> list[dict[str, Any]]:
    entries = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not set(FIELDS) <= set(entry):
            raise UserError(
                f"Line {number} of the promotion ledger is damaged.",
                found=line[:80].decode(errors="replace"),
                expected=f"JSON with {', '.join(FIELDS)}",
                next_step="mend or remove that line of registry/ledger.jsonl in the state folder",
            )
        entries.append(entry)
    return entries
