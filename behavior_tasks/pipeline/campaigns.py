"""Campaigns: lists that were taken away, and the nightly lists that nobody took, in; what a lift can be asked of, out.

The one thing to know: where any list of a campaign was taken away, the nightly lists of that campaign are no longer
guessed to have been sent; they are measured only where somebody names their date.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, groupby
from typing import Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.serve.audiences_lift import find_campaign
from behavior_tasks.serve.audiences_lists import ChosenList, named_list
from behavior_tasks.serve.audiences_taken import Taken, taken_lists
from behavior_tasks.serve.served import Served, find_served, need_served, served_dates

APPLICATION = "audiences"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What was sent, or may have been, for a campaign on one date."""

    name: str
    as_of: date
    end: datetime
    """When its horizon is over, naive UTC."""
    told: Sequence[Mapping[str, Any]]
    """What `tell` says of its lists."""
    taken: Sequence[Taken]
    """The lists that were taken away; empty: nobody took any, the nightly ones are meant."""
    served: Served | None
    """Where the nightly ones are handed out; None: they were taken away."""

    def lists(self) -> list[ChosenList]:
        """Return its lists.

        Raises:
            UserError: when one is damaged.
        """
        if self.served is None:
            return [taken.load() for taken in self.taken]
        return [named_list(self.served, one["name"]) for one in self.told]

    def count(self, group: str) -> int:
        """Return how many stand in `contacts` or `control` of its lists."""
        return sum(int(one[group]) for one in self.told)


def dates_of(home: Home, campaign: str, as_of: date | None = None) -> Iterator[Campaign]:
    """Return what there is of a campaign, the newest date first; each date is read when its turn comes.

    Args:
        home: the state folder.
        campaign: its name, or an audience's.
        as_of: one date; None: all that were taken away, or, where none was, all nightly ones.

    Raises:
        UserError: when there is nothing of it, with the nearest name, or the dates that there are.
    """
    taken = taken_lists(home, campaign, as_of)
    if taken:
        return iter(_taken(campaign, taken))
    others = taken_lists(home, campaign)
    served = find_served(home, APPLICATION, as_of)
    if served is not None and (as_of is None or not others or _named(served, campaign)):
        days = served_dates(home, APPLICATION) if as_of is None else [as_of]
        every = (found for day in reversed(days) if (found := find_served(home, APPLICATION, day)) is not None)
        dates = (_nightly(one, campaign) for one in every if _named(one, campaign))
        first = next(dates, None)
        if first is not None:
            return chain([first], dates)
        names = {one.record.campaign for one in taken_lists(home)}
        find_campaign(served.facts["audiences"], campaign, served.as_of, names)
    if not others:
        need_served(home, APPLICATION, as_of)
    raise UserError(
        f"There is no list of the campaign {campaign} of {as_of}.",
        found=f"lists that were taken away of {', '.join(str(one.record.as_of) for one in others)}",
        next_step=f"behavior lift {campaign} --as-of {others[-1].record.as_of}",
    )


def newest_over(dates: Iterable[Campaign], known_until: datetime | None) -> Campaign | None:
    """Return the newest whose horizon is over, else the newest; None where there is none at all.

    Args:
        dates: the newest first.
        known_until: the instant, naive UTC, up to which the log tells everything; None: it is empty.
    """
    newest = None
    for one in dates:
        newest = newest or one
        if known_until is not None and one.end <= known_until:
            return one
    return newest


def every_campaign(home: Home, known_until: datetime | None) -> list[Campaign]:
    """Return all lists that were taken away, and of each other campaign the nightly list that a lift would measure.

    Args:
        home: the state folder.
        known_until: as above.
    """
    taken = taken_lists(home)
    found = [one for name in sorted({of.record.campaign for of in taken}) for one in dates_of(home, name)]
    served = find_served(home, APPLICATION)
    told = served.facts["audiences"] if served is not None else []
    names = {one["campaign"] for one in told if one["contact"]} - {of.record.campaign for of in taken}
    for name in sorted(names):
        chosen = newest_over((one for one in dates_of(home, name) if one.count("contacts")), known_until)
        found += [chosen] if chosen is not None else []
    return sorted(found, key=lambda one: (-one.as_of.toordinal(), one.name))


def _taken(campaign: str, taken: Sequence[Taken]) -> list[Campaign]:
    dates = []
    for day, some in groupby(taken, key=lambda one: one.record.as_of):
        lists = list(some)
        end = max(datetime.fromisoformat(one.record.facts["end"]) for one in lists)
        told = [one.record.told for one in lists]
        dates.append(Campaign(name=campaign, as_of=day, end=end, told=told, taken=lists, served=None))
    return dates[::-1]


def _nightly(served: Served, campaign: str) -> Campaign:
    told = _named(served, campaign)
    contacted = [one for one in told if one["contact"]]
    end = datetime.fromisoformat(served.facts["end"])
    return Campaign(name=campaign, as_of=served.as_of, end=end, told=contacted or told, taken=[], served=served)


def _named(served: Served, campaign: str) -> list[Mapping[str, Any]]:
    return [one for one in served.facts["audiences"] if campaign in {one["campaign"], one["name"]}]
