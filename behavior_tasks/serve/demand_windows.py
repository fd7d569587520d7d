"""The windows of a forecast: a moment and a horizon in; the past horizons whose sales are read out.

The past before the moment is cut into windows of one horizon, the newest ending at the moment; each start also has the
window one season earlier. The one thing to know: windows are whole local days, and only what the log covers counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.serve.moment import Moment

YEAR_DAYS, MONTH_DAYS = 364, 28
"""Whole weeks, so that weekdays meet weekdays."""
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Past:
    """Which past is read, and how its sales are counted."""

    moment: Moment
    """Only events before it count."""
    first: datetime
    """Instant of the log's first event, naive UTC."""
    horizon_days: int
    """Length of a window."""
    most: int
    """Most windows."""
    examples: ExamplesConfig | None
    """Lookback and most candidates of the champion of shopper_product; None: there is none."""
    net: bool
    """Take off what the same shopper gives back of the same product within the same window."""


class SalesWindow(NamedTuple):
    """Sales of which instants (naive UTC, the end excluded) are added up."""

    kind: Literal["plain", "season"]
    number: int
    """Of the start that it belongs to."""
    begin: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of a past, oldest first."""

    starts: tuple[Moment, ...]
    """Where each window begins, and last the moment itself."""
    season_days: int
    sold: tuple[SalesWindow, ...]
    """The windows themselves, and those one season before a start that the log covers."""


def lay_windows(past: Past) -> Windows:
    """Return the windows that a past has, of which one is there in any case."""
    starts = _starts(past)
    season = _season_days(starts, past)
    sold = [SalesWindow("plain", n, a.cutoff, b.cutoff) for n, (a, b) in enumerate(pairwise(starts))]
    for number, start in enumerate(starts):
        begin, end = start.earlier(season), start.earlier(season - past.horizon_days)
        if _covers(past, begin):
            sold.append(SalesWindow("season", number, begin.cutoff, end.cutoff))
    return Windows(starts=starts, season_days=season, sold=tuple(sold))


def exposures(known_from: pd.Series, starts: Sequence[Moment], first: datetime) -> np.ndarray:
    """Return the share of each window in which each product was there, (P, B); what came with the log was before it.

    Args:
        known_from: instant of each product's first event.
        starts: where the windows begin, and the last ends.
        first: instant of the log's first event.
    """
    edges = np.array([np.datetime64(start.cutoff, "us") for start in starts])
    known = known_from.to_numpy(dtype="datetime64[us]").copy()
    known[known <= np.datetime64(first + DAY, "us")] = edges[0]
    lengths = (edges[1:] - edges[:-1]).astype(float)
    left = (edges[None, 1:] - np.maximum(known[:, None], edges[None, :-1])).astype(float)
    return np.clip(left / lengths[None, :], 0.0, 1.0)


def _starts(past: Past) -> tuple[Moment, ...]:
    starts = [past.moment, past.moment.earlier(past.horizon_days)]
    while len(starts) <= past.most:
        earlier = past.moment.earlier(past.horizon_days * len(starts))
        if not _covers(past, earlier):
            break
        starts.append(earlier)
    return tuple(reversed(starts))


def _season_days(starts: Sequence[Moment], past: Past) -> int:
    """Return a year where the log reaches so far at the newest past window, else the fewest whole months."""
    if past.horizon_days <= YEAR_DAYS and _covers(past, starts[-2].earlier(YEAR_DAYS)):
        return YEAR_DAYS
    return MONTH_DAYS * math.ceil(past.horizon_days / MONTH_DAYS)


def _covers(past: Past, start: Moment) -> bool:
    """Whether the log has begun by then, or on that day."""
    return start.cutoff >= past.first - DAY
