"""Ingest of one piece of a file: its rows become events of pseudonymous shoppers, or stand aside with their reason.

In comes a piece (a byte range of a file, or a whole compressed one); out come one Parquet file of events, sorted by
shopper, and one of the rows that stand aside. The one thing to know: this is a pure function of the piece, so whoever
runs the pieces, the same rows come out; lines are counted from the piece's own first line.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.schema import EVENT_COLUMNS, PARSED_COLUMNS
from behavior_tasks.base.tables import full_disk, quote, write_parquet
from behavior_tasks.data.buckets import connect_spilling
from behavior_tasks.data.identities import replace_ids
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.blocks import Block
from behavior_tasks.data.pieces import Piece, PieceEnd
from behavior_tasks.data.readers import read_piece

RUN_OPTIONS = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 8192"
"""Small row groups, so that who reads a range of shoppers reads little else."""
EVENT_NAMES = ", ".join(c.name for c in EVENT_COLUMNS)
PARSED_NAMES = ", ".join(c.name for c in PARSED_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class PieceJob:
    """One piece's work."""

    piece: Piece
    start: int | None
    """Where its first record begins when that is not where the piece was cut; None: at the cut."""
    is_first: bool
    layout: Layout
    config: SourceConfig
    read_on: date
    """The day on which the file is read; later events lie in the future."""
    events: Path
    aside: Path
    spill: Path
    memory_mb: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PieceDone:
    """What one piece gave."""

    rows: int
    end: PieceEnd
    set_missing: Counter[str]
    """Values that were no possible age or quantity, by column."""


@full_disk()
def ingest_piece(job: PieceJob) -> PieceDone:
    """Write the events and the other rows of one piece."""
    counts: Counter[str] = Counter()
    with connect_spilling(job.spill, memory_mb=job.memory_mb) as connection:
        connection.execute(f"SET TimeZone = '{job.config.timezone}'")
        connection.execute(f"CREATE TABLE events ({', '.join(f'{c.name} {c.type}' for c in PARSED_COLUMNS)})")
        connection.execute("CREATE TABLE aside (line BIGINT, reason VARCHAR, found VARCHAR, text VARCHAR)")
        make_action_words(connection, job.config)
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
            else:
                counts += _keep(connection, block, job)
        write_run(connection, f"SELECT {PARSED_NAMES} FROM events ORDER BY shopper", job.events)
        write_parquet(connection, "SELECT * FROM aside ORDER BY line", job.aside)
    rows = counts.pop("rows", 0)
    return PieceDone(rows=rows, end=end, set_missing=counts)


def write_run(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write a query's rows so that a range of shoppers can be read without the others."""
    with full_disk():
        connection.execute(f"COPY ({query}) TO {quote(path)} ({RUN_OPTIONS})")


def _keep(connection: duckdb.DuckDBPyConnection, block: Block, job: PieceJob) -> Counter[str]:
    """Type and judge a block's rows; return how many there are and how many values were set missing, by column."""
    query = parse_sql(job.layout, job.config, read_on=job.read_on, plain=block.plain)
    connection.register("batch", block.cells)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {query}")
    connection.unregister("batch")
    events = connection.sql(f"SELECT {EVENT_NAMES} FROM parsed WHERE reason IS NULL").to_arrow_table()
    connection.register("good", replace_ids(events, job.key))
    connection.execute(f"INSERT INTO events SELECT {PARSED_NAMES} FROM good")
    connection.unregister("good")
    _set_aside(connection, block)
    age, quantity = connection.execute(
        """SELECT count(*) FILTER (set_missing_age), count(*) FILTER (set_missing_quantity)
        FROM parsed WHERE reason IS NULL"""
    ).fetchall()[0]
    return Counter(rows=len(block.cells), age=age, quantity=quantity)


def _set_aside(connection: duckdb.DuckDBPyConnection, block: Block) -> None:
    bad = connection.sql(
        "SELECT position, line, reason, found FROM parsed WHERE reason IS NOT NULL ORDER BY position"
    ).to_arrow_table()
    if not len(bad):
        return
    texts = block.texts(bad.column("position").to_pylist())
    connection.register("bad", bad.set_column(0, "text", pa.array(texts, pa.large_string())))
    connection.execute("INSERT INTO aside SELECT line, reason, found, text FROM bad")
    connection.unregister("bad")
