"""Verbalize: examples become texts, the same way for training and for scoring.

In come examples with their features and the events by bucket; out comes one text an example, in parts: a summary of
older history, its most recent phrases ("User A browsed product B, clicked product C, 2 days later purchased product C
for 12"), profile words, features as quantile words; of the unit shopper_product last which product is asked about. No
shopper and no rare product can be recognised in it, and a text depends on nothing at or after its cutoff.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import RowHash, bucket_file, bucket_files, combine_hashes, connect, parquet_sql, quote
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.text.compose import HOUR, Composer
from behavior_tasks.text.counts import count_events
from behavior_tasks.text.history import NONE, Events, Histories, find_moments, read_events
from behavior_tasks.text.names import slug
from behavior_tasks.text.parts import PartTable, Ragged, side_by_side
from behavior_tasks.text.settings import TextSettings, fit_settings

__all__ = ["TEXT_COLUMNS", "TextSettings", "verbalize_stage", "write_texts"]

TEXT_COLUMNS = ("example", "shopper", "split", "cutoff", "label", "amount", "weight")
SETTINGS_FILE = "text.json"
PHRASES_AT_ONCE = 400_000
"""Most phrases that are written at a time, about a fifth of a kilobyte each."""
MONDAY = 72
"""Hours from the Monday before 1970 to its first, a Thursday."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    events: BucketEvents
    out: Path
    settings: TextSettings
    memory_mb: int


def verbalize_stage(job: Job) -> Output:
    """Fit the text settings on train, save them, and write the texts of every bucket."""
    features, clean = job.inputs["features"], job.inputs["clean"]
    examples, events = features.path / "examples", open_events(clean)
    engine, rows = job.config.engine, clean.manifest.rows.rows_out
    with temporary_folder(job.home, "counts") as counted:
        until = _last_train_cutoff(examples)
        settings = fit_settings(
            examples,
            count_events(events, until, counted, engine=engine, rows=rows),
            job.config.text,
            min_product_shoppers=job.config.privacy.min_product_shoppers,
            lookback_days=job.config.examples.lookback_days,
            unit=features.facts["unit"],
            timezone=job.config.source.timezone,
            memory_mb=engine.memory_mb,
        )
    settings.save(job.out / SETTINGS_FILE)
    folder = job.out / "texts"
    folder.mkdir()
    jobs = [
        _Bucket(
            examples=file,
            events=bucket,
            out=bucket_file(folder, number),
            settings=settings,
            memory_mb=engine.memory_mb,
        )
        for number, (file, bucket) in enumerate(zip(bucket_files(examples), events, strict=True))
    ]
    done = run_buckets(_work_bucket, jobs, engine=engine, what="texts", rows=rows)
    total = sum(rows for rows, _ in done)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=total, rows_out=total),
        content_hash=combine_hashes(content_hash for _, content_hash in done),
        facts={
            "feature_words": len(settings.bins),
            "categories": len(settings.categories),
            "products": len(settings.products),
            "special_tokens": len(settings.special_tokens()),
        },
    )


def write_texts(
    examples: Path, events: BucketEvents, out: Path, settings: TextSettings, *, memory_mb: int = 2048
) -> tuple[int, str]:
    """Write the texts of one bucket's examples, in their order of (cutoff, shopper, product).

    Args:
        examples: Parquet file of `features`.
        events: clean events of at least the same shoppers.
        out: Parquet file to write: TEXT_COLUMNS and parts, which joined are the text.

    Returns:
        The number of rows and the hash of the rows.
    """
    with connect(memory_mb=memory_mb) as connection:
        connection.execute(f"CREATE VIEW examples AS SELECT * FROM read_parquet({quote(examples)})")
        events.create_view(connection)
        bucket = read_bucket(connection, settings)
        schema = pa.schema([*(bucket.table.schema.field(name) for name in TEXT_COLUMNS), ("parts", _LIST)])
        hashed = RowHash(schema.names)
        with pq.ParquetWriter(out, schema, compression="zstd", store_schema=False) as writer:
            for table in _texts(connection, bucket, settings):
                writer.write_table(table)
                for batch in table.to_batches():
                    hashed.update(batch)
    return len(bucket.table), hashed.hexdigest()


