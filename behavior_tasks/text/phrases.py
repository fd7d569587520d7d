"""Phrases: shoppers and an instant in; the beginning of each one's text, cut into what it tells phrase by phrase, out.

The pieces of a shopper, put together, are exactly how a model's text begins when the events come before profile and
features, as they do by default. The one thing to know: nothing after the events is written, so for a model that reads
from left to right nothing is missing, and no feature has to be computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from behavior_tasks.data.events import BucketEvents
from behavior_tasks.text.compose import Composer
from behavior_tasks.text.history import Histories, find_moments, read_events
from behavior_tasks.text.parts import PartTable, Ragged, spaced
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import PHRASES_AT_ONCE, local_hours


@dataclass(frozen=True, kw_only=True)
class Told:
    """The texts of some shoppers."""

    shoppers: list[str]
    pieces: list[list[str]]
    """Of each shopper: what stands before the events, which may be empty, then each phrase."""
    begun: np.ndarray
    """First instant of each phrase, microseconds since 1970, all shoppers behind one another, shape (phrases,)."""


def tell_phrases(
    connection: duckdb.DuckDBPyConnection,
    events: BucketEvents,
    cutoff: datetime,
    settings: TextSettings,
    *,
    shoppers: Sequence[str],
) -> Iterator[Told]:
    """Yield the texts of some shoppers at an instant.

    Args:
        connection: a fresh one.
        events: clean events of a bucket.
        cutoff: only events before it are told, and none older than the settings' lookback.
        settings: of a model.
        shoppers: of that bucket, in the order in which they are told, each once.
    """
    events.create_view(connection)
    who = pa.array(range(len(shoppers)), type=pa.int32())
    connection.register("told", pa.table({"shopper": pa.array(shoppers, type=pa.string()), "who": who}))
    connection.execute("CREATE TABLE people AS SELECT * FROM told")
    if not len(shoppers):
        return
    read = read_events(connection, settings.products)
    until = np.full(len(shoppers), (cutoff - datetime(1970, 1, 1)).total_seconds() * 1_000_000, dtype=np.int64)
    moments = find_moments(read, np.arange(len(shoppers)), until, lookback_days=settings.lookback_days)
    parts = PartTable()
    composer = Composer(settings, parts, read)
    histories = Histories(read, composer.named, last_events=settings.last_events)
    has_older = settings.order.index("older") < settings.order.index("events")
    opening = spaced(settings.words.start, settings.templates.blank)
    before = np.append(0, np.cumsum(histories.count(moments)))
    first = 0
    while first < len(shoppers):
        last = max(first + 1, int(np.searchsorted(before, before[first] + PHRASES_AT_ONCE, side="right")) - 1)
        some = moments.part(first, last)
        told = histories.phrases(some)
        written, _ = composer.phrases(told, local_hours(connection, told.us, settings.timezone), read.queries)
        older = composer.older(histories.older(some, composer.popular)) if has_older else None
        ends = np.cumsum(np.bincount(told.moment, minlength=len(some)))
        phrases = _texts(parts, written)
        contexts = _texts(parts, older) if older is not None else [""] * len(some)
        pieces = []
        for context, start, stop in zip(contexts, np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True):
            own = [context, *phrases[start:stop]]
            own[1:2] = [opening + phrase for phrase in own[1:2]]
            place = 0 if context else 1
            own[place : place + 1] = [piece.lstrip(" ") for piece in own[place : place + 1]]
            pieces.append(own)
        yield Told(
            shoppers=list(shoppers[first:last]),
            pieces=pieces,
            begun=told.us,
        )
        first = last


def _texts(parts: PartTable, rows: Ragged) -> list[str]:
    """Return the words of each row."""
    words = np.array([*parts.texts, ""], dtype=object)[rows.codes].tolist()
    ends = np.cumsum(rows.counts)
    return ["".join(words[end - count : end]) for end, count in zip(ends.tolist(), rows.counts.tolist(), strict=True)]
