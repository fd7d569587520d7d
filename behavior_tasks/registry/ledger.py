"""The promotion ledger: one JSON line for every change of the title, each holding the hash of the line before it.

In comes who made which version champion, when and why; out comes the list of all such lines, checked. The one thing to
know: a line that was edited, lost or put in breaks the chain, and then nothing is promoted until somebody has looked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.chain import CHAIN, digest, hash_of, link, parse_line, shown, to_line
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import append_line, whole_lines

__all__ = [
    "FIELDS",
    "KINDS",
    "Checked",
    "LedgerError",
    "append",
    "chain",
    "check",
    "damaged_files",
    "digest",
    "ledger_path",
    "read",
    "readable_lines",
    "title_of",
    "to_line",
]

FIELDS: tuple[str, ...] = (
    "kind",
    "model",
    "when",
    "who",
    "why",
    "verdict",
    "test_hash",
    "from_version",
    "version",
    "run_id",
)
"""What a writer says. `model` is the registered model; `from_version` is None for the first champion, `version` when
the title was lost."""
OLD_FIELDS = frozenset({"when", "who", "why", "version", "from_version", "verdict", "test_hash", "run_id"})
"""What a line of version 0.3.0 holds; such lines have no hash and stand before all others."""
KINDS: tuple[str, ...] = ("promotion", "baseline_promotion", "rollback", "override", "noticed", "repair")
"""`noticed`: somebody moved or deleted something in MLflow by hand. `repair`: a new chain after a damaged ledger."""


class LedgerError(UserError):
    """The ledger is not what was written."""

    def __init__(self, problem: str, *, found: object, expected: object) -> None:
        super().__init__(
            f"{problem} Nothing is promoted or rolled back; registered versions wait.",
            found=found,
            expected=expected,
            next_step="look with `behavior history --verify`; bring the file back from a backup, or accept the damage: "
            "`behavior history --repair --who NAME --reason TEXT` keeps the damaged file and starts a new chain",
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What stands in the ledger, after its chain was checked."""

    entries: list[dict[str, Any]]
    """All lines, oldest first; those of 0.3.0 without `kind`, `model` and hashes."""
    tail: str
    """Hash that the next line's `previous_hash` must be."""


def ledger_path(home: Home) -> Path:
    """Return the ledger's file; it need not exist."""
    return home.registry / "ledger.jsonl"


def read(home: Home) -> list[dict[str, Any]]:
    """Return all lines, oldest first; an empty list when there is none.

    Raises:
        LedgerError: naming the line that is not what was written.
    """
    return check(whole_lines(_content(home))).entries


def append(home: Home, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Append one line and flush it to disk. Half a line, left by a crash, is cut off first.

    Args:
        home: the state folder.
        entry: exactly FIELDS, JSON-able.

    Returns:
        The line as written, with its hashes.

    Raises:
        LedgerError: when what is there already is damaged.
    """
    if set(entry) != set(FIELDS):
        raise ValueError(f"a ledger line holds {FIELDS}, not {tuple(entry)}")
    if entry["kind"] not in KINDS:
        raise ValueError(f"a ledger line is one of {KINDS}, not {entry['kind']}")
    make_folder(home.registry)
    chained: dict[str, Any] = {}

    def follow(whole: bytes) -> bytes:
        chained.update(chain(entry, check(whole).tail))
        return to_line(chained)

    with _lock(home):
        append_line(ledger_path(home), follow)
    return chained


def chain(entry: Mapping[str, Any], previous_hash: str) -> dict[str, Any]:
    """Return an entry's FIELDS with `previous_hash` and their `hash`, as `base/chain` has them."""
    return link({name: entry[name] for name in FIELDS}, previous_hash)


def check(content: bytes) -> Checked:
    """Return the lines, checking each against the one before.

    Args:
        content: whole lines.

    Raises:
        LedgerError: naming the first line that is not what was written.
    """
    entries: list[dict[str, Any]] = []
    tail, position = digest(b""), 0
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        entry = _parse(number, line)
        if "hash" not in entry:
            _require_old(number, entry, entries)
        else:
            _require_chained(number, entry, tail, first=not entries or "hash" not in entries[-1])
        position += len(line) + 1
        tail = entry["hash"] if "hash" in entry else digest(content[:position])
        entries.append(entry)
    return Checked(entries=entries, tail=tail)


def damaged_files(home: Home) -> list[Path]:
    """Return the ledgers that a repair has set aside, oldest first."""
    return sorted(home.registry.glob("ledger-damaged-*.jsonl"))


def readable_lines(content: bytes) -> list[dict[str, Any]]:
    """Return what can be read of a damaged ledger: every line that is a JSON object, hashes or not."""
    return [entry for line in content.split(b"\n") if (entry := parse_line(line)) is not None]


def title_of(home: Home, entries: Sequence[Mapping[str, Any]], model: str) -> list[Mapping[str, Any]]:
    """Return the lines about one registered model. Lines of 0.3.0 name none; their runs do, where they are there."""
    return [entry for entry in entries if _model_of(home, entry, model) == model]


def _model_of(home: Home, entry: Mapping[str, Any], otherwise: str) -> str:
    if "model" in entry:
        return str(entry["model"])
    try:
        run = json.loads((home.runs / str(entry.get("run_id")) / "run.json").read_bytes())
        return str(run["config"]["registry"]["model_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return otherwise


def _parse(number: int, line: bytes) -> dict[str, Any]:
    entry = parse_line(line)
    if entry is None:
        raise _damage(number, line, "one JSON object")
    return entry


def _require_old(number: int, entry: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> None:
    if before and "hash" in before[-1]:
        raise _damage(number, entry, "a line with previous_hash and hash, as the line before it")
    if not set(entry) >= OLD_FIELDS:
        raise _damage(number, entry, f"JSON with {', '.join((*FIELDS, *CHAIN))}")


def _require_chained(number: int, entry: Mapping[str, Any], tail: str, *, first: bool) -> None:
    if set(entry) != {*FIELDS, *CHAIN} or entry["kind"] not in KINDS:
        raise _damage(number, entry, f"exactly {', '.join((*FIELDS, *CHAIN))}, of a known kind")
    if entry["hash"] != hash_of(entry):
        raise LedgerError(
            f"Line {number} of the promotion ledger was changed after it was written.",
            found=f"{shown(entry)}, whose content has the hash {hash_of(entry)}",
            expected=f"content with the hash that the line holds, {entry['hash']}",
        )
    starts_anew = first and entry["kind"] == "repair" and number == 1
    if entry["previous_hash"] != tail and not starts_anew:
        what = f"lines 1 to {number - 1}" if first and number > 1 else f"line {number - 1}" if number > 1 else "nothing"
        raise LedgerError(
            f"Line {number} of the promotion ledger does not follow what stands before it: "
            "a line was changed, lost or put in.",
            found=f"{what} with the hash {tail}",
            expected=f"{entry['previous_hash']}, as line {number} says: {shown(entry)}",
        )


def _damage(number: int, found: bytes | Mapping[str, Any], expected: str) -> LedgerError:
    return LedgerError(f"Line {number} of the promotion ledger is damaged.", found=shown(found), expected=expected)


def _content(home: Home) -> bytes:
    try:
        return ledger_path(home).read_bytes()
    except FileNotFoundError:
        return b""


def _lock(home: Home) -> FileLock:
    return FileLock(home.registry / ".ledger.lock")