def make_texts(connection: duckdb.DuckDBPyConnection, settings: TextSettings) -> list[list[str]]:
    """Return the parts of the texts of a few examples, in the order of (cutoff, shopper, product).

    Args:
        connection: has `examples` with their features, and `events`, the clean events of at least their shoppers.
        settings: how texts are written.
    """
    tables = _texts(connection, read_bucket(connection, settings), settings)
    return [parts for table in tables for parts in table["parts"].to_pylist()]


def _work_bucket(bucket: _Bucket) -> tuple[int, str]:
    return write_texts(bucket.examples, bucket.events, bucket.out, bucket.settings, memory_mb=bucket.memory_mb)


_LIST = pa.list_(pa.dictionary(pa.int32(), pa.string()))


def _last_train_cutoff(examples: Path) -> datetime:
    with connect() as connection:
        source = parquet_sql(bucket_files(examples))
        found = connection.execute(f"SELECT max(cutoff) FROM {source} WHERE split = 'train'").fetchall()[0][0]
    return found or datetime.min


@dataclass(frozen=True, kw_only=True)
class ReadBucket:
    """One bucket, read: its examples in order, each with its moment, and the events of their shoppers."""

    table: pa.Table
    moment: np.ndarray
    """Place of each example in `moments`, rising, shape (examples,)."""
    who: np.ndarray
    until: np.ndarray
    """Of each moment, shape (moments,)."""
    events: Events


def read_bucket(connection: duckdb.DuckDBPyConnection, settings: TextSettings) -> ReadBucket:
    """Read one bucket's `examples` and `events`, and make the tables that number what they name."""
    connection.execute("""
        CREATE TABLE people AS SELECT shopper, CAST(row_number() OVER (ORDER BY shopper) - 1 AS INTEGER) AS who
        FROM (SELECT DISTINCT shopper FROM examples)
    """)
    wanted = ", ".join(dict.fromkeys([*TEXT_COLUMNS, "product_id", "gender", "age", "purchases", *settings.bins]))
    table = connection.sql(f"""
        SELECT {wanted}, who, epoch_us(cutoff) AS until FROM examples JOIN people USING (shopper)
        ORDER BY cutoff, shopper, product_id
    """).to_arrow_table()
    who, until = table["who"].to_numpy(), table["until"].to_numpy()
    begins = np.ones(len(who), dtype=bool)
    begins[1:] = (who[1:] != who[:-1]) | (until[1:] != until[:-1])
    return ReadBucket(
        table=table,
        moment=np.cumsum(begins) - 1,
        who=who[begins],
        until=until[begins],
        events=read_events(connection, settings.products),
    )


def _texts(connection: duckdb.DuckDBPyConnection, bucket: ReadBucket, settings: TextSettings) -> Iterator[pa.Table]:
    """Yield the texts, so many examples at a time that memory does not grow with them."""
    events = bucket.events
    moments = find_moments(events, bucket.who, bucket.until, lookback_days=settings.lookback_days)
    parts = PartTable()
    composer = Composer(settings, parts, events)
    histories = Histories(events, composer.named, last_events=settings.last_events)
    asked = _asked(connection, bucket, settings)
    before = np.append(0, np.cumsum(histories.count(moments)))
    first = 0
    while first < len(moments):
        last = max(first + 1, int(np.searchsorted(before, before[first] + PHRASES_AT_ONCE, side="right")) - 1)
        rows = slice(*np.searchsorted(bucket.moment, (first, last)))
        told = histories.phrases(moments.part(first, last))
        local = local_hours(connection, told.us, settings.timezone)
        phrases, letter = composer.phrases(told, local, events.queries)
        some, moment = moments.part(first, last), bucket.moment[rows] - first
        ended = events.us[some.high - 1] if len(events) else np.zeros(len(some), dtype=np.int64)
        blocks = {
            "older": composer.older(histories.older(some, composer.popular)).take(moment),
            "events": composer.events(phrases, told, some.until - ended).take(moment),
            "profile": _profile(composer, bucket.table[rows]),
            "features": composer.features(_numbers(bucket.table[rows], settings), len(moment)),
        }
        written = [blocks[name] for name in settings.order]
        if settings.unit == "shopper_product":
            product, category = (values[rows] for values in asked)
            letters = _letters_of(product, moment, told.moment, told.listed, letter)
            written.append(composer.question(product, letters, category))
        column = parts.column(parts.joined(side_by_side(written)))
        yield bucket.table[rows].select(TEXT_COLUMNS).append_column("parts", column)
        first = last


