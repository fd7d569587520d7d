"""Signals of the traffic: what came day by day in; what of the last day is out of the ordinary, in plain words, out.

A day is held against the same weekday of the four weeks before, and against how much days usually stray from that. The
one thing to know: a tracking that fell out, rows in milliseconds or a missing day are faults of the data, which no
training mends; new prices, products or categories are news of the shop, which one may.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import poisson

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.statistics import stability
from behavior_tasks.watch.traffic import Traffic

WEEKS = 4
LEAST_WEEKS = 2
LEAST_USUAL = 10.0
"""Events of an action that a day must usually have before their absence says anything."""
SURE = 1e-6
FEW = 0.2
"""Share of what is usual, others considered, below which an action has fallen out."""
DEVIATIONS = 5.0
"""How many usual strayings a day's volume must lie off."""
MIX_DAYS = 3
MIX_REFERENCE_DAYS = 28


def read_signals(traffic: Traffic, settings: WatchConfig) -> list[Finding]:
    """Return what is out of the ordinary on the last day; nothing in the first weeks of a log."""
    days = traffic.days
    if len(days) <= 7 * LEAST_WEEKS:
        return []
    return [
        *_gaps(days),
        *_outages(days),
        *_lost_columns(days),
        *_volume(days),
        *_milliseconds(days),
        *_prices(traffic),
        *_products(days),
        *_mix(traffic, settings),
    ]


def usual(series: pd.Series) -> pd.Series:
    """Return what each day usually has: the median of the same weekday in the four weeks before; NaN too early.

    Days on which nothing at all came do not count as usual.
    """
    weeks = pd.concat([series.where(series > 0).shift(7 * week) for week in range(1, WEEKS + 1)], axis=1)
    return weeks.median(axis=1).where(weeks.notna().sum(axis=1) >= LEAST_WEEKS)


def straying(series: pd.Series) -> float:
    """Return by how much days stray from what is usual, as a standard deviation of the logarithm, without the last.

    From the median absolute deviation, so that a few odd days make it no larger; at least that of counting (Poisson).
    """
    base = usual(series)
    ratio = pd.Series(np.log((series + 0.5) / (base + 0.5)), index=series.index).iloc[-29:-1].dropna()
    counting = 1 / np.sqrt(max(1.0, float(base.iloc[-1]))) if np.isfinite(base.iloc[-1]) else 1.0
    if len(ratio) < 7:
        return max(0.3, counting)
    return max(1.4826 * float((ratio - ratio.median()).abs().median()), counting, 0.05)


def _gaps(days: pd.DataFrame) -> Iterator[Finding]:
    empty = [day for day, events in days["events"].items() if not events]
    recent = [day for day in empty if (days.index[-1] - day).days < 28]
    if recent:
        told = ", ".join(map(str, recent[:5])) + (f" and {len(recent) - 5} more" if len(recent) > 5 else "")
        yield Finding(
            code="empty_day",
            about=str(recent[-1]),
            level="severe" if days.index[-1] in recent else "warning",
            words=f"The log holds no event of {told}.",
            next_step="load the missing days and score them again: behavior score --as-of DATE",
        )


def _outages(days: pd.DataFrame) -> Iterator[Finding]:
    total = days["events"]
    for action in ACTIONS:
        expected, came = usual(days[action]).iloc[-1], int(days[action].iloc[-1])
        others = total - days[action]
        others_usual = usual(others).iloc[-1]
        if not (np.isfinite(expected) and np.isfinite(others_usual)) or expected < LEAST_USUAL:
            continue
        going_on = float(others.iloc[-1]) / max(1.0, float(others_usual))
        if going_on < 0.5:
            continue
        fair = float(expected) * min(1.0, going_on)
        if came < FEW * fair and poisson.cdf(came, fair) < SURE:
            yield Finding(
                code="outage",
                about=action,
                level="severe",
                words=f"{_plural(action)} fell to {came} on {days.index[-1]}, where {expected:.0f} are usual, while "
                "the rest of the shop goes on.",
                next_step=f"look whether the shop still records {_plural(action).lower()}, load what is missing, and "
                "do not train on these days",
            )


def _lost_columns(days: pd.DataFrame) -> Iterator[Finding]:
    share = (days["priced"] / days["events"].where(days["events"] > 0)).dropna()
    if len(share) < 15 or days["events"].iloc[-1] < 50 or share.index[-1] != days.index[-1]:
        return
    before, now = float(share.iloc[-29:-1].median()), float(share.iloc[-1])
    if before > 0.1 and now < before / 2:
        yield Finding(
            code="lost_column",
            about="price",
            level="severe",
            words=f"Only {now:.0%} of the events of {days.index[-1]} have a price, where {before:.0%} is usual.",
            next_step="look whether the export still writes prices, and load the day again",
        )


