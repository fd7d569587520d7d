"""A ledger looked at, and a damaged one set aside: its state in words out, or a new chain that begins with its hash.

In come the state folder and, for a repair, who accepts the damage and why. The one thing to know: nothing is deleted;
the damaged file stays as `ledger-damaged-DATE.jsonl`, and the first line of the new chain holds its hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.registry import ledger, store, title
from behavior_tasks.registry.overrule import Asked
from behavior_tasks.registry.title import Desk


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What a look at the ledger found."""

    lines: int
    """Lines that can be read."""
    unchained: int
    """Of them, lines of version 0.3.0; the first line with a hash vouches for their bytes."""
    damage: str | None
    """What is wrong, in words; None: nothing."""
    head: str
    """Whether the last line that MLflow remembers is there, in words."""
    kept: tuple[str, ...]
    """Damaged ledgers that repairs have set aside."""
    lost: tuple[str, ...]
    """Hashes of damaged ledgers that are not there any more."""


def check_up(home: Home, config: Config) -> Checkup:
    """Return whether the ledger is what was written, from its first byte to the line that MLflow remembers."""
    content = _content(home)
    damage = None
    head = "there is no MLflow store yet"
    try:
        entries = ledger.read(home)
    except ledger.LedgerError as error:
        entries, damage = ledger.readable_lines(content), str(error)
    if damage is None and store.exists(home):
        try:
            with store.connect(home) as client:
                title.require_head(Desk(home=home, client=client, model=config.registry.model_name))
            head = "the last line that MLflow remembers is there"
        except ledger.LedgerError as error:
            damage, head = str(error), "the last line that MLflow remembers is gone"
        except UserError as error:
            head = f"not compared with MLflow: {error.problem}"
    elif damage is not None:
        head = "not compared with MLflow"
    kept = {ledger.digest(path.read_bytes()): path.name for path in ledger.damaged_files(home)}
    repairs = [entry["previous_hash"] for entry in entries if entry.get("kind") == "repair"]
    nothing = ledger.digest(b"")
    return Checkup(
        lines=len(entries),
        unchained=sum("hash" not in entry for entry in entries),
        damage=damage,
        head=head,
        kept=tuple(kept.values()),
        lost=tuple(digest for digest in repairs if digest not in kept and digest != nothing),
    )


def repair(home: Home, config: Config, asked: Asked) -> dict[str, Any]:
    """Accept the ledger's damage: set the file aside and begin a new chain whose first line holds its hash.

    Args:
        home: the state folder.
        config: names the registered model.
        asked: who accepts the damage, and why.

    Returns:
        The first line of the new chain.

    Raises:
        UserError: when the ledger is not damaged, or MLflow does not answer.
    """
    with store.connect(home) as client, store.exclusive(home):
        desk = Desk(home=home, client=client, model=config.registry.model_name)
        if not _damaged(desk):
            raise UserError(
                "The promotion ledger is what was written; there is nothing to repair.",
                next_step="`behavior history` shows it",
            )
        content = _content(home)
        known = ledger.title_of(home, [e for e in ledger.readable_lines(content) if "version" in e], desk.model)
        entry = {
            "kind": "repair",
            "model": desk.model,
            "when": asked.when.isoformat(timespec="seconds"),
            "who": asked.who.strip(),
            "why": asked.why.strip(),
            "verdict": None,
            "test_hash": None,
            "from_version": known[-1]["version"] if known else None,
            "version": desk.aliases.champion,
            "run_id": None,
        }
        first = ledger.chain(entry, ledger.digest(content))
        make_folder(home.registry)
        _set_aside(home, content, asked)
        write_durably(ledger.ledger_path(home), ledger.to_line(first))
        _remember(desk, first, content)
    return first


def _damaged(desk: Desk) -> bool:
    try:
        title.require_head(desk)
    except ledger.LedgerError:
        return True
    return False


def _set_aside(home: Home, content: bytes, asked: Asked) -> None:
    """Keep a copy of the damaged file, once. The ledger itself is replaced only afterwards."""
    wanted = ledger.digest(content)
    if not content or any(ledger.digest(path.read_bytes()) == wanted for path in ledger.damaged_files(home)):
        return
    write_durably(home.registry / f"ledger-damaged-{asked.when:%Y-%m-%dT%H%M%S}-{wanted[:8]}.jsonl", content)


def _remember(desk: Desk, first: Mapping[str, Any], content: bytes) -> None:
    """Let MLflow remember the new chain, for every registered model that the damaged file speaks of."""
    models = {str(entry["model"]) for entry in ledger.readable_lines(content) if "model" in entry}
    for model in sorted(models | {desk.model}):
        title.set_head(Desk(home=desk.home, client=desk.client, model=model), first)


def _content(home: Home) -> bytes:
    try:
        return ledger.ledger_path(home).read_bytes()
    except FileNotFoundError:
        return b""
