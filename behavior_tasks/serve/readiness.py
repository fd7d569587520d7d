"""Readiness: what must be known before anybody believes what is scored today, in banners.

In come the days of the log, the champions and what they were made with; out come banners with their figures, or a
refusal. The one thing to know: what spoils the answer for good refuses, what spoils it today warns, and what somebody
has had a week to see is only noticed from then on, so that a night is red when there is something new to do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.banners import Banner, Level
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.log_days import LogDays, Unseen

NEW_DAYS = 7
"""How long a hole in the log is a warning; later it is a notice."""
FEWEST_EVENTS = 30
"""Of a day, before anything is said about its share of something, or about its being thin."""
WEEK = timedelta(days=7)


def need_events(days: LogDays, as_of: date, champions: Sequence[Champion]) -> None:
    """Refuse a day before which nobody did anything in the lookback.

    Raises:
        UserError: naming the days that there are.
    """
    lookback = max((champion.examples.lookback_days for champion in champions), default=1)
    if any(day >= as_of - timedelta(days=lookback) for day in days.events):
        return
    told = f"events from {min(days.events)} to {days.last}" if days.events else "no event before it"
    raise UserError(
        f"Nobody did anything in the {lookback} days before {as_of}, so there is nobody to score.",
        found=told,
        expected=f"events between {as_of - timedelta(days=lookback)} and {as_of}",
        next_step=f"behavior score --as-of {days.last + timedelta(days=1)}" if days.events else "ask for a later day",
    )


def about_days(days: LogDays, as_of: date, config: Config, *, lookback_days: int) -> list[Banner]:
    """Return the banners about the log's own days: empty, thin, missing, doubled, later, too few."""
    found = [*_newest_day(days, as_of, config.serve.min_day_share), *_holes(days, as_of, lookback_days)]
    found += _doubled(days, as_of, lookback_days)
    if days.later:
        words = f"The log goes on after {as_of}: {days.later:,} events were left out."
        found.append(_banner("later_events", "notice", words, "nothing, when that day was asked for"))
    history = (as_of - min(days.events)).days
    if history < lookback_days:
        words = f"The log begins {history} days before {as_of}; the champion looks back over {lookback_days}."
        found.append(_banner("short_log", "notice", words, "read an older log too, where there is one"))
    return found


def about_lateness(days: LogDays, reference: date, config: Config) -> list[Banner]:
    """Return a banner when the log ends too long before the day on which it is needed."""
    silent = (reference - days.last).days
    if silent <= config.serve.max_silent_days:
        return []
    words = (
        f"The log is late: its last event is of {days.last}, {silent} days before {reference}; "
        f"{config.serve.max_silent_days} are allowed."
    )
    return [_banner("late_log", "warning", words, "look at the export of the log, then behavior score")]


def about_champion(champion: Champion, as_of: date, cutoff: datetime, config: Config) -> list[Banner]:
    """Return the banners about a champion's age, and about what it was made for."""
    name, found = _name(champion), []
    tested = champion.tested_from.replace(tzinfo=UTC).date()
    # Its test is over only when its horizon is: a younger champion there can't be.
    age = (cutoff - champion.tested_from - champion.horizon).days
    if cutoff < champion.tested_from:
        words = f"{name} was trained on what followed {as_of}, so its scores of that day are too good to be true."
        found.append(_banner("trained_on_later", "severe", words, f"ask for {tested} or later"))
    elif age > config.serve.max_champion_days:
        allowed = config.serve.max_champion_days
        words = f"{name} is stale: the days that it was tested on ended {age} days ago; {allowed} are allowed."
        found.append(_banner("stale_champion", "warning", words, f"behavior run{_training(champion)} trains a new one"))
    for what in ("horizon_days", "lookback_days"):
        own, today = getattr(champion.examples, what), getattr(config.examples, what)
        if own != today:
            words = f"{name} has {what.replace('_days', '')} {own} days; today's settings say {today}."
            step = f"nothing, or behavior run{_training(champion)} with today's settings"
            found.append(_banner(f"other_{what}", "notice", words, step))
    zone = champion.features.timezone
    if zone != config.source.timezone:
        words = f"{name} knows days of {zone}; today's settings say {config.source.timezone}."
        found.append(_banner("other_timezone", "warning", words, f"--set source.timezone={zone}"))
    return found


def about_units(champions: Iterable[Champion]) -> list[Banner]:
    """Return a notice for each unit without a champion: what needs one is made by the simple method."""
    names = {"shopper": "who buys", "shopper_product": "who buys which product"}
    there = {champion.unit for champion in champions}
    return [
        _banner(
            f"no_champion_{unit}",
            "notice",
            f"There is no champion that says {what}; what needs one is made by the simple method.",
            "behavior run --set examples.unit=shopper_product --set registry.model_name=behavior-products"
            if unit == "shopper_product"
            else "behavior run",
        )
        for unit, what in names.items()
        if unit not in there
    ]


