"""Taking a list away: a list and a place in; its CSV, that of the control, and a copy that is kept, out.

The one thing to know: the list is kept before a file is written, so no list can be sent that `behavior lift` does not
know; asked again for the same list, the files are written again and nothing else changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.export import log_export, with_real_ids
from behavior_tasks.serve.audiences_files import list_text, write_private
from behavior_tasks.serve.audiences_lists import ChosenList
from behavior_tasks.serve.audiences_taken import Taken, Taker, is_campaign, take


@dataclass(frozen=True, kw_only=True)
class RealIds:
    """Asks for the shop's own ids in place of pseudonyms."""

    log: str | None
    """The log, where it lies elsewhere than when it was scored."""


@dataclass(frozen=True, kw_only=True)
class TakenAway:
    """What was written."""

    files: Mapping[Path, int]
    """The list and its control, and their shoppers."""
    kept: Taken | None
    """None: nobody is contacted by this list."""
    is_new: bool
    """Whether it was kept now."""


def take_away(home: Home, chosen: ChosenList, out: Path, taker: Taker, *, real_ids: RealIds | None = None) -> TakenAway:
    """Keep a list and write it as CSV.

    Args:
        home: the state folder.
        chosen: the list.
        out: the file; the control goes beside it, as `NAME.control.csv`.
        taker: who takes it away, and when.
        real_ids: None: pseudonyms.

    Raises:
        UserError: when there is no such folder, another list of this campaign and date was taken before, or the real
            ids can't be had; nothing is written then.
    """
    if not out.absolute().parent.is_dir():
        raise UserError(f"There is no folder {out.parent}.", next_step="make it, or choose another place for --out")
    kept = keep(home, chosen, taker, real_ids=real_ids)
    is_control = kept.members["group"] == "control"
    files = {out: kept.members[~is_control], out.with_name(f"{out.stem}.control{out.suffix}"): kept.members[is_control]}
    for path, some in files.items():
        write_private(path, list_text(some))
    return TakenAway(files={path: len(some) for path, some in files.items()}, kept=kept.taken, is_new=kept.is_new)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A list that may be handed to somebody."""

    members: pd.DataFrame
    """Contacts and control, with `user_id` in the place of `shopper` where real ids were asked for."""
    taken: Taken | None
    """None: nobody is contacted by this list."""
    is_new: bool


def keep(home: Home, chosen: ChosenList, taker: Taker, *, real_ids: RealIds | None = None) -> Kept:
    """Keep a list, before it is handed to somebody; real ids are logged.

    Args:
        home: the state folder.
        chosen: the list.
        taker: who takes it away, and when.
        real_ids: None: pseudonyms.

    Raises:
        UserError: when another list of this campaign and date was taken before, or the real ids can't be had.
    """
    members = chosen.members
    if real_ids is not None:
        members = with_real_ids(home, chosen, members, real_ids.log)
    taken, is_new = take(home, chosen, taker) if is_campaign(chosen) else (None, False)
    if real_ids is not None:
        what = {"audience": chosen.name, "as_of": chosen.as_of.isoformat(), "shoppers": len(members)}
        log_export(home, when=taker.when, who=taker.who, what=what | {"artifact": chosen.artifact})
    return Kept(members=members, taken=taken, is_new=is_new)
