"""Lists that were taken away: a list and who takes it in; the same list, whatever happens to its date, out.

`campaigns/NAME/date=2026-11-23/AUDIENCE.1/` holds `members.parquet` (pseudonyms, group, scores) and `campaign.json`.
The one thing to know: a list that may have been sent is a fact, so nothing is ever replaced here, but to take somebody
out who is erased; another list of the same campaign and date is refused, or, when somebody says that the first was not
sent, kept beside it with a number. It goes with its age (`privacy.keep`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import hash_file, write_durably
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.rewriting import rewrite_folder
from behavior_tasks.base.workfolder import REPLACEMENT, finish_exchange, flush, sweep, work_folder
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_lists import ChosenList, named_list
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.served import Served

RECORD = "campaign.json"
PLACE = re.compile(r"([a-z0-9_-]+)\.(\d+)")
"""Audience and number of a list, the name of its folder."""
NOT_KEPT = {"curve", "first"}
"""Of what is told of a list: for the page alone."""


class Record(BaseModel):
    """What stands in `campaign.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str
    audience: str
    as_of: date
    number: int
    """1, or more where the lists before it were not sent."""
    taken_at: AwareDatetime
    taken_by: str
    artifact: str
    facts: dict[str, Any]
    told: dict[str, Any]
    members: str
    """SHA-256 of `members.parquet`."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A list that was taken away."""

    record: Record
    folder: Path

    def load(self) -> ChosenList:
        """Return the list as it was.

        Raises:
            UserError: when its file is not what was written.
        """
        file, record = self.folder / MEMBERS, self.record
        if not file.is_file() or hash_file(file) != record.members:
            raise _damaged(self.folder, f"{MEMBERS} is missing or not what was written")
        return ChosenList(
            as_of=record.as_of,
            artifact=record.artifact,
            facts=record.facts,
            told=record.told,
            members=pd.read_parquet(file),
        )

    @property
    def place(self) -> str:
        """Its folder below `campaigns/`, which names campaign, date, audience and number."""
        return "/".join(self.folder.parts[-3:])

    @property
    def words(self) -> str:
        """Who took it and when."""
        return f"{self.record.taken_by} took on {self.record.taken_at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, kw_only=True)
class Taker:
    """Who takes a list away."""

    who: str
    when: datetime
    """With its zone."""
    instead: bool = False
    """Says that the list of the same campaign and date that was taken before was not sent."""
    reason: str | None = None
    """Why it is taken though it differs by a few people from one taken before; who says so answers for it."""


def is_campaign(chosen: ChosenList) -> bool:
    """Whether somebody is contacted by a list, so that it can have a lift; not if it is empty or to be left alone."""
    return bool(chosen.told["contact"]) and len(chosen.members) > 0


def take(home: Home, chosen: ChosenList, taker: Taker) -> tuple[Taken, bool]:
    """Keep a list that is taken away; return it, and whether it is new: who takes it again gets what was kept at first.

    Killed at any step, it leaves the list kept or not kept, whole.

    Raises:
        UserError: when another list of this campaign and date was taken before, and nobody says it was not sent.
    """
    parent = make_folder(home.campaigns / chosen.campaign / f"date={chosen.as_of.isoformat()}")
    with FileLock(home.campaigns / ".lock"):
        sweep(parent)
        before = _newest(parent, chosen.name)
        if before is not None:
            if _same(before.load(), chosen):
                return before, False
            if not taker.instead:
                raise _other(before, chosen)
        number = 1 if before is None else before.record.number + 1
        place = parent / f"{chosen.name}.{number}"
        with work_folder(parent, "new") as folder:
            pq.write_table(pa.Table.from_pandas(chosen.members, preserve_index=False), folder / MEMBERS)
            flush(folder / MEMBERS)
            record = Record(
                campaign=chosen.campaign,
                audience=chosen.name,
                as_of=chosen.as_of,
                number=number,
                taken_at=taker.when.replace(microsecond=0),
                taken_by=taker.who,
                artifact=chosen.artifact,
                facts=dict(chosen.facts),
                told={name: value for name, value in chosen.told.items() if name not in NOT_KEPT},
                members=hash_file(folder / MEMBERS),
            )
            write_durably(folder / RECORD, record.model_dump_json(indent=2).encode())
            folder.rename(place)
            flush(parent)
    return Taken(record=record, folder=place), True


def taken_lists(home: Home, campaign: str | None = None, as_of: date | None = None) -> list[Taken]:
    """Return the lists of whom to contact that were taken away, of several of one audience and date the last.

    They come by date and name; lists of whom to leave alone are kept too, but are no campaigns.

    Args:
        home: the state folder.
        campaign: only this one; an audience's name will do.
        as_of: only of this date.

    Raises:
        UserError: when one is damaged.
    """
    found = []
    for parent in home.campaigns.glob(f"*/date={as_of.isoformat() if as_of else '*'}"):
        names = {match[1] for folder in parent.iterdir() if (match := PLACE.fullmatch(folder.name))}
        if campaign not in {None, parent.parent.name}:
            names &= {str(campaign)}
        newest = [one for name in sorted(names) if (one := _newest(parent, name)) is not None]
        found += [one for one in newest if one.record.told["contact"]]
    return sorted(found, key=lambda one: (one.record.as_of, one.record.campaign, one.record.audience))


def rewrite_taken(home: Home, work: Callable[[Path], int]) -> list[tuple[Record, int]]:
    """Let a work take people out of all lists that were taken away, the older numbers included.

    What was told of a list when it was taken (its counts) stays: that many were contacted.

    Args:
        home: the state folder.
        work: gets a copy of a list's folder, whose files it may replace, and returns how many rows went.

    Returns:
        The lists that held somebody, each with how many rows went.

    Raises:
        UserError: when one is damaged.
    """
    found = []
    if not home.campaigns.is_dir():
        return []

    def renewed(folder: Path) -> int:
        rows = work(folder)
        if rows:
            record = Record.model_validate_json((folder / RECORD).read_bytes())
            told = record.model_copy(update={"members": hash_file(folder / MEMBERS)})
            write_durably(folder / RECORD, told.model_dump_json(indent=2).encode())
        return rows

    with FileLock(home.campaigns / ".lock"):
        for parent in sorted(home.campaigns.glob("*/date=*")):
            for hidden in parent.glob(f".*{REPLACEMENT}"):
                finish_exchange(parent / hidden.name.removeprefix(".").removesuffix(REPLACEMENT))
            for place in sorted(folder for folder in parent.iterdir() if PLACE.fullmatch(folder.name)):
                record = _read(place).record
                rows = rewrite_folder(place, renewed)
                found += [(record, rows)] if rows else []
    return found


def every_taken(home: Home) -> Iterator[Taken]:
    """Yield every list that was ever taken away and is still kept: also what was not sent, and whom to leave alone.

    Raises:
        UserError: when one is damaged.
    """
    for folder in sorted(home.campaigns.glob("*/date=*/*")):
        if PLACE.fullmatch(folder.name):
            yield _read(folder)


def need_taken(home: Home, name: str, as_of: date | None = None) -> Taken:
    """Return a list that was taken away, of an audience or campaign; the newest, unless a date is named.

    Raises:
        UserError: when there is none, or several audiences of the campaign were taken.
    """
    every = taken_lists(home)
    found = [one for one in every if name in {one.record.campaign, one.record.audience}]
    found = [one for one in found if as_of in {None, one.record.as_of}]
    if not found:
        names = sorted({one.record.audience for one in every})
        close = nearest(name, names)
        raise UserError(
            f"No list of {name}{f' of {as_of}' if as_of else ''} was taken away.",
            expected=", ".join(names) or "a list that was taken away with --out",
            next_step=f"behavior audiences {close} --taken" if close else "behavior lift lists what was taken away",
        )
    newest = [one for one in found if one.record.as_of == found[-1].record.as_of]
    if len(newest) > 1:
        names = [one.record.audience for one in newest]
        raise UserError(
            f"Several lists of the campaign {name} of {newest[0].record.as_of} were taken away.",
            expected=f"one of {', '.join(names)}",
            next_step=f"behavior audiences {names[0]} --taken --as-of {newest[0].record.as_of}",
        )
    return newest[0]


def scored_again(home: Home, served: Served) -> list[Banner]:
    """Return the banner of a date that was scored again after lists of it had been taken away.

    An audience whose list is still the same is left out; of a budget's list nobody knows.
    """
    nightly = {one["name"] for one in served.facts["audiences"]}
    old = [
        taken
        for taken in taken_lists(home, as_of=served.as_of)
        if taken.record.artifact != served.artifact
        and not (taken.record.audience in nightly and _same(taken.load(), named_list(served, taken.record.audience)))
    ]
    if not old:
        return []
    named = ", ".join(f"{taken.record.audience} ({taken.words})" for taken in old)
    return [
        Banner(
            code="audiences_scored_again",
            level="warning",
            words=f"{served.as_of} was scored again after lists of it had been taken away, so what stands here need "
            f"not be what was sent: {named}.",
            next_step=f"behavior audiences {old[0].record.audience} --taken --as-of {served.as_of} shows the list that "
            "was taken; behavior lift measures that one",
        )
    ]


def _newest(parent: Path, audience: str) -> Taken | None:
    numbers = [int(m[2]) for f in parent.iterdir() if (m := PLACE.fullmatch(f.name)) and m[1] == audience]
    return _read(parent / f"{audience}.{max(numbers)}") if numbers else None


def _read(folder: Path) -> Taken:
    try:
        return Taken(record=Record.model_validate_json((folder / RECORD).read_bytes()), folder=folder)
    except FileNotFoundError:
        raise _damaged(folder, f"{RECORD} is missing") from None
    except ValidationError as error:
        raise _damaged(folder, f"{RECORD}: {error.errors()[0]['msg']}") from None


def _same(one: ChosenList, other: ChosenList) -> bool:
    """Whether the same shoppers are contacted, and the same are the control."""
    groups = [dict(zip(of.members["shopper"], of.members["group"], strict=True)) for of in (one, other)]
    return groups[0] == groups[1]


def _other(before: Taken, chosen: ChosenList) -> UserError:
    old = before.load()
    both = len(set(old.members["shopper"]) & set(chosen.members["shopper"]))
    again = f"behavior audiences {chosen.name} --taken --as-of {chosen.as_of} --out list.csv"
    return UserError(
        f"Another list of the campaign {chosen.campaign} of {chosen.as_of} was taken away before, and may have been "
        "sent, so this one is not written.",
        found=f"the list that {before.words}: {len(old.members):,} shoppers with the control; this one: "
        f"{len(chosen.members):,}, {both:,} of them the same",
        expected="one list for a campaign and a date, or the lift can't be measured",
        next_step=f"{again} writes that list again; another --campaign takes a budget's list as a campaign of its own; "
        "--instead, if that list was never sent",
    )


def _damaged(folder: Path, what: str) -> UserError:
    audience, _, number = folder.name.rpartition(".")
    day, campaign = folder.parent.name.removeprefix("date="), folder.parent.parent.name
    return UserError(
        f"The list {number} of {audience} that was taken away for the campaign {campaign} of {day} is damaged.",
        found=what,
        expected="the folder as it was written, in the state folder's campaigns/",
        next_step="bring it back from a backup, or move its folder away: then its lift can't be measured any more",
    )