def about_columns(champion: Champion, present: Sequence[str], policy: str) -> list[Banner]:
    """Return a banner when a column that a champion reads is in today's log no more, where that may be served.

    Raises:
        UserError: where it may not (`serve.missing_columns`): texts without that column are such as the champion has
            never read, and nobody can say what its answers to them are worth.
    """
    gone = [column for column in champion.settings.reader.present if column not in present]
    if not gone:
        return []
    name, named = _name(champion), ", ".join(gone)
    if policy == "refuse":
        raise UserError(
            f"Today's log lacks columns that {name} reads; nothing is handed out, what was before is still there.",
            found=f"no value in {named}",
            expected=f"the columns that it was trained with: {', '.join(champion.settings.reader.present)}",
            next_step="mend the log or source.columns; or --set serve.missing_columns=serve, with a banner; or "
            f"behavior run{_training(champion)} trains one without",
        )
    words = f"Today's log lacks {named}, which {name} reads: it has never been tested without."
    return [_banner("missing_columns", "severe", words, "mend the log or source.columns, then behavior score")]


@dataclass(frozen=True, kw_only=True)
class NewProducts:
    """How much of a log is about products that a champion has never seen."""

    champion: Champion
    newest: Unseen
    """Of the newest day."""
    tested: Unseen
    """Of the days that it was tested on: so much is ordinary in this shop."""

    def too_many(self, allowed: float) -> bool:
        """Whether, of what it would ordinarily know, more than an allowed share is unknown to it."""
        usual = self.tested.share
        return self.newest.every >= FEWEST_EVENTS and self.newest.share > usual + allowed * (1 - usual)


def about_products(found: Sequence[NewProducts], day: date, config: Config) -> list[Banner]:
    """Return a banner when a day is about products that the champions have never seen, far more than their test was.

    Args:
        found: of each champion.
        day: the log's newest day.
        config: says how many are too many.
    """
    lost = [one for one in found if one.too_many(config.serve.max_unknown_share)]
    if not lost:
        return []
    worst = max(lost, key=lambda one: one.newest.share)
    words = (
        f"{worst.newest.share:.0%} of the {worst.newest.every:,} events on products of {day} are about products that "
        f"{' and '.join(_name(one.champion) for one in lost)} {'has' if len(lost) == 1 else 'have'} never seen; "
        f"on the days of the test it was {worst.tested.share:.0%}."
    )
    trainings = " and ".join(f"behavior run{_training(one.champion)}" for one in lost)
    step = f"were products renamed, or is it another shop's log? If all is right: {trainings}"
    return [_banner("unknown_products", "severe", words, step)]


def _newest_day(days: LogDays, as_of: date, least: float) -> list[Banner]:
    """The day before the instant: empty, or with far fewer events than is usual on its weekday."""
    newest = as_of - timedelta(days=1)
    usual, there = _usual(days, newest), days.events.get(newest, 0)
    step = "look at the export of that day, then behavior score"
    if usual >= 1 and not there:
        words = f"{newest}, the newest day, is empty; on its weekday there are usually {usual:,.0f} events."
        return [_banner("empty_day", "severe", words, step)]
    if usual >= FEWEST_EVENTS and there < least * usual:
        words = f"{newest}, the newest day, has {there:,} events; on its weekday there are usually {usual:,.0f}."
        return [_banner("thin_day", "warning", words, step)]
    return []


def _holes(days: LogDays, as_of: date, lookback_days: int) -> list[Banner]:
    """Days without an event between others, on whose weekday there usually are some."""
    first = max(min(days.events), as_of - timedelta(days=lookback_days))
    every = (first + timedelta(days=n) for n in range((days.last - first).days))
    gone = [day for day in every if day not in days.events and _usual(days, day) >= 1]
    if not gone:
        return []
    usual = sum(_usual(days, day) for day in gone)
    words = f"{_listed(gone)} without an event; usually there are {usual:,.0f} on {'it' if len(gone) == 1 else 'them'}."
    level: Level = "warning" if gone[-1] >= as_of - timedelta(days=NEW_DAYS) else "notice"
    return [_banner("missing_day", level, words, "read the log of the missing days too, then behavior score")]


def _doubled(days: LogDays, as_of: date, lookback_days: int) -> list[Banner]:
    """Days of which at least half of all events came once more."""
    since = as_of - timedelta(days=lookback_days)
    found = [
        day
        for day, count in days.doubled.items()
        if day >= since and count >= FEWEST_EVENTS and 2 * count >= days.events.get(day, 0)
    ]
    if not found:
        return []
    count = sum(days.doubled[day] for day in found)
    words = f"{_listed(found)} came twice: {count:,} rows were left out because the same row was there before."
    level: Level = "warning" if found[-1] >= as_of - timedelta(days=NEW_DAYS) else "notice"
    step = "import the day once; the scores count each event once, unless the copies differ"
    return [_banner("doubled_day", level, words, step)]


def _usual(days: LogDays, day: date) -> float:
    """The median of the events on a day's weekday in the four weeks before and after it that the log covers."""
    weeks = (day + n * WEEK for n in range(-4, 5) if n)
    inside = [other for other in weeks if min(days.events) <= other <= days.last]
    return float(median(days.events.get(other, 0) for other in inside)) if inside else 0.0


def _listed(found: Sequence[date]) -> str:
    first = ", ".join(map(str, found[:3]))
    more = len(found) - 3
    return first if more <= 0 else f"{first} and {more} more day{'' if more == 1 else 's'}"


def _name(champion: Champion) -> str:
    return f"the champion {champion.name} {champion.version}"


def _training(champion: Champion) -> str:
    if champion.unit == "shopper":
        return ""
    return f" --set examples.unit={champion.unit} --set registry.model_name={champion.name}"


def _banner(code: str, level: Level, words: str, next_step: str) -> Banner:
    return Banner(code=code, level=level, words=words[0].upper() + words[1:], next_step=next_step)
