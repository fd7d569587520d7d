"""Which identity keys a state folder has had: `privacy/keys.jsonl`, a line a change, with fingerprints only.

In comes the fingerprint of the key that is set; out comes nothing, or the error that it is another than the last one.
The one thing to know: only a rotation changes the key, and one that has begun stops every run until it is through.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import OWNER_ONLY, append_line, whole_lines
from behavior_tasks.base.records import read_record

FILE = "keys.jsonl"
GO_ON = "behavior privacy rotate-key"


class KeyLine(BaseModel):
    """One line of the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Literal["first", "begun", "rotated"]
    """The key was first used here; a rotation to it has begun; it is through."""
    key: str
    """Its fingerprint."""
    before: str | None = None
    """Fingerprint of the key that it replaces."""
    at: datetime | None = None
    who: str | None = None
    reason: str | None = None


def history(home: Home) -> list[KeyLine]:
    """Return every line, the oldest first.

    Raises:
        UserError: when one is damaged.
    """
    path = home.privacy / FILE
    if not path.is_file():
        return []
    mend = f"bring privacy/{FILE} back from a backup"
    lines = whole_lines(path.read_bytes()).splitlines()
    return [read_record(KeyLine, line, f"line {n} of privacy/{FILE}", mend=mend) for n, line in enumerate(lines, 1)]


def add_line(home: Home, line: KeyLine) -> None:
    """Add a line durably."""
    content = line.model_dump_json(exclude_none=True).encode() + b"\n"
    append_line(make_folder(home.privacy) / FILE, lambda _: content, mode=OWNER_ONLY)


def last_fingerprint(home: Home) -> str | None:
    """Return the fingerprint of the key that the state folder was last used with; None: with none yet.

    Where no history was kept yet, the newest ingest tells.

    Raises:
        UserError: when the history is damaged.
    """
    used = [line.key for line in history(home) if line.event != "begun"]
    return used[-1] if used else _of_newest_ingest(home)


def pending_rotation(home: Home) -> KeyLine | None:
    """Return the rotation that has begun and is not through; None: there is none."""
    lines = history(home)
    return lines[-1] if lines and lines[-1].event == "begun" else None


def check_key(home: Home, held: str) -> None:
    """Check that the key that is set is the state folder's, and note the first one.

    Args:
        home: the state folder.
        held: the fingerprint of the key that is set.

    Raises:
        UserError: when it is another one, or a rotation is not through.
    """
    if (pending := pending_rotation(home)) is not None:
        raise UserError(
            "The identity key is being changed, and that is not through yet.",
            found=f"a rotation that {pending.who} began at {pending.at:%Y-%m-%d %H:%M} UTC",
            next_step=f"{GO_ON} goes on where it stopped",
        )
    last = last_fingerprint(home)
    if last is not None and last != held:
        raise UserError(
            "The identity key that is set is not the one that this state folder was last used with: every shopper "
            "would become somebody else.",
            found=f"a key with the fingerprint {held}",
            expected=last,
            next_step=f"bring that key back (secrets/identity.key, or BEHAVIOR_IDENTITY_KEY); to change it: {GO_ON}",
        )
    if not history(home):
        add_line(home, KeyLine(event="first", key=held))


def stay_with(home: Home, made_with: str | None) -> None:
    """Check that the key of a run's pseudonyms is still the state folder's.

    Args:
        home: the state folder.
        made_with: the fingerprint of the key that the run's log was read under; None: it is not known.

    Raises:
        UserError: when the key was changed since.
    """
    used = [line.key for line in history(home) if line.event != "begun"]
    if used and made_with is not None and used[-1] != made_with:
        raise UserError(
            "The identity key was changed after this run had read its log, so its pseudonyms are those of before.",
            found=f"a run under the key {made_with}",
            expected=used[-1],
            next_step="start the run anew: it reads the log under the new key",
        )


def _of_newest_ingest(home: Home) -> str | None:
    """Return the fingerprint in the newest manifest of ingest; None: nothing was ingested."""
    manifests = sorted(home.artifacts.glob("ingest/*/manifest.json"), key=_changed, reverse=True)
    for path in manifests:
        manifest = json.loads(path.read_bytes())
        held = manifest["inputs"].get("identity_key") or manifest["facts"].get("key_fingerprint")
        if isinstance(held, str):
            return held
    return None


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns
