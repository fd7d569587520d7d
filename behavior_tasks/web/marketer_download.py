"""A list to take away: what was asked for in; a CSV that a spreadsheet opens safely, and a campaign that is kept, out.

The one thing to know: the list is kept before it is given, so that its lift can be measured; and no cell of it can
become a formula, whatever stands in the shop's log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.later import same_key
from behavior_tasks.pipeline.privacy.small_groups import least_group, stepped_list
from behavior_tasks.pipeline.take_away import RealIds, keep
from behavior_tasks.registry.actions import log_action
from behavior_tasks.serve.audiences_curve import CAMPAIGN
from behavior_tasks.serve.audiences_files import list_text
from behavior_tasks.serve.audiences_lists import ChosenList, named_list
from behavior_tasks.serve.audiences_taken import Taker
from behavior_tasks.serve.served import need_served
from behavior_tasks.web.marketer_budget import read_asked
from behavior_tasks.web.marketer_look import AUDIENCES

BYTE_ORDER_MARK = "\ufeff"
"""Tells a spreadsheet that the file is UTF-8."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which list, and how."""

    as_of: date
    """The date that the person saw."""
    audience: str | None
    """None: what a budget buys."""
    budget: Mapping[str, str | None]
    """What the budget's form says."""
    campaign: str = CAMPAIGN
    is_control: bool = False
    """The control, who must not be contacted, instead of those to contact."""
    real_ids: bool = False
    instead: bool = False
    """Says that the list of the same campaign and date that was taken before was not sent."""
    reason: str = ""
    """Why it is taken though it differs by a few people from one taken before; for who may decide."""


@dataclass(frozen=True, kw_only=True)
class File:
    """What is given."""

    name: str
    content: bytes
    rows: int


def take_list(home: Home, wanted: Wanted, *, who: str, when: datetime) -> File:
    """Keep a list as a campaign, log who takes it, and return it.

    Args:
        home: the state folder.
        wanted: which list.
        who: the person's name, as Airflow knows them.
        when: the time, with its zone.

    Raises:
        UserError: when there is no such list, another one of its campaign was taken before, what was typed is wrong, or
            the real ids can't be had.
    """
    chosen = _choose(home, wanted)
    taker = Taker(who=who, when=when, instead=wanted.instead, reason=wanted.reason or None)
    part = "control" if wanted.is_control else "contact" if chosen.told["contact"] else "leave"
    members = keep(home, chosen, taker, real_ids=RealIds(log=None) if wanted.real_ids else None, part=part).members
    is_control = members["group"] == "control"
    some = members[is_control == wanted.is_control]
    what = {"audience": chosen.name, "campaign": chosen.campaign, "as_of": chosen.as_of.isoformat(), "part": part}
    ids = "real" if wanted.real_ids else "pseudonyms"
    log_action(home, when=when, who=who, action="download", outcome="done", what=what | {"rows": len(some), "ids": ids})
    name = f"{chosen.name}-{chosen.as_of}-{part}.csv"
    return File(name=name, content=csv_text(some).encode(), rows=len(some))


def csv_text(members: pd.DataFrame) -> str:
    """Return a list as CSV, best first, as a spreadsheet opens it safely.

    Args:
        members: some of CSV_COLUMNS.
    """
    return BYTE_ORDER_MARK + list_text(members, raw=False, line_end="\r\n")


def _choose(home: Home, wanted: Wanted) -> ChosenList:
    served = need_served(home, AUDIENCES, wanted.as_of)
    if wanted.audience is not None:
        return named_list(served, wanted.audience)
    asked = read_asked(wanted.budget)
    is_priced = asked.costs.margin is not None or asked.costs.value_of_sale is not None
    if asked.problems or (asked.contacts is None and not is_priced):
        raise UserError(
            "The budget can't be understood.",
            found=", ".join(f"{name}={text}" for name, text in asked.typed.items() if text) or "nothing",
            expected="a whole number of contacts, and costs that fit together",
            next_step="correct the form of the budget and take the list again",
        )
    key = same_key(home, served)
    return stepped_list(
        served, key, campaign=wanted.campaign, contacts=asked.contacts, costs=asked.costs, least=least_group(home)
    )
