"""Chained lines: a file of JSON lines, each of which holds the hash of the line before it, in; the checked lines out.

Whoever keeps a ledger says what its lines hold; the arithmetic of the chain stands here. The one thing to know: a line
that was edited, lost or put in breaks the chain at that line, and the reader is told which one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREVIOUS_HASH, HASH = "previous_hash", "hash"
CHAIN: tuple[str, ...] = (PREVIOUS_HASH, HASH)
"""What the chain adds to a line: the hash of the line before, and the line's own."""
SHOWN = 100
"""Characters of a damaged line in a message."""


class BrokenChainError(Exception):
    """A line is not what was written: `problem`, `found` and `expected` say what is wrong with it."""

    def __init__(self, problem: str, *, found: object, expected: object) -> None:
        super().__init__(problem)
        self.problem, self.found, self.expected = problem, found, expected


@dataclass(frozen=True, kw_only=True)
class Chained:
    """What stands in a file of chained lines."""

    entries: list[dict[str, Any]]
    """Oldest first, with their hashes."""
    tail: str
    """Hash that the next line's `previous_hash` must be."""


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


def link(entry: Mapping[str, Any], previous_hash: str) -> dict[str, Any]:
    """Return an entry with `previous_hash` and its own `hash`: SHA-256 of its canonical JSON without `hash`."""
    told = {**entry, PREVIOUS_HASH: previous_hash}
    return {**told, HASH: hash_of(told)}


def hash_of(entry: Mapping[str, Any]) -> str:
    """Return the hash that an entry with a `previous_hash` must have."""
    told = {name: value for name, value in entry.items() if name != HASH}
    return digest(json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())


def to_line(chained: Mapping[str, Any]) -> bytes:
    """Return the bytes of one line."""
    return json.dumps(chained, ensure_ascii=False).encode() + b"\n"


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a line, or None when it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def shown(found: bytes | Mapping[str, Any]) -> str:
    """Return the beginning of a line, for a message."""
    text = found.decode(errors="replace") if isinstance(found, bytes) else json.dumps(found, ensure_ascii=False)
    return text[:SHOWN] or "nothing"


def read_chain(content: bytes) -> Chained:
    """Return the lines of a file in which every line is chained, checking each against the one before.

    Args:
        content: whole lines.

    Raises:
        BrokenChainError: naming the first line that is not what was written.

    >>> first = link({"what": "a"}, digest(b""))
    >>> read_chain(to_line(first) + to_line(link({"what": "b"}, first["hash"]))).entries[1]["what"]
    'b'
    """
    entries: list[dict[str, Any]] = []
    tail = digest(b"")
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        entry = parse_line(line)
        if entry is None or not set(CHAIN) <= set(entry):
            raise BrokenChainError(
                f"Line {number} is damaged.", found=shown(line), expected=f"one JSON object with {' and '.join(CHAIN)}"
            )
        if entry[HASH] != hash_of(entry):
            raise BrokenChainError(
                f"Line {number} was changed after it was written.",
                found=f"{shown(entry)}, whose content has the hash {hash_of(entry)}",
                expected=f"content with the hash that the line holds, {entry[HASH]}",
            )
        if entry[PREVIOUS_HASH] != tail:
            raise BrokenChainError(
                f"Line {number} does not follow what stands before it: a line was changed, lost or put in.",
                found=f"{f'line {number - 1}' if number > 1 else 'nothing'} with the hash {tail}",
                expected=f"{entry[PREVIOUS_HASH]}, as line {number} says: {shown(entry)}",
            )
        tail = entry[HASH]
        entries.append(entry)
    return Chained(entries=entries, tail=tail)
