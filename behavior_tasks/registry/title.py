"""The title: every change of the champion, made whole or not at all, and what somebody else has changed in MLflow.

In comes who shall be champion and why; out come the three aliases and one ledger line. The one thing to know: the
intent is written to disk first, so whoever next asks for the title finishes or undoes what a crash left half done.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.workfolder import flush
from behavior_tasks.registry import ledger, store
from behavior_tasks.registry.aliases import (
    CHAMPION,
    NAMES,
    SINCE_TAG,
    Aliases,
    challenger_of,
    find_version,
    is_registered,
    previous_of,
    read_aliases,
    set_alias,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEAD_TAG = "ledger_head"
"""Tag of the registered model: hash of the last ledger line about it, so that lost lines at the end are noticed."""
log = logging.getLogger("behavior")


class Intent(BaseModel):
    """What a promotion is about to do; stands in `registry/promotion.json` until it is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    """The MLflow store in which the aliases are."""
    model: str
    entry: dict[str, Any]
    """The ledger line, without hashes."""
    before: Aliases
    after: Aliases


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The title of one registered model, held by this process alone; nothing is half done and nothing unnoticed."""

    home: Home
    client: "MlflowClient"
    model: str

    @property
    def aliases(self) -> Aliases:
        """Who bears which alias now."""
        return read_aliases(self.client, self.model)

    @property
    def lines(self) -> list[Mapping[str, Any]]:
        """The ledger's lines about this registered model, oldest first."""
        return ledger.title_of(self.home, ledger.read(self.home), self.model)


def intent_path(home: Home) -> Path:
    """Return the file of an unfinished promotion; absent unless one is under way or a crash left one."""
    return home.registry / "promotion.json"


@contextmanager
def hold(home: Home, config: Config) -> Iterator[Desk]:
    """Hold the title: finish or undo what a crash left, record what was changed by hand, then let the caller act.

    Raises:
        ledger.LedgerError: when the ledger is not what was written.
        UserError: when an unfinished promotion belongs to another MLflow store.
    """
    with store.connect(home) as client, store.exclusive(home):
        desk = Desk(home=home, client=client, model=config.registry.model_name)
        require_head(desk)
        _recover(desk)
        _notice(desk)
        yield desk


def look(home: Home, config: Config) -> None:
    """Finish or undo what a crash left and record what was changed by hand; a damaged ledger is told, and borne.

    For whoever only reads: a run goes on with what the alias names, though nothing can be promoted.
    """
    try:
        with hold(home, config):
            pass
    except ledger.LedgerError as error:
        log.warning("%s", error)


