"""Event buckets: the common ground of the stages that read and write them.

In comes the Parquet file of one bucket; out come its rows in total order and a summary that merges over the
buckets. The one thing to know: instants are naive UTC, and `present` names optional columns with any value.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.schema import ACTIONS, Column, order_sql
from behavior_tasks.base.tables import connect, hash_rows, quote, write_parquet


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one bucket holds."""

    rows: int
    content_hash: str
    first: datetime | None
    last: datetime | None
    actions: dict[str, int]
    present: frozenset[str]


def connect_spilling(folder: Path, *, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Return a connection that puts what exceeds its memory into a folder of its own."""
    connection = connect(memory_mb=memory_mb)
    connection.execute(f"SET temp_directory = {quote(folder)}")
    return connection


def write_sorted(connection: duckdb.DuckDBPyConnection, source: str, path: Path, columns: tuple[Column, ...]) -> None:
    """Write the rows of a table or subquery, with exactly these columns, in their total order."""
    names = ", ".join(c.name for c in columns)
    write_parquet(connection, f"SELECT {names} FROM {source} ORDER BY {order_sql(columns)}", path)


def summarise(connection: duckdb.DuckDBPyConnection, path: Path, columns: tuple[Column, ...]) -> Summary:
    """Return what a bucket's file of these columns holds."""
    optional = [c.name for c in columns if not c.required]
    counts = ", ".join(f"count({name}) > 0" for name in optional)
    source = f"FROM read_parquet({quote(path)})"
    row = connection.execute(f"SELECT count(*), min(timestamp), max(timestamp), {counts} {source}").fetchall()[0]
    actions = connection.execute(f"SELECT action, count(*) {source} GROUP BY action").fetchall()
    return Summary(
        rows=row[0],
        content_hash=hash_rows(connection, path),
        first=row[1],
        last=row[2],
        actions=dict(actions),
        present=frozenset(name for name, there in zip(optional, row[3:], strict=True) if there),
    )


def event_facts(summaries: Iterable[Summary], columns: tuple[Column, ...]) -> dict[str, Any]:
    """Return the facts of all buckets: first, last (ISO, naive UTC), actions and present columns."""
    parts = list(summaries)
    actions: Counter[str] = Counter()
    for part in parts:
        actions.update(part.actions)
    present = frozenset[str]().union(*(part.present for part in parts))
    firsts = [part.first for part in parts if part.first is not None]
    lasts = [part.last for part in parts if part.last is not None]
    return {
        "first": min(firsts).isoformat() if firsts else None,
        "last": max(lasts).isoformat() if lasts else None,
        "actions": {action: actions[action] for action in ACTIONS if actions[action]},
        "present": [c.name for c in columns if c.name in present],
    }
