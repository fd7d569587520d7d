"""Taking a list away: a list and a place in; its CSV, that of the control, and a copy that is kept, out.

The one thing to know: the list is kept before a file is written, so no list can be sent that `behavior lift` does not
know; asked again for the same list, the files are written again and nothing else changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from filelock import FileLock

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.pipeline.export import log_export, with_real_ids
from behavior_tasks.pipeline.privacy.small_groups import least_group, refuse_near, refuse_small_list, set_hash
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


def take_away(
    home: Home, chosen: ChosenList, out: Path, taker: Taker, *, real_ids: RealIds | None = None, raw: bool = False
) -> TakenAway:
    """Keep a list and write it as CSV.

    Args:
        home: the state folder.
        chosen: the list.
        out: the file; the control goes beside it, as `NAME.control.csv`.
        taker: who takes it away, and when.
        real_ids: None: pseudonyms.
        raw: texts as they are, for programs; else none of them can become a formula in a spreadsheet.

    Raises:
        UserError: when there is no such folder, or as `keep`; nothing is written then.
    """
    if not out.absolute().parent.is_dir():
        raise UserError(f"There is no folder {out.parent}.", next_step="make it, or choose another place for --out")
    kept = keep(home, chosen, taker, real_ids=real_ids)
    is_control = kept.members["group"] == "control"
    files = {out: kept.members[~is_control], out.with_name(f"{out.stem}.control{out.suffix}"): kept.members[is_control]}
    for path, some in files.items():
        write_private(path, list_text(some, raw=raw))
    return TakenAway(files={path: len(some) for path, some in files.items()}, kept=kept.taken, is_new=kept.is_new)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A list that may be handed to somebody."""

    members: pd.DataFrame
    """Contacts and control, with `user_id` in the place of `shopper` where real ids were asked for."""
    taken: Taken | None
    """None: nobody is contacted by this list."""
    is_new: bool


def keep(home: Home, chosen: ChosenList, taker: Taker, *, real_ids: RealIds | None = None, part: str = "all") -> Kept:
    """Keep a list and log it, before it is handed to somebody.

    Args:
        home: the state folder.
        chosen: the list.
        taker: who takes it away, and when.
        real_ids: None: pseudonyms.
        part: what of it is handed out, for the log: all, contact, control or leave.

    Raises:
        UserError: when it is about too few people, differs by too few from a list that was taken before, another list
            of this campaign and date was taken, or the real ids can't be had.
    """
    members, least = chosen.members, least_group(home)
    refuse_small_list(chosen, least)
    if real_ids is not None:
        members = with_real_ids(home, chosen, members, real_ids.log)
    # Of two who take two lists at once, the second is held against what the first took.
    with FileLock(make_folder(home.campaigns) / ".taking.lock"):
        near = refuse_near(home, chosen, least, reason=taker.reason)
        taken, is_new = None, False
        if is_campaign(chosen):
            taken, is_new = take(home, chosen, taker)
        elif len(members):
            take(home, chosen, replace(taker, instead=True))  # no campaign, but later lists are held against it
    what = {
        **{"audience": chosen.name, "campaign": chosen.campaign, "as_of": chosen.as_of.isoformat(), "part": part},
        **{"shoppers": len(members), "ids": "pseudonyms" if real_ids is None else "real"},
        **{"set": set_hash(chosen.members["shopper"]), "artifact": chosen.artifact},
    }
    if near is not None:
        what["differs_by_a_few_from"] = near.place
    if taker.reason is not None:
        what["reason"] = taker.reason
    log_export(home, when=taker.when, who=taker.who, what=what)
    return Kept(members=members, taken=taken, is_new=is_new)