def _volume(days: pd.DataFrame) -> Iterator[Finding]:
    total, expected = days["events"], usual(days["events"]).iloc[-1]
    came = int(total.iloc[-1])
    if not came or not np.isfinite(expected):
        return
    ratio = came / float(expected)
    strayed = np.log(ratio) / straying(total)
    if abs(strayed) < DEVIATIONS or 0.6 < ratio < 1.7:
        return
    low = ratio < 1
    yield Finding(
        code="volume",
        about="low" if low else "high",
        level="warning",
        words=f"{came:,} events came on {days.index[-1]}, {ratio:.1f} times what this weekday usually has.",
        next_step="look whether a part of the log is missing"
        if low
        else "look for a campaign, a bot, or a day loaded twice under other times",
    )


def _milliseconds(days: pd.DataFrame) -> Iterator[Finding]:
    aside, events = days["milliseconds"], days["events"]
    now, before = int(aside.iloc[-1]), float(aside.iloc[-29:-1].median())
    share = now / max(1, now + int(events.iloc[-1]))
    if now < 5 or share < 0.005 or now < 5 * before:
        return
    yield Finding(
        code="milliseconds",
        about="timestamp",
        level="severe" if share >= 0.05 else "warning",
        words=f"{now:,} rows of {days.index[-1]} ({share:.0%} of the day) stand aside because a client writes its "
        "times in milliseconds.",
        next_step="have that client write seconds, or bring its times to seconds before the log is read; behavior "
        "quarantine shows the rows",
    )


def _prices(traffic: Traffic) -> Iterator[Finding]:
    days = traffic.days[traffic.days["priced_products"] >= 20]
    if len(days) < 15 or days.index[-1] != traffic.days.index[-1]:
        return
    up, down = (days[name] / days["priced_products"] for name in ("dearer", "cheaper"))
    # Sales come and go; what counts is the balance of dearer and cheaper beyond what it usually is.
    balance = up - down
    history = balance.iloc[-29:-1]
    spread = 1.4826 * float((history - history.median()).abs().median())
    off = float(balance.iloc[-1] - history.median())
    if abs(off) < 0.1 or abs(off) < DEVIATIONS * max(spread, 0.02):
        return
    dearer = off > 0
    name = "dearer" if dearer else "cheaper"
    moved = traffic.moved[traffic.moved["products"] >= 3]
    share = moved[name] / moved["products"]
    hit = [str(kind) for kind in moved["category"][share > 0.5] if kind]
    where = f", above all {', '.join(hit[:4])}" if hit else ""
    yield Finding(
        code="prices",
        about=name,
        level="warning",
        words=f"{int(days[name].iloc[-1])} of {int(days['priced_products'].iloc[-1])} products sold or looked at on "
        f"{days.index[-1]} are at least 10 % {name} than usual{where}.",
        next_step="if the prices are meant, train again once a horizon of days has them; else mend the price list",
        training=True,
    )


def _products(days: pd.DataFrame) -> Iterator[Finding]:
    share = days["new_products"] / days["named"].where(days["named"] > 0)
    now, before = float(share.iloc[-1]), float(share.iloc[-29:-1].median())
    if days["named"].iloc[-1] < 50 or not np.isfinite(now) or now < 0.1 or now < 5 * before:
        return
    yield Finding(
        code="new_products",
        about="product_id",
        level="warning",
        words=f"{now:.0%} of the events of {days.index[-1]} name products that no day before had, where {before:.0%} "
        "is usual: products have new ids, or a new range came in.",
        next_step="if ids were renamed, write the old ones into the log again; if the range is new, train again",
        training=True,
    )


def _mix(traffic: Traffic, settings: WatchConfig) -> Iterator[Finding]:
    kinds = traffic.categories
    if len(kinds) < MIX_DAYS + MIX_REFERENCE_DAYS or kinds.shape[1] < 2:
        return
    now = kinds.iloc[-MIX_DAYS:].sum()
    then = kinds.iloc[-MIX_DAYS - MIX_REFERENCE_DAYS : -MIX_DAYS].sum()
    found = stability(then.to_numpy(), now.to_numpy())
    if now.sum() < settings.min_rows or found.excess < settings.max_psi or found.psi_p > SURE:
        return
    change = (now / now.sum() - then / then.sum()).sort_values()
    up, down = (", ".join(map(str, names)) for names in (change.index[::-1][:2], change.index[:2]))
    yield Finding(
        code="categories",
        about="category",
        level="warning",
        words=f"Shoppers turned to {up} and away from {down} in the last {MIX_DAYS} days (stability index "
        f"{found.psi:.2f}): a new season, or a category renamed.",
        next_step="if a season began, train again once a horizon of days has it; else mend the categories",
        training=True,
    )


def _plural(action: str) -> str:
    """Return an action's events in words.

    >>> _plural("add_to_cart"), _plural("purchase"), _plural("search")
    ('Add-to-cart events', 'Purchase events', 'Search events')
    """
    return f"{action.replace('_', '-').capitalize()} events"
