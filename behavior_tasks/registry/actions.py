"""The log of actions: what a person did on the page in; one more line, chained to the lines before it, out.

`registry/actions.jsonl` is only ever added to; each line holds the hash of the line before, as in the promotion ledger.
The one thing to know: the line is written before the action's answer is shown, and says how it ended.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from behavior_tasks.base.follow import add_following, read_following
from behavior_tasks.base.home import Home


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
    told = {"when": when.isoformat(timespec="seconds"), "who": who, "action": action, "outcome": outcome}
    return add_following(actions_path(home), {**told, "what": dict(what)})


def read_actions(home: Home) -> list[dict[str, Any]]:
    """Return all lines, oldest first.

    Raises:
        UserError: naming the line that does not follow the one before it.
    """
    return read_following(actions_path(home), "log of actions")
