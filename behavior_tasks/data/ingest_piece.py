"""Ingest of one piece of a file: its rows become events of pseudonymous shoppers, or stand aside with their reason.

In comes a piece (a byte range of a file, or a whole compressed one); out come one Parquet file of events, sorted by
shopper, and one of the rows that stand aside. The one thing to know: this is a pure function of the piece, so whoever
runs the pieces, the same rows come out; lines are counted from the piece's own first line.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.schema import EVENT_COLUMNS, PARSED_COLUMNS
from behavior_tasks.base.tables import full_disk, stream_rows, write_parquet
from behavior_tasks.data.blocks import Block
from behavior_tasks.data.buckets import connect_spilling, local_day_sql
from behavior_tasks.data.consent import NO_CONSENT, Consent, keep_consenting, register_consent
from behavior_tasks.data.identities import replace_ids
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.maskers import mask_columns
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.pieces import Piece, PieceEnd
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.side_tables import LoadedTable, fill_sql, register_side_tables
from behavior_tasks.data.tombstones import ERASED, Tombstones, without_erased

_NOTHING_ASIDE = pa.table(
    {
        "line": pa.array([], pa.int64()),
        "reason": pa.array([], pa.string()),
        "found": pa.array([], pa.string()),
        "shopper": pa.array([], pa.string()),
    }
)
PARSED_NAMES = ", ".join(c.name for c in PARSED_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class PieceJob:
    """One piece's work."""

    piece: Piece
    start: int | None
    """Where its first record begins when that is not where the piece was cut; None: at the cut."""
    is_first: bool
    layout: Layout
    tables: Mapping[str, LoadedTable]
    """Side tables, by name."""
    consent: Consent | None
    """Who consents, by the side table; None: there is none."""
    config: SourceConfig
    read_on: date
    """The day on which the file is read; later events lie in the future."""
    events: Path
    aside: Path
    spill: Path
    memory_mb: int
    key: bytes = field(repr=False)
    tombstones: Tombstones | None = None
    """Who was erased, and must not come back; None: nobody."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the events of one piece are."""

    events: int
    first: datetime | None
    """Instant, naive UTC; None without events."""
    last: datetime | None
    actions: Counter[str]
    days: Counter[date]
    """Events by local day."""
    present: frozenset[str]
    """Optional columns with any value."""


@dataclass(frozen=True, kw_only=True)
class PieceDone:
    """What one piece gave."""

    rows: int
    held: Held
    end: PieceEnd
    set_missing: Counter[str]
    """Values that were no possible age or quantity, by column."""
    counted: Counter[str]
    """Rows of which nothing is kept but their number, by reason."""


@full_disk()
def ingest_piece(job: PieceJob) -> PieceDone:
    """Write the events and the other rows of one piece."""
    rows, set_missing, counted = 0, Counter[str](), Counter[str]()
    events, aside = [], []
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        connection.execute(f"SET TimeZone = '{job.config.timezone}'")
        make_action_words(connection, job.config)
        register_consent(connection, job.consent)
        blocks = read_piece(
            job.piece,
            job.layout,
            delimiter=job.config.delimiter,
            encoding=job.config.encoding,
            is_first=job.is_first,
            start=job.start,
        )
        for block in blocks:
            if isinstance(block, PieceEnd):
                end = block
                continue
            judged = _judge(connection, block, job)
            rows += len(judged)
            judged, without = keep_consenting(connection, judged, job.consent)
            counted[NO_CONSENT] += without
            judged, gone = without_erased(judged, job.tombstones)
            counted[ERASED] += gone
            set_missing += _count_set_missing(judged)
            good, bad = _split(judged)
            events.append(good)
            aside.append(_pseudonymous(bad, job.key))
        held = _write_events(connection, events, job)
        connection.register("aside", pa.concat_tables([_NOTHING_ASIDE, *aside]))
        write_parquet(connection, "SELECT line, reason, found, shopper FROM aside ORDER BY line", job.aside)
    return PieceDone(rows=rows, held=held, end=end, set_missing=set_missing, counted=+counted)


def _judge(connection: duckdb.DuckDBPyConnection, block: Block, job: PieceJob) -> pa.Table:
    """Return the block's rows, typed, each with a reason why it can't be an event, or none."""
    query = parse_sql(job.layout, job.config, read_on=job.read_on, plain=block.plain)
    connection.register("batch", block.cells)
    judged = connection.sql(query).to_arrow_table()
    connection.unregister("batch")
    return judged


def _count_set_missing(judged: pa.Table) -> Counter[str]:
    """Return how many values were no possible age or quantity, by column; only events count."""
    counts = {
        column: pc.sum(pc.and_(judged[f"set_missing_{column}"], pc.is_null(judged["reason"]))).as_py() or 0
        for column in ("age", "quantity")
    }
    return Counter(counts)


def _split(judged: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the events, and the rows that stand aside."""
    names = [c.name for c in EVENT_COLUMNS]
    if judged["reason"].null_count == len(judged):
        return judged.select(names), judged.slice(0, 0)
    is_event = pc.is_null(judged["reason"])
    return judged.filter(is_event).select(names), judged.filter(pc.invert(is_event))


def _pseudonymous(bad: pa.Table, key: bytes) -> pa.Table:
    """Return line, reason, found and pseudonym of the rows that stand aside; none of what they say is kept."""
    bad = replace_ids(bad.sort_by("position"), key)
    return bad.select(["line", "reason", "found", "shopper"]).cast(_NOTHING_ASIDE.schema)


def _write_events(connection: duckdb.DuckDBPyConnection, events: list[pa.Table], job: PieceJob) -> Held:
    """Write the piece's events under their pseudonyms, sorted by shopper; return what they are."""
    whole = pa.concat_tables(events) if events else _no_events()
    if job.tables:
        connection.register("events", whole)
        register_side_tables(connection, job.tables)
        whole = connection.sql(fill_sql("events", tuple(whole.column_names), job.tables)).to_arrow_table()
    whole = replace_ids(mask_columns(whole), job.key)
    connection.register("events", whole)
    query = f"SELECT {PARSED_NAMES} FROM events ORDER BY shopper"
    # Only the next stage reads these files, so they are written faster and a little larger.
    for _ in stream_rows(connection, query, job.events, compression="snappy"):
        pass
    return _look_over(connection, whole, timezone=job.config.timezone)


def _look_over(connection: duckdb.DuckDBPyConnection, events: pa.Table, *, timezone: str) -> Held:
    """Return what the table `events`, the same as the one given, holds."""
    day = local_day_sql(timezone)
    counted = connection.execute(
        f"SELECT {day} AS day, action, count(*), min(timestamp), max(timestamp) FROM events GROUP BY day, action"
    ).fetchall()
    actions, days = Counter[str](), Counter[date]()
    for held_on, action, rows, _, _ in counted:
        actions[action] += rows
        days[held_on] += rows
    optional = [c.name for c in PARSED_COLUMNS if not c.required]
    return Held(
        events=len(events),
        first=min((row[3] for row in counted), default=None),
        last=max((row[4] for row in counted), default=None),
        actions=actions,
        days=days,
        present=frozenset(name for name in optional if events[name].null_count < len(events)),
    )


def _no_events() -> pa.Table:
    columns = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in EVENT_COLUMNS)
    with duckdb.connect() as connection:
        return connection.sql(f"SELECT {columns} WHERE false").to_arrow_table()
