"""Counts: what the train period of a log holds how often, merged exactly from its buckets.

In come the clean events by bucket and an instant; out come the number of events of each category, product and price,
of shoppers' days by what they came to, and of shoppers by search word and product, before that instant. Each bucket is
counted by itself, into a file, so that the log never lies in memory at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, parquet_sql, write_parquet
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.data.search_words import MASK
from behavior_tasks.examples.feature_sql import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    until: datetime
    out: Path
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The counts of all buckets; `kind` is category, product, toucher (of a product), price, amount or search."""

    folder: Path
    memory_mb: int

    def most(self, kind: str, number: int) -> list[str]:
        """Return the most frequent words of a kind, most first, ties by name."""
        rows = self._rows(f"""
            SELECT word FROM {self._source} WHERE kind = '{kind}'
            GROUP BY word ORDER BY sum(n) DESC, word LIMIT {number}
        """)
        return [word for (word,) in rows]

    def most_products(self, number: int, *, of_shoppers: int) -> list[str]:
        """Return the products with the most events of those that so many shoppers touched, ties by id."""
        if not of_shoppers:
            return self.most("product", number)
        rows = self._rows(f"""
            SELECT word FROM {self._source} WHERE kind IN ('product', 'toucher') GROUP BY word
            HAVING sum(n) FILTER (kind = 'toucher') >= {of_shoppers}
            ORDER BY sum(n) FILTER (kind = 'product') DESC, word LIMIT {number}
        """)
        return [word for (word,) in rows]

    def product_names(self, products: Sequence[str]) -> dict[str, str]:
        """Return what the shop calls these products, most often; a product without a name is left out."""
        query = f"""
            SELECT word, arg_min(name, (-n, name)) FROM (
                SELECT word, name, sum(n) AS n FROM {self._source}
                WHERE kind = 'product' AND name IS NOT NULL AND word IN (SELECT unnest(CAST(? AS VARCHAR[])))
                GROUP BY word, name
            ) GROUP BY word
        """
        return dict(self._rows(query, [list(products)]))

    def common_words(self, number: int, *, of_shoppers: int) -> list[str]:
        """Return the search words that the most shoppers use, at least so many, most first, ties by name."""
        rows = self._rows(f"""
            SELECT word FROM {self._source} WHERE kind = 'search' GROUP BY word HAVING sum(n) >= {of_shoppers}
            ORDER BY sum(n) DESC, word LIMIT {number}
        """)
        return [word for (word,) in rows]

    def quantiles(self, kind: str, number: int) -> list[float]:
        """Return the rising inner edges of `number` quantiles of a kind's values; equal ones are one.

        An edge at the largest value parts nothing and is left out.
        """
        rows = self._rows(f"""
            SELECT number, sum(n) FROM {self._source} WHERE kind = '{kind}' GROUP BY number ORDER BY number
        """)
        total, edges, so_far, step = sum(n for _, n in rows), [], 0, 1
        for value, n in rows[:-1]:
            so_far += n
            if so_far * number >= step * total:
                edges.append(float(value))
                step = so_far * number // total + 1
        return edges

    @property
    def _source(self) -> str:
        return parquet_sql(bucket_files(self.folder))

    def _rows(self, query: str, values: list[object] | None = None) -> list[tuple]:
        with connect(memory_mb=self.memory_mb) as connection:
            return connection.execute(query, values).fetchall()


def count_events(
    events: Sequence[BucketEvents], until: datetime, folder: Path, *, engine: EngineConfig, rows: int | None = None
) -> Counts:
    """Count the events before an instant.

    Args:
        events: what `open_events` gives for the clean events.
        until: naive UTC; the last train cutoff.
        folder: where to write a file for each bucket; it must stay as long as the counts are used.
        rows: events of all buckets, where known.
    """
    memory_mb = engine.memory_mb
    jobs = [
        _Bucket(events=bucket, until=until, out=bucket_file(folder, number), memory_mb=memory_mb)
        for number, bucket in enumerate(events)
    ]
    run_buckets(_count_bucket, jobs, engine=engine, what="counts", rows=rows)
    return Counts(folder=folder, memory_mb=memory_mb)


def _count_bucket(bucket: _Bucket) -> None:
    with connect(memory_mb=bucket.memory_mb) as connection:
        bucket.events.create_view(connection)
        before = f"timestamp < TIMESTAMP '{bucket.until}'"
        query = f"""
            WITH train AS MATERIALIZED (
                SELECT shopper, timestamp, action, product_id, product_name, category, price, amount, query
                FROM events WHERE {before}
            )
            SELECT 'category' AS kind, category AS word, NULL::VARCHAR AS name, NULL::DOUBLE AS number, count(*) AS n
            FROM train WHERE category <> '{UNKNOWN}' GROUP BY category
            UNION ALL
            SELECT 'product', product_id, product_name, NULL, count(*)
            FROM train WHERE product_id <> '' GROUP BY product_id, product_name
            UNION ALL
            SELECT 'toucher', product_id, NULL, NULL, count(DISTINCT shopper)
            FROM train WHERE product_id <> '' GROUP BY product_id
            UNION ALL
            SELECT 'search', word, NULL, NULL, count(DISTINCT shopper)
            FROM (SELECT shopper, unnest(string_split(query, ' ')) AS word FROM train WHERE query <> '')
            WHERE NOT starts_with(word, '{MASK}') GROUP BY word
            UNION ALL
            SELECT 'price', NULL, NULL, price, count(*) FROM train WHERE price IS NOT NULL GROUP BY price
            UNION ALL
            -- What a shopper pays in a day is about what a phrase tells; in hundredths, so no order of sums counts.
            SELECT 'amount', NULL, NULL, CAST(cents AS DOUBLE) / 100, count(*) FROM (
                SELECT sum(CAST(round(amount * 100) AS BIGINT)) AS cents FROM train
                WHERE action = 'purchase' AND amount IS NOT NULL GROUP BY shopper, timestamp::DATE
            ) GROUP BY cents
        """
        write_parquet(connection, query, bucket.out)
