"""Ingest: every row of the raw log becomes a canonical event, or stands aside in quarantine with the reason.

In comes the file that `sources` checked; out come `events/` in hash buckets of the user and `quarantine.parquet`.
The one thing to know: rows in = events + quarantined rows, to the row, and the order of the rows plays no part.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_tasks.base.artifacts import Output, Rows, hash_file
from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.progress import track
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import PARQUET_OPTIONS, bucket_file, combine_hashes, full_disk, quote, write_parquet
from behavior_tasks.data.buckets import Summary, connect_spilling, event_facts, summarise, workers_for, write_sorted
from behavior_tasks.data.layout import Layout, read_layout
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.quarantine import count_reasons, write_quarantine
from behavior_tasks.data.rawfile import check_file, first_lines, header_text, open_log
from behavior_tasks.data.reasons import refuse_if_bad
from behavior_tasks.data.records import Record, read_records
from behavior_tasks.data.sources import RawLog, find_log

BATCH_ROWS = 10_000
FLUSH_ROWS = 400_000
"""Rows held in memory before they go to the parts of their buckets."""
EVENT_NAMES = ", ".join(c.name for c in EVENT_COLUMNS)
BUCKET_SQL = "CAST('0x' || left(md5(user_id), 15) AS BIGINT) % {buckets}"
"""Bucket of a user: the first 15 hexadecimal digits of the id's MD5, which any engine can compute."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What reading the whole file gave."""

    rows: int
    set_missing: dict[str, int]
    """Values that were no possible age or quantity, by column."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    """The parts of one bucket, and where its events go."""

    parts: tuple[Path, ...]
    out: Path
    spill: Path
    memory_mb: int


@full_disk()
def ingest_stage(job: Job) -> Output:
    """Write `events/` and `quarantine.parquet`.

    Raises:
        UserError: when too many rows are bad, none is left, or the file changed since it was checked.
    """
    config, engine = job.config.source, job.config.engine
    raw = find_log(job)
    check_file(raw.path, raw.shown)
    work = job.out / ".work"
    (work / "aside").mkdir(parents=True)
    with connect_spilling(work / "spill", memory_mb=engine.memory_mb) as connection:
        read = _read_file(connection, raw, job, work)
        _check_unchanged(raw, job.inputs["source"].facts["files"][0]["sha256"])
        reasons = count_reasons(connection, work / "aside")
        refuse_if_bad(reasons, rows_in=read.rows, config=config, shown=raw.shown)
        write_quarantine(connection, work / "aside", job.out / "quarantine.parquet", file=raw.name)
    removed = {count.reason: count.rows for count in reasons}
    summaries = _write_events(work, job, rows=read.rows - sum(removed.values()))
    shutil.rmtree(work)
    rows_out = sum(s.rows for s in summaries)
    assert read.rows == rows_out + sum(removed.values()), f"{read.rows} rows became {rows_out} and {removed}"
    log.info("ingest: %d rows, %d events, quarantined: %s", read.rows, rows_out, removed)
    return Output(
        rows=Rows(unit_in="rows", unit_out="rows", rows_in=read.rows, rows_out=rows_out, removed=removed),
        content_hash=combine_hashes(s.content_hash for s in summaries),
        facts={
            **event_facts(summaries, EVENT_COLUMNS),
            "files": {raw.name: {"rows": read.rows, "events": rows_out}},
            "set_missing": read.set_missing,
        },
    )


def _check_unchanged(raw: RawLog, checked: str) -> None:
    if hash_file(raw.path) != checked:
        raise UserError(
            f"{raw.shown} changed while the run was reading it.",
            expected="the bytes that the stage `source` checked",
            next_step="wait until the export has finished, then run again",
        )


def _read_file(connection: duckdb.DuckDBPyConnection, raw: RawLog, job: Job, work: Path) -> _Read:
    """Parse the whole file, batch by batch: events to parts by bucket, other rows to parts of the quarantine."""
    config, source = job.config.source, job.inputs["source"].facts
    _make_tables(connection, config)
    counts: Counter[str] = Counter()
    with open_log(raw.path, encoding=config.encoding, shown=raw.shown) as text:
        head = first_lines(text)
        layout = read_layout(header_text(head[-1]), config, shown=raw.shown)
        query = parse_sql(layout, config, read_on=date.fromisoformat(source["read_on"]))
        records = read_records(chain(head, text), delimiter=config.delimiter, width=layout.width)
        if layout.has_header:
            next(records)
        total = 1 + source["lines"] // BATCH_ROWS
        flushes = held = 0
        for batch in track(_batches(records), what="ingest batches", total=total):
            counts += _parse(connection, batch, layout, query)
            held += len(batch)
            if held >= FLUSH_ROWS:
                _flush(connection, work, flushes, buckets=job.config.engine.buckets)
                flushes, held = flushes + 1, 0
    _flush(connection, work, flushes, buckets=job.config.engine.buckets)
    rows = counts.pop("rows", 0)
    return _Read(rows=rows, set_missing=dict(sorted(counts.items())))


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, BATCH_ROWS)):
        yield batch


def _make_tables(connection: duckdb.DuckDBPyConnection, config: SourceConfig) -> None:
    """Make the tables that hold parsed rows until they are flushed."""
    connection.execute(f"SET TimeZone = '{config.timezone}'")
    connection.execute(f"CREATE TABLE events ({', '.join(f'{c.name} {c.type}' for c in EVENT_COLUMNS)})")
    connection.execute("CREATE TABLE aside (line BIGINT, reason VARCHAR, found VARCHAR, text VARCHAR)")
    make_action_words(connection, config)


def _parse(connection: duckdb.DuckDBPyConnection, batch: Sequence[Record], layout: Layout, query: str) -> Counter[str]:
    """Type and judge a batch; return its rows and how many values were set missing, by column."""
    connection.register("batch", _to_arrow(batch, layout))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {query}")
    connection.unregister("batch")
    connection.execute(f"INSERT INTO events SELECT {EVENT_NAMES} FROM parsed WHERE reason IS NULL")
    connection.execute("INSERT INTO aside SELECT line, reason, found, text FROM parsed WHERE reason IS NOT NULL")
    age, quantity = connection.execute(
        """SELECT count(*) FILTER (set_missing_age), count(*) FILTER (set_missing_quantity)
        FROM parsed WHERE reason IS NULL"""
    ).fetchall()[0]
    return Counter(rows=len(batch), age=age, quantity=quantity)


def _to_arrow(batch: Sequence[Record], layout: Layout) -> pa.Table:
    """Return the cells that have a canonical column, as text."""
    lines, texts, rows, problems, founds = zip(*batch, strict=True)
    blank = [""] * layout.width
    cells = [row or blank for row in rows]
    columns = {
        "line": pa.array(lines, pa.int64()),
        "text": pa.array(texts, pa.large_string()),
        "problem": pa.array(problems, pa.string()),
        "problem_found": pa.array(founds, pa.string()),
    }
    for name, place in layout.places.items():
        columns[f"raw_{name}"] = pa.array([row[place] for row in cells], pa.large_string())
    return pa.table(columns)


def _flush(connection: duckdb.DuckDBPyConnection, work: Path, number: int, *, buckets: int) -> None:
    """Write the held rows to their parts and forget them."""
    rows = f"SELECT {EVENT_NAMES}, {BUCKET_SQL.format(buckets=buckets)} AS bucket FROM events"
    connection.execute(f"COPY ({rows}) TO {quote(work / 'events')} ({PARQUET_OPTIONS}, PARTITION_BY (bucket), APPEND)")
    write_parquet(connection, "SELECT * FROM aside ORDER BY line", bucket_file(work / "aside", number))
    connection.execute("TRUNCATE events")
    connection.execute("TRUNCATE aside")


def _write_events(work: Path, job: Job, *, rows: int) -> list[Summary]:
    folder = job.out / "events"
    folder.mkdir()
    jobs = [
        _Bucket(
            parts=tuple(sorted((work / "events" / f"bucket={number}").glob("*.parquet"))),
            out=bucket_file(folder, number),
            spill=work / f"spill-{number}",
            memory_mb=job.config.engine.memory_mb,
        )
        for number in range(job.config.engine.buckets)
    ]
    workers = workers_for(rows, most=job.config.engine.workers)
    return run_buckets(_write_bucket, jobs, workers=workers, what="ingest buckets")


def _write_bucket(bucket: _Bucket) -> Summary:
    """Write one bucket's events in their total order."""
    with connect_spilling(bucket.spill, memory_mb=bucket.memory_mb) as connection:
        if bucket.parts:
            parts = ", ".join(map(quote, bucket.parts))
            rows = f"read_parquet([{parts}], hive_partitioning = false)"
        else:
            empty = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in EVENT_COLUMNS)
            rows = f"(SELECT {empty} WHERE false)"
        write_sorted(connection, rows, bucket.out, EVENT_COLUMNS)
        return summarise(connection, bucket.out, EVENT_COLUMNS)