def _numbers(table: pa.Table, settings: TextSettings) -> dict[str, np.ndarray]:
    return {name: table[name].cast(pa.float64()).to_numpy() for name in settings.bins}


def _profile(composer: Composer, table: pa.Table) -> Ragged:
    gender = table["gender"].cast(pa.string()).combine_chunks().dictionary_encode()
    words = [slug(word) if word != UNKNOWN else "" for word in gender.dictionary.to_pylist()]
    place = gender.indices.fill_null(NONE).to_numpy().astype(np.int64)
    known = np.array([bool(word) for word in words] + [False])
    age, purchases = (table[name].cast(pa.float64()).to_numpy() for name in ("age", "purchases"))
    return composer.profile(words, np.where(known[place], place, NONE), age, purchases)


def local_hours(connection: duckdb.DuckDBPyConnection, us: np.ndarray, timezone: str) -> np.ndarray:
    """Return the whole hours from a Monday 0:00 to instants, local time, shape of `us`."""
    if timezone == "UTC":
        return us // HOUR + MONDAY
    # No zone's clock changes within a quarter of an hour, and a log has few of them.
    quarter, place = np.unique(us // (HOUR // 4), return_inverse=True)
    connection.register("quarters", pa.table({"quarter": quarter}))
    local = connection.execute(f"""
        SELECT epoch_us(timezone('{timezone}', timezone('UTC', make_timestamp(quarter * {HOUR // 4})))) AS us
        FROM quarters
    """).fetchnumpy()["us"]
    connection.unregister("quarters")
    return (np.ma.getdata(local) // HOUR + MONDAY)[place]


def _asked(connection: duckdb.DuckDBPyConnection, bucket: ReadBucket, settings: TextSettings) -> tuple[np.ndarray, ...]:
    """Return the product that each example asks about and its category, both by place; empty when it asks nothing.

    The category is the last that the shopper's history knows of it.
    """
    if settings.unit == "shopper":
        return ()
    found = connection.execute(f"""
        WITH known AS (
            -- Of one instant's categories the last by name, so that no order of rows plays a part.
            SELECT x.example, arg_max(k.number, (e.timestamp, e.category)) AS category
            FROM examples AS x JOIN events AS e
                ON e.shopper = x.shopper AND e.product_id = x.product_id AND e.timestamp < x.cutoff
                AND e.timestamp >= x.cutoff - INTERVAL {settings.lookback_days} DAY
            JOIN kinds AS k ON k.category = e.category GROUP BY x.example
        )
        SELECT coalesce(g.number, -1) AS product, coalesce(k.category, -1) AS category
        FROM examples AS x LEFT JOIN goods AS g USING (product_id) LEFT JOIN known AS k USING (example)
        ORDER BY x.cutoff, x.shopper, x.product_id
    """).fetchnumpy()
    return tuple(np.ma.getdata(found[name]).astype(np.int64) for name in ("product", "category"))


def _letters_of(
    product: np.ndarray, moment: np.ndarray, told_moment: np.ndarray, listed: np.ndarray, letter: np.ndarray
) -> np.ndarray:
    """Return the letter that each example's text has for its product; NONE when it has none."""
    step = max(int(listed.max(initial=0)), int(product.max(initial=0))) + 2
    there = letter >= 0
    keys, place = np.unique((told_moment[:, None] * step + listed)[there], return_index=True)
    if not len(keys):
        return np.full(len(product), NONE, dtype=np.int64)
    wanted = moment * step + product
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[at] == wanted) & (product >= 0), letter[there][place][at], NONE)
