"""Erasure: raw ids of shoppers in; what was held about them gone everywhere, and a ledger line that says so, out.

A request is written into the ledger first, with a tombstone for each shopper, and counts as done only at its end. The
one thing to know: every step can be repeated, so whoever was killed starts the same command again, and it goes on.
"""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError

from behavior_tasks.base.artifacts import ArtifactStore, write_durably
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError, require_said
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.in_use import alone_with_artifacts
from behavior_tasks.base.journal import OWNER_ONLY
from behavior_tasks.data.erasures import Erasure, add_erasure, open_erasures, read_erasures
from behavior_tasks.data.identities import key_fingerprint, pseudonym
from behavior_tasks.data.keys import fingerprint, identity_key, secret_key
from behavior_tasks.data.parse import WHITESPACE
from behavior_tasks.data.tombstones import Tombstones, tombstone
from behavior_tasks.pipeline.privacy.erase_files import Whom
from behavior_tasks.pipeline.privacy.erase_models import (
    TAUGHT,
    Retrain,
    mark_versions,
    retire_versions,
)

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.erase_places import Task

REQUESTS = "requests"
SPREADSHEET = re.compile(r"([1-9]\d*)\.0+")
"""What spreadsheets make of whole numbers in a column with gaps; an ingest reads such an id without it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks for an erasure, why, and when."""

    who: str
    why: str
    when: datetime

    def __post_init__(self) -> None:
        require_said({"--who": self.who, "--reason": self.why}, "the ledger of erasures must say who asked, and why")


@dataclass(frozen=True, kw_only=True)
class Done:
    """What an erasure did, or would do."""

    request: str
    shoppers: int
    known: int
    """Of them erased before."""
    rows: dict[str, int]
    """Kind of place → rows that went."""
    taken: tuple[str, ...] = ()
    """Lists that held them and that somebody has taken away, with who took each."""
    retrain: tuple[Retrain, ...] = ()
    """Versions that were trained with anybody who is erased."""
    other_keys: int = 0
    """Logs that were read under an earlier identity key, in whose artifacts nobody can be found."""
    retired: tuple[str, ...] = ()
    """Models that were deleted, because their successors stand."""


def read_ids(path: Path) -> list[str]:
    """Return the raw ids of a file, one a line; blank lines and lines that begin with # are left out.

    Raises:
        UserError: when it can't be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The list {path.name} can't be read.",
            found=getattr(error, "strerror", None) or "bytes that are no UTF-8",
            expected="a text file with one raw id a line",
        ) from None
    ids = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not ids:
        raise UserError(f"The list {path.name} holds no id.", expected="one raw id a line")
    return ids


def make_request(home: Home, ids: Iterable[str], asked: Asked) -> Erasure:
    """Return what an erasure of raw ids is asked for under: pseudonyms and tombstones, no raw id.

    Raises:
        UserError: when there is no id, or the identity key is not the state folder's.
    """
    plain = sorted({SPREADSHEET.sub(r"\1", one.strip(WHITESPACE)) for one in ids} - {""})
    if not plain:
        raise UserError("There is nobody to erase.", expected="a raw id", next_step="behavior erase --shopper RAW_ID")
    # Another key than the state folder's gives pseudonyms that stand nowhere, and an erasure that finds nobody.
    held = key_fingerprint(None, Config(), home)["identity_key"]
    key = identity_key(home)
    graves = secret_key(home, "tombstone", in_use=bool(read_erasures(home)))
    return Erasure(
        kind="asked",
        request=f"{asked.when:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}",
        when=asked.when.isoformat(timespec="seconds"),
        who=asked.who.strip(),
        why=asked.why.strip(),
        shoppers=tuple(pseudonym(one, key) for one in plain),
        tombstones=tuple(tombstone(one, graves) for one in plain),
        identity_key=held,
    )


def look(home: Home, config: Config, request: Erasure) -> Done:
    """Return what an erasure would do; nothing is changed, and it need not be alone.

    Raises:
        UserError: when there is a kind of artifact that no erasure knows.
    """
    from behavior_tasks.pipeline.privacy.erase_places import erase_everywhere

    found = erase_everywhere(_task(home, config, request, looking=True))
    stones = {stone for line in read_erasures(home) for stone in line.tombstones}
    return Done(
        request=request.request,
        shoppers=len(request.shoppers),
        known=len(stones & set(request.tombstones)),
        rows=dict(sorted(found.rows.items())),
        other_keys=found.other_keys,
    )


def erase(
    home: Home, config: Config, request: Erasure, *, now: datetime, wait: bool = False, retry: str = "behavior erase"
) -> Done:
    """Erase people everywhere, and finish erasures that a killed process left open.

    Args:
        home: the state folder.
        config: the engine, and `privacy.retrain`.
        request: from `make_request`.
        now: the instant, with its zone.
        wait: for runs at work, instead of refusing.
        retry: what to type when it is refused.

    Raises:
        UserError: when a run is at work, the ledger is damaged, or a kind of artifact is unknown.
    """
    with _alone(home, wait=wait, retry=retry):
        for left in open_erasures(read_erasures(home)):
            if not _replaces(request, left):
                _carry_out(home, config, left, now=now)
        done = _carry_out(home, config, request, now=now)
        for left in open_erasures(read_erasures(home)):
            add_erasure(home, left.model_copy(update={"kind": "done", "when": now.isoformat(timespec="seconds")}))
        return done


def keep_request(home: Home, request: Erasure) -> Path:
    """Leave a request for the DAG `behavior_erasure`; the file holds no raw id and is its owner's alone."""
    folder = make_folder(home.privacy / REQUESTS)
    path = folder / f"{request.request}.json"
    write_durably(path, request.model_dump_json(indent=2).encode())
    path.chmod(OWNER_ONLY)
    return path


