"""Taking a list away: a list and a place in; its CSV, that of the control, and a copy that is kept, out.

The one thing to know: the list is kept before a file is written, so no list can be sent that `behavior lift` does not
know; asked again for the same list, the files are written again and nothing else changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    members = chosen.members
    if real_ids is not None:
        members = with_real_ids(home, chosen, members, real_ids.log)
    kept, is_new = take(home, chosen, taker) if is_campaign(chosen) else (None, False)
    if real_ids is not None:
        what = {"audience": chosen.name, "as_of": chosen.as_of.isoformat(), "shoppers": len(members)}
        log_export(home, when=taker.when, who=taker.who, what=what | {"artifact": chosen.artifact})
    is_control = members["group"] == "control"
    files = {out: members[~is_control], out.with_name(f"{out.stem}.control{out.suffix}"): members[is_control]}
    for path, some in files.items():
        write_private(path, list_text(some))
    return TakenAway(files={path: len(some) for path, some in files.items()}, kept=kept, is_new=is_new)
