"""The ledger of erasures: who was to be erased, and when that was done, one JSON line each, chained by hashes.

In comes the state folder; out come checked lines. A shopper stands in it under their pseudonym and their tombstone,
both keyed hashes, never under a raw id. The one thing to know: a line that was changed, lost or put in breaks the
chain, and then nothing is read from a log and nobody is erased until somebody has looked: a lost tombstone would let
an erased shopper come back.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.chain import CHAIN, BrokenChainError, link, read_chain, to_line
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import OWNER_ONLY, append_line, whole_lines

LEDGER = "erasures.jsonl"
SHOWN = f"privacy/{LEDGER}"


class Erasure(BaseModel):
    """One line: an erasure that was asked for, or one that is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["asked", "done"]
    request: str
    """The erasure's id; the lines of one erasure share it."""
    when: str
    """Instant, ISO with its zone."""
    who: str
    why: str
    shoppers: tuple[str, ...]
    """Pseudonyms; as long as a line is `asked` and none is `done`, they may still stand somewhere."""
    tombstones: tuple[str, ...]
    identity_key: str
    """Fingerprint of the key of the pseudonyms."""
    found: dict[str, int] = {}
    """Of a line that is done: kind of place → rows that went."""
    previous_hash: str = ""
    hash: str = ""


def ledger_file(home: Home) -> Path:
    """Return the ledger's file; it need not exist."""
    return home.privacy / LEDGER


def read_erasures(home: Home) -> list[Erasure]:
    """Return all lines, oldest first; none when nobody was ever erased.

    Raises:
        UserError: naming the line that is not what was written.
    """
    try:
        content = ledger_file(home).read_bytes()
    except FileNotFoundError:
        return []
    except PermissionError:
        raise UserError(
            f"The ledger of erasures, {SHOWN} in the state folder, may not be read by this user.",
            expected="a file of the user who runs this",
            next_step="run as the user who owns it: without it an erased shopper would come back",
        ) from None
    return _check(whole_lines(content))


def add_erasure(home: Home, erasure: Erasure) -> Erasure:
    """Add a line, chained to those before it, and flush it to disk.

    Returns:
        The line as written.

    Raises:
        UserError: when what is there already is damaged.
    """
    make_folder(home.privacy)
    written: list[Erasure] = []

    def follow(whole: bytes) -> bytes:
        _check(whole)
        chained = link(erasure.model_dump(mode="json", exclude=set(CHAIN)), read_chain(whole).tail)
        written.append(Erasure.model_validate(chained))
        return to_line(chained)

    with FileLock(home.privacy / f".{LEDGER}.lock"):
        append_line(ledger_file(home), follow, mode=OWNER_ONLY)
    return written[0]


def open_erasures(lines: Sequence[Erasure]) -> list[Erasure]:
    """Return the erasures that were asked for and are not done, oldest first."""
    done = {line.request for line in lines if line.kind == "done"}
    return [line for line in lines if line.kind == "asked" and line.request not in done]


def _check(content: bytes) -> list[Erasure]:
    try:
        entries = read_chain(content).entries
    except BrokenChainError as error:
        raise _damaged(error.problem, error.expected) from None
    lines: list[Erasure] = []
    for number, entry in enumerate(entries, start=1):
        try:
            lines.append(Erasure.model_validate(entry))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "JSON"
            raise _damaged(f"Line {number} is no erasure.", f"{where}: {problem['msg']}") from None
    return lines


def _damaged(found: str, expected: object) -> UserError:
    return UserError(
        f"The ledger of erasures, {SHOWN} in the state folder, is damaged; nothing is read or erased.",
        found=found,
        expected=expected,
        next_step=f"bring {SHOWN} back from a backup, then the same command again; where there is none, move it away, "
        "and erase everybody again by their raw ids",
    )
