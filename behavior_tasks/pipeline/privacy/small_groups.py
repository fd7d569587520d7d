"""Small groups: a list that somebody wants to take in; a refusal, where it would tell of too few people, out.

A list of fewer than `privacy.min_group` people is refused, and so is one that differs from a list taken before by
fewer: who holds both would know those few. The one thing to know: lists are compared as sets of people, those to be
contacted and their control together, under the same identity key, whatever their names and dates.
"""

import hashlib
from collections.abc import Iterable

import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.few import is_few, stepped
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.runs import SCORING, last_runs
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_lists import ChosenList, budget_list
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.audiences_taken import Taken, every_taken
from behavior_tasks.serve.served import Served

HASH_LENGTH = 32


def least_group(home: Home) -> int:
    """Return how many people a list or a figure must be about at least: the newest scoring's `privacy.min_group`."""
    runs = last_runs(home, most=1, triggers=SCORING)
    return (runs[0].record.config if runs else Config()).privacy.min_group


def refuse_small(people: int, least: int, what: str, *, next_step: str) -> None:
    """Refuse what would be about too few people.

    Args:
        people: how many it is about; nobody is not too few.
        least: fewest that it may be about.
        what: what was asked for, with its article.
        next_step: what to do.

    Raises:
        UserError: when there are fewer than `least`.
    """
    if is_few(people, least):
        raise UserError(
            f"{what} is about too few people, so it is not given.",
            found=f"fewer than {least} people",
            expected=f"{least} people or more (privacy.min_group), or nobody could be told apart",
            next_step=next_step,
        )


def refuse_small_list(chosen: ChosenList, least: int) -> None:
    """Refuse a list of too few people, with its control.

    Raises:
        UserError: when fewer than `least` people would be contacted, or left alone.
    """
    refuse_small(
        int((chosen.members["group"] != "control").sum()),
        least,
        f"The list {chosen.name} of {chosen.as_of}, with its control,",
        next_step="widen its conditions in the file of audiences (audiences.file) or join it with another, and score "
        "again; or ask for a larger --budget",
    )


def refuse_near(home: Home, chosen: ChosenList, least: int, *, reason: str | None) -> Taken | None:
    """Refuse a list that differs from one taken before by too few people; return that one where a reason is given.

    Args:
        home: the state folder.
        chosen: the list.
        least: fewest people by which two lists may differ, unless they are the same.
        reason: why somebody who answers for it wants it all the same; None: nobody does.

    Raises:
        UserError: when there is such a list and no reason, or a kept list is damaged.
    """
    near = nearly_taken(home, chosen, least)
    if near is None or reason is not None:
        return near
    record = near.record
    raise UserError(
        f"The list {chosen.name} of {chosen.as_of} differs by fewer than {least} people from one that was taken "
        "before, so it is not given: who holds both would know what sets those few apart.",
        found=f"the list {record.audience} of {record.as_of} that {near.words}",
        expected=f"the same people, or {least} others and more (privacy.min_group)",
        next_step=f"behavior audiences {record.audience} --taken --as-of {record.as_of} --out list.csv gives that list "
        f'again; who answers for it may say --who NAME --reason "why", which is logged (on the page: roles op and '
        "admin)",
    )


def nearly_taken(home: Home, chosen: ChosenList, least: int) -> Taken | None:
    """Return a list taken before that holds nearly the same people, but not the same; None where there is none."""
    people = set(chosen.members["shopper"])
    for before in every_taken(home):
        file = before.folder / MEMBERS
        if before.record.facts.get("identity_key") != chosen.facts.get("identity_key") or not file.is_file():
            continue
        # Sets whose sizes differ by so many differ by as many people; their files need not be read.
        if abs(pq.read_metadata(file).num_rows - len(people)) >= least:
            continue
        others = set(pd.read_parquet(file, columns=["shopper"])["shopper"])
        if is_few(len(people ^ others), least):
            return before
    return None


def stepped_list(
    served: Served, key: bytes, *, campaign: str, contacts: int | None, costs: Costs, least: int
) -> ChosenList:
    """Return the list that a budget buys, cut to whole steps of `least`, so that no two budgets differ by fewer.

    Args:
        served: the audiences of a date.
        key: the identity key, of the same pseudonyms.
        campaign: what the control is drawn for, and the list's name.
        contacts: most that are contacted; None: as many as bring more than they cost.
        costs: what a contact costs and a purchase brings.
        least: the step.

    Raises:
        UserError: as `budget_list`, or when the budget is below one step.
    """
    if contacts is not None:
        refuse_small(contacts, least, f"A list of {contacts:,}", next_step=f"--budget {least} or more")
    chosen = budget_list(served, key, campaign=campaign, contacts=contacts, costs=costs)
    bought = int(chosen.told["contacts"])
    whole = stepped(bought, least)
    return chosen if whole in {0, bought} else budget_list(served, key, campaign=campaign, contacts=whole, costs=costs)


def set_hash(people: Iterable[str]) -> str:
    """Return the hash of a set of pseudonyms: it tells whether two exports are the same, and nobody who is in one."""
    return hashlib.sha256("\n".join(sorted(set(people))).encode()).hexdigest()[:HASH_LENGTH]
