"""The log of actions: what a person did on the page in; one more line, chained to the lines before it, out.

`registry/actions.jsonl` is only ever added to; each line holds the hash of the line before, as in the promotion ledger.
The one thing to know: the line is written before the action's answer is shown, and says how it ended.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.chain import digest, to_line
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import OWNER_ONLY, append_line, whole_lines


def actions_path(home: Home) -> Path:
    """Return the log's file; it need not exist."""
    return home.registry / "actions.jsonl"


def log_action(
    home: Home, *, when: datetime, who: str, action: str, outcome: str, what: Mapping[str, Any]
) -> dict[str, Any]:
    """Add a line, flushed to disk, and return it. Half a line, left by a crash, is cut off first.

    Args:
        home: the state folder.
        when: the instant, with its zone.
        who: the person, as Airflow calls them.
        action: one word, e.g. `rollback`.
        outcome: `done`, or why it was refused.
        what: what it was about, JSON-able; no real id and no secret.
    """
    path = make_folder(home.registry) / actions_path(home).name
    told = {"when": when.isoformat(timespec="seconds"), "who": who, "action": action, "outcome": outcome}
    line: dict[str, Any] = {**told, "what": dict(what)}

    def follow(whole: bytes) -> bytes:
        line["previous_hash"] = digest(whole.splitlines()[-1] if whole else b"")
        return to_line(line)

    with FileLock(path.with_name(".actions.lock")):
        append_line(path, follow, mode=OWNER_ONLY)
    return line


def read_actions(home: Home) -> list[dict[str, Any]]:
    """Return all lines, oldest first.

    Raises:
        UserError: naming the line that does not follow the one before it.
    """
    path = actions_path(home)
    content = path.read_bytes() if path.is_file() else b""
    lines = whole_lines(content).splitlines()
    found, last = [], b""
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        if entry["previous_hash"] != digest(last):
            raise UserError(
                f"Line {number} of the log of actions does not follow what stands before it.",
                found=f"registry/{path.name}, in which a line was changed, lost or put in",
                expected=f"a line before it with the hash {entry['previous_hash']}",
                next_step="bring the file back from a backup, or move it away; a new one begins by itself",
            )
        found.append(entry)
        last = line
    return found
