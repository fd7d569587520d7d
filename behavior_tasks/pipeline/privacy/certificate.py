"""Certificates of erasure: who was erased in; a signed statement of where they were looked for out.

The raw id (where somebody types it), the pseudonyms and nothing else are searched for, in the state folder with its
copies of logs, the databases and MLflow. The one thing to know: a certificate names nobody; it holds the tombstones,
which only who has the id and the key can match.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from behavior_tasks import __version__
from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.page import render_page
from behavior_tasks.data.erasures import SHOWN as LEDGER
from behavior_tasks.data.erasures import Erasure, read_erasures
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import fingerprint, identity_key, key_exists, secret_key
from behavior_tasks.data.tombstones import tombstone
from behavior_tasks.pipeline.privacy.erase import REQUESTS, waiting_requests
from behavior_tasks.pipeline.privacy.erase_models import read_retrains
from behavior_tasks.pipeline.privacy.people import plain_ids, source_columns
from behavior_tasks.pipeline.privacy.scan import grouped
from behavior_tasks.pipeline.privacy.search import Found, Hit
from behavior_tasks.pipeline.privacy.search_all import Elsewhere, search_everything, short_ids
from behavior_tasks.pipeline.privacy.search_words import PSEUDONYM, RAW_ID, want
from behavior_tasks.pipeline.privacy.signing import check, own_fingerprint, sign, write_public_key

FOLDER = "certificates"
TEMPLATE = Path(__file__).with_name("certificate.html")
LEDGER_WHY = "it keeps the pseudonym of who was erased, so that their absence can be checked; nothing can be read by it"
TITLE = "Certificate of erasure"
WEIGHTS = "Weights of models hold no words, so nobody can be looked for in them; see the models."
OUTSIDE = "Logs outside the state folder belong to the shop and are not searched; rows of who was erased are set aside."


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was stated."""

    content: Mapping[str, Any]
    """With its signature."""
    found: Found
    file: Path
    page: Path

    @property
    def absent(self) -> bool:
        """Whether nobody of those asked for was found, and every erasure is through."""
        return bool(self.content["absent"])

    @property
    def hits(self) -> list[Hit]:
        """Where somebody was found, buckets together."""
        return grouped(self.found.hits)


def certify(
    home: Home, elsewhere: Elsewhere, *, now: datetime, who: str, raw_ids: Collection[str] | None = None
) -> Certificate:
    """Search for who was erased everywhere and write a certificate.

    Args:
        home: the state folder.
        elsewhere: databases and files outside it.
        now: the time, with its zone.
        who: the person who asks.
        raw_ids: of who is looked for; None: everybody who was ever erased, by pseudonym.

    Raises:
        UserError: when nobody was erased yet, an id was never erased, or the ledger is damaged.
    """
    lines = read_erasures(home)
    plain = None if raw_ids is None else plain_ids(raw_ids)
    stones, names = _named(home, lines, plain)
    wanted = want(
        {PSEUDONYM: sorted(names), **({} if plain is None else {RAW_ID: sorted(plain)})},
        person_columns=source_columns(home),
    )
    found = search_everything(home, wanted, elsewhere, with_source=True)
    found.hits = [hit for hit in found.hits if not is_of_erasures(hit)]
    found.skipped[f"{LEDGER} and privacy/{REQUESTS}"] = LEDGER_WHY
    earlier = _under_earlier_keys(home)
    waiting = [line for line in waiting_requests(home) if set(line.tombstones) & stones]
    content = {
        "title": TITLE,
        "version": __version__,
        "when": now.isoformat(timespec="seconds"),
        "who": who,
        "shoppers": len(stones),
        "searched_for": "pseudonyms" if plain is None else "raw ids and pseudonyms",
        "tombstones": sorted(stones),
        "erasures": _erasures(lines, stones),
        "ledger": lines[-1].hash,
        "absent": not (found.hits or waiting or earlier),
        "found": [asdict(hit) for hit in found.hits],
        "not_through": [line.request for line in waiting],
        "under_earlier_keys": earlier,
        "searched": {kind: asdict(tally) for kind, tally in sorted(found.searched.items())},
        "skipped": found.skipped,
        "not_seen": [*found.unseen, WEIGHTS, OUTSIDE, *short_ids(wanted)],
        "models": _models(home),
    }
    return _write(home, sign(home, content), found, now)


