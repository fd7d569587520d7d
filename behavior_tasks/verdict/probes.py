"""Probes: examples that nobody saw, made to ask a model about: a sample of test with one thing changed, plain shoppers.

In come the test examples, the clean events and how a model's texts are written; out come features and parts of each
probe, written by the very functions that write a run's. The one thing to know: events at or after the test cutoff are
never read, and the facts of the whole shop are those of the real log, whatever a probe's own history says.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import duckdb
import pandas as pd

from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.schema import SHOPPER_COLUMNS, order_sql
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, parquet_sql, quote, write_parquet
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_table import FeatureSettings
from behavior_tasks.examples.features import EXAMPLE_COLUMNS, write_features
from behavior_tasks.examples.market import count_market
from behavior_tasks.text.exchange import exchange_letters, exchange_names
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import write_texts

SAMPLE = 300
"""Most test examples that are probed."""
AS_IT_IS, CART, PLAIN = "as it is", "one more cart", "plain"
Table = TypeVar("Table", pd.DataFrame, pd.Series)
EVENTS = ", ".join(column.name for column in SHOPPER_COLUMNS)
TODAY_HOURS, SOON_MINUTES = 6, 5
"""A history's added event lies so many hours before the cutoff, or so many minutes after its last event."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A made-up shopper's events: whole days before the cutoff (at noon) and action."""

    name: str
    events: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What to ask a model; every table has a row a probe, with the features and `parts`, indexed as said."""

    sample: pd.DataFrame
    """The sampled test examples as they are, indexed by example."""
    exchanged: pd.Series
    """Their parts when products are called by one another's names, indexed by example; empty without texts."""
    carts: pd.DataFrame
    """The same examples with one more cart today; without those whose shopper has touched no product."""
    plain: pd.DataFrame
    """The made-up shoppers, indexed by name; empty when no product is known."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    wanted: tuple[str, ...]
    events: BucketEvents
    lookback_days: int
    folder: Path
    number: int
    memory_mb: int


def choose_sample(examples: Iterable[str], most: int = SAMPLE) -> list[str]:
    """Return so many examples, those whose ids have the lowest hashes: no luck, and no say of order or label."""
    return sorted(examples, key=lambda example: hashlib.sha256(example.encode()).digest())[:most]


def feature_settings(job: Job) -> FeatureSettings:
    """Return how the features that a job reads were made."""
    made = job.inputs["features"].manifest.settings
    return FeatureSettings(
        lookback_days=made["examples"]["lookback_days"],
        horizon_days=made["examples"]["horizon_days"],
        timezone=made["source"]["timezone"],
        unit=made["examples"]["unit"],
    )


def make_probes(job: Job, examples: Sequence[str], settings: TextSettings | None, plain: Sequence[Plain]) -> Probes:
    """Make the probes.

    Args:
        job: the evaluation, whose inputs hold features and events.
        examples: ids of the sampled test examples, at least one.
        settings: how the model's texts are written; None: it reads none.
        plain: made-up shoppers.
    """
    asked, engine, clean = feature_settings(job), job.config.engine, job.inputs["clean"]
    with temporary_folder(job.home, "probes") as name, connect(memory_mb=engine.memory_mb) as connection:
        folder, events = Path(name), open_events(clean)
        for part in ("own", "asked", "market"):
            (folder / part).mkdir()
        buckets = [
            _Bucket(
                examples=file,
                wanted=tuple(examples),
                events=bucket,
                lookback_days=asked.lookback_days,
                folder=folder,
                number=number,
                memory_mb=engine.memory_mb,
            )
            for number, (file, bucket) in enumerate(
                zip(bucket_files(job.inputs["features"].path / "examples"), events, strict=True)
            )
        ]
        rows = clean.manifest.rows.rows_out
        cutoff = max(
            found for found in run_buckets(_take_bucket, buckets, engine=engine, what="probes", rows=rows) if found
        )
        market = count_market(events, [cutoff], folder / "market", lookback_days=asked.lookback_days, engine=engine)
        _write_probes(connection, folder, cutoff, plain)
        probed = BucketEvents(files=(folder / "events.parquet",))
        chosen, made = folder / "chosen.parquet", folder / "examples.parquet"
        write_features(chosen, probed, market, made, asked, memory_mb=engine.memory_mb)
        table = pd.read_parquet(made).set_index("example").drop(columns=list(set(EXAMPLE_COLUMNS) - {"example"}))
        table["parts"] = [[]] * len(table)
        exchanged = pd.Series(dtype=object)
        if settings is not None:
            table["parts"] = _texts(made, probed, settings, engine.memory_mb)
            others = _texts(made, probed, exchange_names(settings), engine.memory_mb)
            exchanged = others.map(lambda parts: exchange_letters(parts, settings))
    return Probes(
        sample=_of_kind(table, AS_IT_IS),
        exchanged=_of_kind(exchanged, AS_IT_IS),
        carts=_of_kind(table, CART),
        plain=_of_kind(table, PLAIN),
    )


def _of_kind(table: Table, kind: str) -> Table:
    mine = table[[str(name).startswith(f"{kind} ") for name in table.index]]
    return mine.set_axis([str(name).removeprefix(f"{kind} ") for name in mine.index])


def _texts(examples: Path, events: BucketEvents, settings: TextSettings, memory_mb: int) -> pd.Series:
    out = examples.with_name("texts.parquet")
    write_texts(examples, events, out, settings, memory_mb=memory_mb)
    return pd.read_parquet(out, columns=["example", "parts"]).set_index("example")["parts"].map(list)


def _take_bucket(bucket: _Bucket) -> datetime | None:
    """Write the sampled examples of one bucket and the events of their histories.

    Returns:
        Their cutoff, None when there are none.
    """
    with connect(memory_mb=bucket.memory_mb) as connection:
        own = ", ".join(EXAMPLE_COLUMNS)
        asked = bucket_file(bucket.folder / "asked", bucket.number)
        connection.execute(
            "CREATE TABLE wanted AS SELECT unnest(CAST(? AS VARCHAR[])) AS example", [list(bucket.wanted)]
        )
        source = f"read_parquet({quote(bucket.examples)})"
        write_parquet(
            connection, f"SELECT {own} FROM {source} SEMI JOIN wanted USING (example) ORDER BY example", asked
        )
        bucket.events.create_view(connection)
        query = f"""
            SELECT {EVENTS} FROM events JOIN (SELECT DISTINCT shopper, cutoff FROM read_parquet({quote(asked)}))
            USING (shopper) WHERE timestamp < cutoff AND timestamp >= cutoff - INTERVAL {bucket.lookback_days} DAY
        """
        write_parquet(connection, query, bucket_file(bucket.folder / "own", bucket.number))
        cutoff: datetime | None = connection.execute(
            f"SELECT max(cutoff) FROM read_parquet({quote(asked)})"
        ).fetchall()[0][0]
        return cutoff


def _write_probes(
    connection: duckdb.DuckDBPyConnection, folder: Path, cutoff: datetime, plain: Sequence[Plain]
) -> None:
    """Write events and examples of all probes; each is a shopper of its own, whatever the unit."""
    for name in ("own", "asked"):
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {parquet_sql(bucket_files(folder / name))}")
    connection.execute(_SAMPLE.format(cutoff=cutoff, order=order_sql(SHOPPER_COLUMNS)))
    rows = [(f"{PLAIN} {one.name}", days, action) for one in plain for days, action in one.events]
    connection.execute("CREATE TABLE plans (example VARCHAR, days INTEGER, action VARCHAR)")
    if rows:
        connection.executemany("INSERT INTO plans VALUES (?, ?, ?)", rows)
    connection.execute(_PLAIN.format(cutoff=cutoff, order=order_sql(SHOPPER_COLUMNS)))
    write_parquet(
        connection,
        f"""
        SELECT {EVENTS} FROM as_they_are UNION ALL SELECT {EVENTS} FROM with_carts
        UNION ALL SELECT {EVENTS} FROM made_up
        """,
        folder / "events.parquet",
    )
    kept = ", ".join(name for name in EXAMPLE_COLUMNS if name not in ("example", "shopper", "product_id"))
    write_parquet(
        connection,
        f"""
        SELECT '{AS_IT_IS} ' || example AS example, '{AS_IT_IS} ' || example AS shopper, product_id, {kept} FROM asked
        UNION ALL
        SELECT '{CART} ' || example, '{CART} ' || example, product_id, {kept} FROM asked
        WHERE '{CART} ' || example IN (SELECT shopper FROM with_carts)
        UNION ALL
        SELECT shopper, shopper, any_value(product_id), 'test', TIMESTAMP '{cutoff}', 0, 0.0, 1.0
        FROM (SELECT shopper, CASE WHEN (SELECT bool_and(product_id IS NULL) FROM asked) THEN NULL ELSE product_id END
              AS product_id FROM made_up)
        GROUP BY shopper
        ORDER BY ALL
        """,
        folder / "chosen.parquet",
    )


_SAMPLE = f"""
    CREATE TABLE histories AS
    SELECT example, wanted, own.* FROM own
    JOIN (SELECT example, shopper, product_id AS wanted FROM asked) USING (shopper);
    CREATE TABLE as_they_are AS SELECT * REPLACE ('{AS_IT_IS} ' || example AS shopper) FROM histories;
    CREATE TABLE with_carts AS
    WITH touched AS (
        SELECT * FROM histories WHERE product_id <> '' AND product_id = coalesce(wanted, product_id)
        QUALIFY row_number() OVER (PARTITION BY example ORDER BY {{order}}) = count(*) OVER (PARTITION BY example)
    ),
    added AS (
        SELECT * REPLACE (
            'add_to_cart' AS action, NULL AS amount, NULL AS query,
            least(
                TIMESTAMP '{{cutoff}}' - INTERVAL 1 MICROSECOND,
                greatest(
                    TIMESTAMP '{{cutoff}}' - INTERVAL {TODAY_HOURS} HOUR, last + INTERVAL {SOON_MINUTES} MINUTE
                )
            ) AS timestamp
        )
        FROM touched JOIN (SELECT example, max(timestamp) AS last FROM histories GROUP BY example) USING (example)
    )
    SELECT * REPLACE ('{CART} ' || example AS shopper) FROM (
        SELECT * FROM histories WHERE example IN (SELECT example FROM added)
        UNION ALL SELECT * EXCLUDE (last) FROM added
    );
"""
"""SQL: the sample's events under a name of their own, and the same with one event more at the end."""
_PLAIN = """
    CREATE TABLE made_up AS
    WITH favourite AS (
        SELECT product_id FROM own WHERE product_id <> '' GROUP BY product_id
        ORDER BY count(*) FILTER (action = 'purchase') DESC, count(*) DESC, product_id LIMIT 1
    ),
    pattern AS (
        SELECT * FROM own SEMI JOIN favourite USING (product_id)
        QUALIFY row_number() OVER (ORDER BY action <> 'purchase', {order}) = 1
    )
    SELECT pattern.* REPLACE (
        example AS shopper, plans.action AS action, NULL AS query,
        TIMESTAMP '{cutoff}' - to_days(plans.days) - INTERVAL 12 HOUR AS timestamp,
        CASE WHEN plans.action = 'purchase' THEN coalesce(pattern.amount, pattern.price) END AS amount
    )
    FROM plans CROSS JOIN pattern;
"""
"""SQL: events of the made-up shoppers, all on the product that the sample buys most often."""
