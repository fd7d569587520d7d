"""Export under real ids: a list of pseudonyms in; the same list with the shop's own ids, for who may know them, out.

Whoever asks needs the identity key and the log that the list was made from; every export, of pseudonyms too, leaves a
line in `registry/exports.jsonl`. The one thing to know: that line is written before anything is handed out, and holds
no id: who, when, what, how many, and the hash of the set of people.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.follow import add_following, read_following
from behavior_tasks.base.home import Home
from behavior_tasks.data.inputs import RawFile, resolve_inputs
from behavior_tasks.data.keys import key_exists
from behavior_tasks.pipeline.later import HandedOut, same_key, scoring_of
from behavior_tasks.pipeline.runs import Run

LOG = "exports.jsonl"


def with_real_ids(home: Home, served: HandedOut, members: pd.DataFrame, input_path: str | None) -> pd.DataFrame:
    """Return a list with `user_id` in the place of `shopper`.

    Args:
        home: the state folder, with the key.
        served: what the list comes from, or the list itself.
        members: a row a shopper.
        input_path: the log, where it lies elsewhere than when it was scored; None: where it was.

    Raises:
        UserError: without the right key, without the log, or when some shoppers of the list are not in it.
    """
    from behavior_tasks.data.resolve import raw_ids  # reads logs with DuckDB, which a page that is only read needs not

    if not key_exists(home):
        raise UserError(
            "Real ids are only for who holds the identity key, and there is none here.",
            expected="BEHAVIOR_IDENTITY_KEY, or secrets/identity.key in the state folder",
            next_step="leave out --real-ids, or ask who keeps the key",
        )
    key, run = same_key(home, served), scoring_of(home, served)
    wanted = set(members["shopper"])
    record = run.record
    found = raw_ids(_files(run, input_path), record.config.source, key, wanted, read_on=record.day)
    if len(found) < len(wanted):
        raise UserError(
            "The log does not hold everybody on the list, so it is not the one that the list was made from.",
            found=f"{len(found):,} of {len(wanted):,} shoppers",
            expected="the log that was scored, with its preset",
            next_step="--input with the log of that day",
        )
    return members.assign(user_id=members["shopper"].map(found)).drop(columns="shopper")


def real_ids_are_there(home: Home, served: HandedOut) -> bool:
    """Whether real ids could be given: the same key is here, and so is a log, as far as that is seen at once."""
    if not key_exists(home):
        return False
    try:
        same_key(home, served)
        run = scoring_of(home, served)
    except UserError:
        return False
    where = run.record.input
    if where is None:
        return run.artifact("simulate") is not None
    is_elsewhere = "://" in where or any(mark in where for mark in "*?[")
    return is_elsewhere or Path(where).exists()


def _files(run: Run, input_path: str | None) -> tuple[RawFile, ...]:
    where = run.record.input if input_path is None else input_path
    if where is None:
        made = run.artifact("simulate")
        if made is None:
            raise UserError("The simulated log of that scoring is gone.", next_step="behavior score makes it again")
        where = str(made.path / "events.csv")
    return resolve_inputs(where, run.record.config, run.home)


def log_export(home: Home, *, when: datetime, who: str, what: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line to the log of exports, flushed to disk and chained to the line before it, and return it; no id.

    Args:
        home: the state folder.
        when: the time of the export, with its zone.
        who: the person.
        what: e.g. audience, date, how many, and the hash of the set of people.
    """
    return add_following(home.registry / LOG, {"when": when.isoformat(timespec="seconds"), "who": who, **what})


def read_exports(home: Home) -> list[dict[str, Any]]:
    """Return the lines of the log of exports, oldest first; those of versions before the chain stand before it.

    Raises:
        UserError: naming the line that does not follow the one before it.
    """
    return read_following(home.registry / LOG, "log of exports", older=True)