def move(desk: Desk, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Make `entry["version"]` the champion: aliases, tags of the version, ledger line, head; whole or not at all.

    Args:
        desk: from `hold`.
        entry: the ledger line, without hashes; `from_version` must be the present champion.

    Returns:
        The ledger line as written.
    """
    before = desk.aliases
    if entry["from_version"] != before.champion:
        raise ValueError(f"version {before.champion} is champion, not {entry['from_version']}")
    after = Aliases(
        champion=entry["version"],
        previous=previous_of(desk.client, desk.model, [*desk.lines, entry]),
        challenger=None if before.challenger == entry["version"] else before.challenger,
    )
    where = store.public_uri(desk.home)
    intent = Intent(store=where, model=desk.model, entry=dict(entry), before=before, after=after)
    make_folder(desk.home.registry)
    write_durably(intent_path(desk.home), intent.model_dump_json(indent=2).encode())
    _carry_out(desk, intent)
    return ledger.read(desk.home)[-1]


def require_head(desk: Desk) -> None:
    """Check that the line which MLflow remembers as the last one still stands in the ledger.

    Raises:
        ledger.LedgerError: when lines at its end, or the whole file, are gone.
    """
    entries = ledger.read(desk.home)
    if not is_registered(desk.client, desk.model):
        return
    head = desk.client.get_registered_model(desk.model).tags.get(HEAD_TAG)
    if head is not None and all(entry.get("hash") != head for entry in entries):
        raise ledger.LedgerError(
            "Lines at the end of the promotion ledger are gone.",
            found=f"{len(entries)} lines, none with that hash" if entries else "no ledger",
            expected=f"a line with the hash {head}, which MLflow keeps (tag {HEAD_TAG} of {desk.model})",
        )


def set_head(desk: Desk, line: Mapping[str, Any]) -> None:
    """Let MLflow remember a line as the last one."""
    if is_registered(desk.client, desk.model):
        desk.client.set_registered_model_tag(desk.model, HEAD_TAG, line["hash"])


def _carry_out(desk: Desk, intent: Intent) -> None:
    """Do what is intended. Each step may be done already, so that it can be called again after a crash."""
    for alias in NAMES:
        set_alias(desk.client, desk.model, alias, getattr(intent.after, alias))
    entry = intent.entry
    tags = {SINCE_TAG: entry["when"]}
    if entry["kind"] in {"promotion", "baseline_promotion"}:
        tags |= {"verdict": str(entry["verdict"]), "test_hash": str(entry["test_hash"])}
    for key, value in tags.items():
        desk.client.set_model_version_tag(desk.model, entry["version"], key, value)
    set_head(desk, _written(desk.home, entry) or ledger.append(desk.home, entry))
    _forget(desk.home)


def _recover(desk: Desk) -> None:
    """Finish a promotion that a crash parted after the champion was moved; undo it when he was not."""
    intent = _read_intent(desk.home)
    if intent is None:
        return
    if intent.store != store.public_uri(desk.home):
        raise UserError(
            f"A promotion of {intent.model} is unfinished in another MLflow store.",
            found=store.public_uri(desk.home),
            expected=intent.store,
            next_step=f"`behavior history` with {store.URI_VARIABLE} naming that store finishes or undoes it",
        )
    whose = Desk(home=desk.home, client=desk.client, model=intent.model)
    version, now = intent.entry["version"], whose.aliases.champion
    if now == intent.after.champion:
        _carry_out(whose, intent)
        log.warning("The promotion of version %s, which a crash had interrupted, is finished.", version)
        return
    if _written(desk.home, intent.entry) is not None:
        # It was finished, and somebody has moved the alias since; that is noticed next.
        _forget(desk.home)
        return
    for alias in NAMES:
        if alias != CHAMPION and getattr(whose.aliases, alias) == getattr(intent.after, alias):
            set_alias(whose.client, whose.model, alias, getattr(intent.before, alias))
    _forget(desk.home)
    log.warning("The promotion of version %s, which a crash had interrupted, is undone; the champion stays.", version)


def _notice(desk: Desk) -> None:
    """Record that the alias `champion` names another version than the ledger's last line."""
    lines = desk.lines
    told = lines[-1]["version"] if lines else None
    now = desk.aliases.champion
    if now == told:
        return
    why = _what_happened(desk, told, now)
    found = find_version(desk.client, desk.model, now) if now else None
    tags = found.tags if found is not None else {}
    # The clock and not a run's day: the ledger says when it was noticed.
    when = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {
        "kind": "noticed",
        "model": desk.model,
        "when": when,
        "who": "somebody, by hand",
        "why": why,
        "verdict": tags.get("verdict"),
        "test_hash": tags.get("test_hash"),
        "from_version": told,
        "version": now,
        "run_id": tags.get("run_id"),
    }
    if now is not None:
        desk.client.set_model_version_tag(desk.model, now, SINCE_TAG, when)
        set_alias(desk.client, desk.model, "previous", previous_of(desk.client, desk.model, [*lines, entry]))
        set_alias(desk.client, desk.model, "challenger", challenger_of(desk.client, desk.model, champion=now))
    set_head(desk, ledger.append(desk.home, entry))
    means = f"version {now} is what serves and what the gate compares with" if now else "there is no champion now"
    log.warning("Noticed and written into the ledger: %s; %s. See docs/registry.md.", why, means)


def _what_happened(desk: Desk, told: str | None, now: str | None) -> str:
    if now is not None:
        if told is None:
            return f"the alias champion was given to version {now} in MLflow, past the gate"
        return f"the alias champion was moved in MLflow from version {told} to version {now}, past the gate"
    assert told is not None
    if not is_registered(desk.client, desk.model):
        return f"the registered model {desk.model}, with its champion, version {told}, is not in MLflow any more"
    if find_version(desk.client, desk.model, told) is None:
        return f"version {told}, the champion, was deleted in MLflow"
    return f"the alias champion was taken from version {told} in MLflow"


def _written(home: Home, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ledger's last line if it is that of an unfinished promotion: nobody writes before that is settled."""
    last = ledger.read(home)[-1:]
    return last[0] if last and all(last[0].get(name) == entry[name] for name in ledger.FIELDS) else None


def _read_intent(home: Home) -> Intent | None:
    try:
        return Intent.model_validate_json(intent_path(home).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(
            "The note of an unfinished promotion, registry/promotion.json in the state folder, is damaged.",
            found=str(error.errors()[0]["msg"]),
            expected="what a promotion wrote before it began",
            next_step="move that file aside and run `behavior history`, which compares MLflow with the ledger",
        ) from None


def _forget(home: Home) -> None:
    intent_path(home).unlink(missing_ok=True)
    flush(home.registry)
