"""Event buckets: the common ground of the stages that read and write them.

In comes the Parquet file of one bucket; out come its rows in total order and a summary that merges over the
buckets. The one thing to know: instants are naive UTC, and `present` names optional columns with any value.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow.compute as pc

from behavior_tasks.base.schema import ACTIONS, Column, order_sql
from behavior_tasks.base.tables import RowHash, connect, quote, stream_rows


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
    # DuckDB makes the folder when it first needs it, but not the folder around it.
    folder.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(memory_mb=memory_mb)
    connection.execute(f"SET temp_directory = {quote(folder)}")
    return connection


def write_events(
    connection: duckdb.DuckDBPyConnection, source: str, path: Path, columns: tuple[Column, ...]
) -> Summary:
    """Write the rows of a table or subquery, with exactly these columns, in their total order.

    Returns:
        What the file holds.
    """
    names = [c.name for c in columns]
    query = f"SELECT {', '.join(names)} FROM {source} ORDER BY {order_sql(columns)}"
    hashed, actions, present = RowHash(names), Counter[str](), set[str]()
    rows, instants = 0, list[datetime]()
    for batch in stream_rows(connection, query, path):
        rows += len(batch)
        hashed.update(batch)
        for entry in pc.value_counts(batch["action"]).to_pylist():
            actions[entry["values"]] += entry["counts"]
        present.update(c.name for c in columns if not c.required and batch[c.name].null_count < len(batch))
        instants += [pc.min(batch["timestamp"]).as_py(), pc.max(batch["timestamp"]).as_py()] if len(batch) else []
    return Summary(
        rows=rows,
        content_hash=hashed.hexdigest(),
        first=min(instants, default=None),
        last=max(instants, default=None),
        actions=dict(actions),
        present=frozenset(present),
    )


class HoldsEvents(Protocol):
    """What can say which events it holds: a `Summary` of a bucket, or of a piece of a file."""

    @property
    def first(self) -> datetime | None:
        """First instant, naive UTC."""

    @property
    def last(self) -> datetime | None:
        """Last instant, naive UTC."""

    @property
    def actions(self) -> Mapping[str, int]:
        """Events by action."""

    @property
    def present(self) -> frozenset[str]:
        """Optional columns with any value."""


def local_day_sql(timezone: str) -> str:
    """Return the SQL of an event's day in the shop's zone."""
    return f"CAST(timezone('{timezone}', timezone('UTC', timestamp)) AS DATE)"


def merge_facts(facts: Sequence[Mapping[str, Any]], columns: tuple[Column, ...]) -> dict[str, Any]:
    """Return the facts of several parts together, each as `event_facts` gives them."""
    actions: Counter[str] = sum((Counter(fact["actions"]) for fact in facts), Counter())
    present = {column for fact in facts for column in fact["present"]}
    return {
        "first": min((fact["first"] for fact in facts if fact["first"]), default=None),
        "last": max((fact["last"] for fact in facts if fact["last"]), default=None),
        "actions": {action: actions[action] for action in ACTIONS if actions[action]},
        "present": [c.name for c in columns if c.name in present],
    }


def event_facts(summaries: Iterable[HoldsEvents], columns: tuple[Column, ...]) -> dict[str, Any]:
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