def waiting_requests(home: Home) -> list[Erasure]:
    """Return the requests that were left, oldest first, and the erasures that a killed process left open.

    Raises:
        UserError: when one is damaged, or the ledger is.
    """
    folder = home.privacy / REQUESTS
    left = open_erasures(read_erasures(home))
    for path in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else ():
        try:
            found = Erasure.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"The request privacy/{REQUESTS}/{path.name} in the state folder is damaged; nobody was erased.",
                found=error.errors()[0]["msg"],
                expected="a file that `behavior erase --request` wrote",
                next_step="delete it, and ask again: behavior erase --request --shopper RAW_ID",
            ) from None
        left += [found] if found.request not in {one.request for one in left} else []
    return left


def work_off(home: Home, config: Config, *, now: datetime, wait: bool = True) -> list[Done]:
    """Carry out all requests that wait; without any, marks and retirements are brought up to date all the same.

    Raises:
        UserError: as `erase`.
    """
    requests, done = waiting_requests(home), []
    with _alone(home, wait=wait, retry="trigger behavior_erasure again"):
        for request in requests:
            done.append(_carry_out(home, config, request, now=now))
            (home.privacy / REQUESTS / f"{request.request}.json").unlink(missing_ok=True)
        if not requests:
            mark_versions(home, config, today=now.date())
            retire_versions(home, config, today=now.date())
    return done


def _alone(home: Home, *, wait: bool, retry: str) -> AbstractContextManager[None]:
    return alone_with_artifacts(home, wait=wait, undone="nobody was erased", again=f"{retry}, or add --wait")


def _carry_out(home: Home, config: Config, request: Erasure, *, now: datetime) -> Done:
    from behavior_tasks.pipeline.privacy.erase_places import erase_everywhere, forget_unfinished

    _require_same_key(home, request)
    lines = read_erasures(home)
    before = {stone: line.request for line in lines for stone in line.tombstones}
    again = [before[stone] for stone in request.tombstones if stone in before]
    if len(again) == len(request.tombstones) and request.request not in before.values():
        # Everybody was erased before: it is looked again, under the name of the erasure that did it.
        request = next(line for line in lines if line.request == again[-1]).model_copy(
            update={name: getattr(request, name) for name in ("kind", "shoppers", "tombstones", "identity_key")}
        )
    elif request.request not in {line.request for line in lines}:
        request = add_erasure(home, request)
    task = _task(home, config, request, looking=False)
    found = erase_everywhere(task)
    # What an erasure of the same name that was killed had done already stands in the manifests.
    rows = found.rows | _erased_from_artifacts(home, request)
    if any(rows[stage] for stage in (*TAUGHT, "clean-part")):
        forget_unfinished(home)
    if open_erasures([line for line in read_erasures(home) if line.request == request.request]) or found.rows:
        told = {"kind": "done", "found": dict(sorted(rows.items())), "when": now.isoformat(timespec="seconds")}
        add_erasure(home, request.model_copy(update=told))
    retrain = mark_versions(home, config, today=now.date())
    retired = retire_versions(home, config, today=now.date())
    return Done(
        request=request.request,
        shoppers=len(request.shoppers),
        known=len(again),
        rows=dict(sorted(found.rows.items())),
        other_keys=found.other_keys,
        taken=tuple(f"{one.audience} of {one.as_of}: {one.taken_by}" for one in found.lists),
        retrain=tuple(retrain),
        retired=tuple(retired),
    )


def _replaces(request: Erasure, left: Erasure) -> bool:
    """Whether a request is about everybody of one that was left open under another identity key."""
    return left.identity_key != request.identity_key and set(left.tombstones) <= set(request.tombstones)


def _require_same_key(home: Home, request: Erasure) -> None:
    """Check that a request's pseudonyms are of today's identity key; of another key they would stand nowhere.

    Raises:
        UserError: when they are not.
    """
    held = fingerprint(identity_key(home))
    if request.identity_key != held:
        raise UserError(
            f"The erasure {request.request} was asked for before the identity key was changed; it is not done.",
            found=f"pseudonyms of the key {request.identity_key}",
            expected=f"pseudonyms of the key {held}",
            next_step="behavior erase with the same raw ids, which takes its place; if it waits in "
            f"privacy/{REQUESTS}/, delete that file first",
        )


def _task(home: Home, config: Config, request: Erasure, *, looking: bool) -> "Task":
    from behavior_tasks.pipeline.privacy.erase_places import Task

    tombstones = Tombstones(stones=frozenset(request.tombstones), key=secret_key(home, "tombstone"))
    whom = Whom(pseudonyms=frozenset(request.shoppers), tombstones=tombstones)
    return Task(
        home=home,
        whom=whom,
        request=request.request,
        when=request.when,
        identity_key=request.identity_key,
        engine=config.engine,
        looking=looking,
    )


def _erased_from_artifacts(home: Home, request: Erasure) -> Counter[str]:
    """Return the rows that an erasure has taken out of artifacts so far, by stage."""
    rows: Counter[str] = Counter()
    store = ArtifactStore(home.artifacts)
    for folder in home.artifacts.glob("*/[!.]*"):
        artifact = store.find(folder.parent.name, folder.name)
        for one in artifact.manifest.erased if artifact is not None else ():
            rows[folder.parent.name] += one.rows if one.request == request.request else 0
    return +rows