def is_of_erasures(hit: Hit) -> bool:
    """Whether a hit is in what erasures themselves keep: the pseudonym, so that absence can be checked."""
    return hit.place == LEDGER or hit.place.startswith(f"privacy/{REQUESTS}/")


def _named(home: Home, lines: Sequence[Erasure], plain: Sequence[str] | None) -> tuple[set[str], set[str]]:
    """Return tombstones and pseudonyms of who is looked for.

    Raises:
        UserError: when nobody was erased, or somebody who is looked for never was.
    """
    if not lines:
        raise UserError("Nobody was erased yet.", next_step="behavior erase --shopper RAW_ID")
    if plain is None:
        return {s for line in lines for s in line.tombstones}, {name for line in lines for name in line.shoppers}
    key = secret_key(home, "tombstone", in_use=True)
    stones = {tombstone(one, key) for one in plain}
    missing = stones - {stone for line in lines for stone in line.tombstones}
    if missing:
        raise UserError(
            "Somebody who is to be verified was never erased.",
            found=f"{len(missing):,} of {len(stones):,} ids without a line in {LEDGER}",
            expected="ids exactly as they stand in the log",
            next_step="behavior erase with the same --shopper or --file, then --verify",
        )
    pairs = [pair for line in lines for pair in zip(line.shoppers, line.tombstones, strict=True)]
    names = {name for name, stone in pairs if stone in stones}
    if key_exists(home):  # after a rotation they would have another pseudonym than the ledger holds
        names |= {pseudonym(one, identity_key(home)) for one in plain}
    return stones, names


def _under_earlier_keys(home: Home) -> list[str]:
    """Return the artifacts of events whose pseudonyms are of a key that is no longer set: nobody is found in them."""
    if not key_exists(home):
        return []
    held, found = fingerprint(identity_key(home)), []
    for path in sorted(home.artifacts.glob("ingest/*/manifest.json")):
        made_with = json.loads(path.read_bytes())["inputs"].get("identity_key", held)
        if made_with != held:
            found.append(f"ingest/{path.parent.name}")
    return found


def _erasures(lines: Sequence[Erasure], stones: set[str]) -> list[dict[str, Any]]:
    """Return when who erased them, without why: a reason may name somebody."""
    done = [line for line in lines if line.kind == "done" and set(line.tombstones) & stones]
    return [{"request": line.request, "when": line.when, "who": line.who, "rows": dict(line.found)} for line in done]


def _models(home: Home) -> list[dict[str, Any]]:
    """Return the versions that were trained with anybody who is erased, and what becomes of them."""
    told = []
    for one in read_retrains(home):
        what = "deleted" if one.retired else f"serves; to be trained anew by {one.by}" if one.champion else "kept"
        until = "" if one.retired or one.champion else f", until its successor stands; marked for {one.by}"
        told.append({"model": one.model, "version": one.version, "why": one.why, "state": what + until})
    return told


def _write(home: Home, signed: dict[str, Any], found: Found, now: datetime) -> Certificate:
    folder = make_folder(home.privacy / FOLDER)
    name = f"erasure-{now:%Y%m%dT%H%M%S}"
    file, page = folder / f"{name}.json", folder / f"{name}.html"
    write_durably(file, json.dumps(signed, ensure_ascii=False, indent=2).encode())
    write_durably(page, render_page(TEMPLATE, {"one": signed, "hits": grouped(found.hits), "file": file.name}).encode())
    write_public_key(home, folder)
    return Certificate(content=signed, found=found, file=file, page=page)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A certificate that holds."""

    content: Mapping[str, Any]
    key: str
    """Fingerprint of the key that it was signed with."""
    is_own: bool
    """Whether that is the key of this state folder."""


def check_certificate(home: Home, file: Path) -> Checked:
    """Return a certificate whose signature holds.

    Raises:
        UserError: when it is none, or was changed after it was signed.
    """
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no file {file.name}.", next_step="look in privacy/certificates/") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("title") != TITLE:
        raise UserError(f"The file {file.name} is no certificate of erasure.", expected="the JSON, not its page")
    key = check(content)
    return Checked(content=content, key=key, is_own=key == own_fingerprint(home))
