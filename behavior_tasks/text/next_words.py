"""The next words: the histories of shoppers, left open where a purchase would be told next, and what may stand there.

In come shoppers at an instant and the events of their bucket; out come a text for each, and what each of its letters
stands for. The one thing to know: a text knows a product by name only when it is popular, another by its letter once
it has told of it, and everything else as one further letter with a category.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.text.compose import Composer
from behavior_tasks.text.history import Histories, find_moments
from behavior_tasks.text.parts import PartTable, join_parts, side_by_side
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import local_hours, read_bucket

AT_ONCE = 4096
"""Shoppers whose texts are written at a time."""


@dataclass(frozen=True, kw_only=True)
class OpenTexts:
    """Texts of n shoppers that end where the name of a purchased product would follow."""

    shoppers: list[str]
    texts: list[str]
    """Without `lead`."""
    lead: str
    """How the next phrase begins."""
    named: dict[str, str]
    """Product → its word, of those that have one."""
    letters: list[str]
    """Words of letters that may come up, from the first on."""
    categories: dict[str, str]
    """Category → its word."""
    row: np.ndarray
    """Of each product with a letter its text, rising, (lettered,)."""
    letter: np.ndarray
    """Its place in `letters`."""
    product: list[str]
    next_letter: np.ndarray
    """Place in `letters` of the one that each text would give to a further product, (n,)."""


def open_texts(
    shoppers: Sequence[str], events: BucketEvents, cutoff: datetime, settings: TextSettings, *, memory_mb: int = 2048
) -> Iterator[OpenTexts]:
    """Yield the open texts of a bucket's shoppers, in the order of their pseudonyms.

    Args:
        shoppers: pseudonyms.
        events: clean events of at least these shoppers.
        cutoff: naive UTC; only events before it are told.
        settings: how a champion's texts are written; of its parts only the history is.
        memory_mb: for DuckDB.
    """
    told = settings.model_copy(update={"unit": "shopper", "bins": {}})
    every = sorted(set(shoppers))
    for first in range(0, len(every), AT_ONCE):
        some = every[first : first + AT_ONCE]
        with connect(memory_mb=memory_mb) as connection:
            events.create_view(connection)
            connection.execute(
                f"""
                CREATE TABLE examples AS
                SELECT shopper AS example, shopper, 'test' AS split, TIMESTAMP '{cutoff}' AS cutoff, 0 AS label,
                       CAST(NULL AS DOUBLE) AS amount, 1.0 AS weight, CAST(NULL AS VARCHAR) AS product_id,
                       '' AS gender, CAST(NULL AS DOUBLE) AS age, CAST(NULL AS DOUBLE) AS purchases
                FROM (SELECT unnest(CAST(? AS VARCHAR[])) AS shopper)
                """,
                [some],
            )
            yield _write(connection, told)


def _write(connection: duckdb.DuckDBPyConnection, settings: TextSettings) -> OpenTexts:
    bucket = read_bucket(connection, settings)
    moments = find_moments(bucket.events, bucket.who, bucket.until, lookback_days=settings.lookback_days)
    parts = PartTable()
    composer = Composer(settings, parts, bucket.events)
    histories = Histories(bucket.events, composer.named, last_events=settings.last_events)
    told = histories.phrases(moments)
    local = local_hours(connection, told.us, settings.timezone)
    phrases, letter = composer.phrases(told, local, bucket.events.queries)
    older = composer.older(histories.older(moments, composer.popular))
    history = composer.events(phrases, told, np.zeros(len(moments), dtype=np.int64), goes_on=True)
    rows = parts.joined(side_by_side([older, history]))
    there = letter >= 0
    moment = np.broadcast_to(told.moment[:, None], letter.shape)[there]
    found = np.unique(np.stack([moment, letter[there], told.listed[there]], axis=1), axis=0)
    newest = np.zeros(len(moments), dtype=np.int64)
    np.maximum.at(newest, found[:, 0], found[:, 1])
    goods = dict(connection.execute("SELECT number, product_id FROM goods").fetchall())
    return OpenTexts(
        shoppers=bucket.table["shopper"].to_pylist(),
        texts=[join_parts(row) for row in parts.column(rows).to_pylist()],
        lead=composer.next_purchase(),
        named=composer.product_words(),
        letters=[composer.letter_word(number) for number in range(1, int(newest.max(initial=0)) + 2)],
        categories=composer.category_words(),
        row=found[:, 0],
        letter=found[:, 1] - 1,
        product=[goods[number] for number in found[:, 2].tolist()],
        next_letter=newest,
    )
