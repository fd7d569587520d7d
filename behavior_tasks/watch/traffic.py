"""Traffic: today's clean events and what stands aside in; one row a local day with what came, out.

Counts of every action, shoppers, products never seen before, known prices, prices that moved, rows in milliseconds; and
shoppers by category. The one thing to know: a day without any event is a row of zeros, so a gap is seen as one.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd

from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.watch.matured import Log

MOVED = 1.1
"""A price this many times its usual one, or less than one through it, has moved."""
USUAL = 3
"""Priced events that a product needs before it has a usual price."""
COLUMNS: tuple[str, ...] = (
    "events", "shoppers", "named", "new_products", "priced", "priced_products", "dearer", "cheaper", "milliseconds",
    *ACTIONS,
)  # fmt: skip
"""Columns of `traffic.parquet` beside `day`. `named` events name a product, `new_products` one that no earlier day had;
`priced_products` had a price and a usual one, which was moved up (`dearer`) or down; `milliseconds` stand aside."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What came, day by day, up to the last whole day."""

    days: pd.DataFrame
    """COLUMNS, one row a local day (index: dates), without a gap."""
    categories: pd.DataFrame
    """Shoppers by category: a row a local day, a column a category."""
    moved: pd.DataFrame
    """Products priced on the last day by category: `category`, `products`, `dearer`, `cheaper`."""


def count_traffic(log: Log, quarantine: Path, *, days: int, memory_mb: int = 2048) -> Traffic:
    """Count what came on each of the last days before the moment.

    Args:
        log: today's.
        quarantine: `quarantine.parquet` of the ingest.
        days: how far back.
        memory_mb: for DuckDB.
    """
    last = log.moment.as_of - timedelta(days=1)
    first = last - timedelta(days=days - 1)
    with connect(memory_mb=memory_mb) as connection:
        _gather(connection, log, first)
        counted = connection.execute(_DAYS_SQL).df().set_index("day")
        categories = connection.execute(
            "SELECT day, category, sum(shoppers) AS shoppers FROM kinds GROUP BY ALL ORDER BY ALL"
        ).df()
        moved = connection.execute(_MOVED_SQL, [last]).df()
        aside = connection.execute(_milliseconds_sql(quarantine, log.moment.timezone)).df().set_index("day")
        began = connection.execute("SELECT min(day) FROM firsts").fetchone()
    start = max(first, began[0]) if began and began[0] else first
    index = pd.Index([start + timedelta(days=n) for n in range((last - start).days + 1)], name="day")
    wide = categories.pivot(index="day", columns="category", values="shoppers")
    table = _by_day(counted).join(_by_day(aside), how="outer").reindex(index=index, columns=list(COLUMNS))
    return Traffic(days=table.fillna(0).astype("int64"), categories=_by_day(wide).reindex(index).fillna(0), moved=moved)


def _by_day(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with plain dates as its index."""
    return table.set_axis(pd.Index(pd.to_datetime(table.index).date, name="day"))


def _gather(connection: duckdb.DuckDBPyConnection, log: Log, first: date) -> None:
    """Make the tables `lines`, `people`, `kinds` and `firsts` bucket by bucket; a shopper lies in one bucket only."""
    day = f"CAST(timezone('{log.moment.timezone}', timezone('UTC', timestamp)) AS DATE)"
    before = f"timestamp < TIMESTAMP '{log.moment.cutoff}'"
    made = False
    for bucket in log.events:
        source = f"(SELECT *, {day} AS day FROM ({bucket.sql()}) WHERE {before})"
        recent = f"{source} WHERE day >= DATE '{first}'"
        queries = {
            "lines": f"SELECT day, action, product_id, category, price, count(*) AS n FROM {recent} GROUP BY ALL",
            "people": f"SELECT day, count(DISTINCT shopper) AS shoppers FROM {recent} GROUP BY day",
            "kinds": f"""SELECT day, category, count(DISTINCT shopper) AS shoppers FROM {recent}
                AND category IS NOT NULL GROUP BY ALL""",
            "firsts": f"SELECT product_id, min(day) AS day FROM {source} GROUP BY product_id",
        }
        for name, query in queries.items():
            connection.execute(f"INSERT INTO {name} {query}" if made else f"CREATE TABLE {name} AS {query}")
        made = True
    connection.execute(
        """
        CREATE TABLE prices AS
        WITH daily AS (
            SELECT day, product_id, min(category) AS category,
                   quantile_cont(price, 0.5) AS price, sum(n) AS n
            FROM lines WHERE price > 0 AND product_id <> '' GROUP BY day, product_id
        )
        SELECT *, quantile_cont(price, 0.5) OVER earlier AS usual, coalesce(sum(n) OVER earlier, 0) AS seen
        FROM daily WINDOW earlier AS (
            PARTITION BY product_id ORDER BY day RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING
        )
        """
    )


_ACTIONS_SQL = ", ".join(f"coalesce(sum(n) FILTER (action = '{action}'), 0) AS \"{action}\"" for action in ACTIONS)
_DAYS_SQL = f"""
    WITH counted AS (
        SELECT l.day, sum(n) AS events, coalesce(sum(n) FILTER (l.product_id <> ''), 0) AS named,
               coalesce(sum(n) FILTER (l.product_id <> '' AND f.day = l.day), 0) AS new_products,
               coalesce(sum(n) FILTER (price IS NOT NULL), 0) AS priced, {_ACTIONS_SQL}
        FROM lines AS l
        LEFT JOIN (SELECT product_id, min(day) AS day FROM firsts GROUP BY product_id) AS f USING (product_id)
        GROUP BY l.day
    ),
    moves AS (
        SELECT day, count(*) AS priced_products, count(*) FILTER (price > usual * {MOVED}) AS dearer,
               count(*) FILTER (price * {MOVED} < usual) AS cheaper
        FROM prices WHERE seen >= {USUAL} GROUP BY day
    )
    SELECT * FROM counted LEFT JOIN moves USING (day)
    LEFT JOIN (SELECT day, sum(shoppers) AS shoppers FROM people GROUP BY day) USING (day)
    ORDER BY day
"""
_MOVED_SQL = f"""
    SELECT coalesce(category, '') AS category, count(*) AS products,
           count(*) FILTER (price > usual * {MOVED}) AS dearer, count(*) FILTER (price * {MOVED} < usual) AS cheaper
    FROM prices WHERE seen >= {USUAL} AND day = ? GROUP BY ALL ORDER BY ALL
"""


def _milliseconds_sql(quarantine: Path, timezone: str) -> str:
    """SQL of how many rows of each local day stand aside because their time is in milliseconds."""
    instant = "make_timestamp(CAST(found AS BIGINT) * 1000)"
    return f"""
        SELECT CAST(timezone('{timezone}', timezone('UTC', {instant})) AS DATE) AS day, count(*) AS milliseconds
        FROM read_parquet({quote(quarantine)})
        WHERE reason = 'milliseconds_for_seconds' AND regexp_full_match(found, '[0-9]{{13}}')
        GROUP BY ALL ORDER BY ALL
    """
