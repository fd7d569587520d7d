"""A preview: what some settings make of a sample, as events with masked ids, and what would stand aside.

In come a sample and settings; out come counts and the first events. The one thing to know: ids never leave here, a
shopper is `shopper 1`, a product `product 1`, in the order in which they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.tables import connect
from behavior_tasks.data.codes import literal
from behavior_tasks.data.layout import layout_of_names
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.sample import Sample

FIRST_EVENTS = 8
MASKED = {"user_id": "shopper", "product_id": "product"}
HIDDEN = "query"
"""What people type may hold names, so only that there is something is shown."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What settings make of a sample."""

    rows: int
    """Rows looked at, those of another width included."""
    removed: Mapping[str, int]
    """Reason → rows that would stand aside."""
    actions: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    """The first and last instant of the events, naive UTC."""
    events: tuple[Mapping[str, Any], ...]
    """The first events, ids masked; columns without a value in any of them are left out."""

    def good_share(self, config: SourceConfig) -> float:
        """The share of rows that are events, or stand aside for a reason that is not bad."""
        bad = sum(n for reason, n in self.removed.items() if reason not in config.reasons_that_are_not_bad)
        return 1 - bad / self.rows if self.rows else 0.0


def preview(sample: Sample, config: SourceConfig, *, today: date) -> Preview:
    """Return what some settings make of a sample.

    Args:
        today: the day of reading; later times are in the future.
    """
    names = config.header if config.header is not None else sample.names
    layout = layout_of_names(names, config, shown="the sample")
    count = len(sample.rows)
    columns: dict[str, pa.Array] = {
        "position": pa.array(range(count), pa.int64()),
        "line": pa.array(range(count), pa.int64()),
        "text": pa.nulls(count, pa.large_string()),
        "problem": pa.nulls(count, pa.string()),
        "problem_found": pa.nulls(count, pa.string()),
    }
    for name, place in layout.places.items():
        columns[f"raw_{name}"] = pa.array([row[place] for row in sample.rows], pa.large_string())
    with connect(memory_mb=1024) as connection:
        connection.execute(f"SET TimeZone = {literal(config.timezone)}")
        make_action_words(connection, config)
        connection.register("batch", pa.table(columns))
        connection.execute(f"CREATE TABLE parsed AS {parse_sql(layout, config, read_on=today)}")
        removed = _counts(connection, "reason", "reason IS NOT NULL")
        actions = _counts(connection, "action", "reason IS NULL")
        span = "SELECT min(timestamp), max(timestamp) FROM parsed WHERE reason IS NULL"
        first, last = connection.execute(span).fetchall()[0]
        wanted = [c.name for c in EVENT_COLUMNS]
        rows = connection.execute(
            f"SELECT {', '.join(wanted)} FROM parsed WHERE reason IS NULL ORDER BY line LIMIT {FIRST_EVENTS}"
        ).fetchall()
    if sample.skipped:
        removed["wrong_column_count"] = removed.get("wrong_column_count", 0) + sample.skipped
    return Preview(
        rows=count + sample.skipped,
        removed=removed,
        actions=actions,
        first=first,
        last=last,
        events=_masked([dict(zip(wanted, row, strict=True)) for row in rows]),
    )


def _counts(connection: duckdb.DuckDBPyConnection, column: str, condition: str) -> dict[str, int]:
    """Return how often each value comes, most frequent first."""
    query = f"SELECT {column}, count(*) FROM parsed WHERE {condition} GROUP BY 1 ORDER BY 2 DESC, 1"
    return dict(connection.execute(query).fetchall())


def _masked(rows: list[dict[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    known: dict[str, dict[str, str]] = {name: {} for name in MASKED}
    for row in rows:
        for name, word in MASKED.items():
            if row[name] is not None:
                row[name] = known[name].setdefault(row[name], f"{word} {len(known[name]) + 1}")
        row[HIDDEN] = "…" if row[HIDDEN] else None
    kept = [name for name in (rows[0] if rows else ()) if any(row[name] is not None for row in rows)]
    return tuple({name: row[name] for name in kept} for row in rows)
