"""Facts of shoppers: clean events and an instant in; a row a shopper of what they did before it, or after it, out.

The words are those of the features (`behavior features`): a purchase is an instant, an open cart a product that was not
bought since. The one thing to know: facts read strictly before the instant and outcomes from it on, never across.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.moment import Moment

FACTS: tuple[str, ...] = (
    "days_since_event",
    "days_since_purchase",
    "days_since_cart",
    "open_carts",
    "visits",
    "events",
    "past_purchases",
    "past_spend",
)
"""What is known of a shopper; past_spend is missing where the log states no amounts."""
DAY_SECONDS = 86_400


def facts_at(
    events: Sequence[BucketEvents], moment: Moment, lookback_days: int, *, has_amounts: bool, memory_mb: int = 2048
) -> pd.DataFrame:
    """Return what is known of every shopper with an event in the lookback, a row each: `shopper` and FACTS.

    Args:
        events: what `open_events` gives.
        moment: only events before it count.
        lookback_days: only events of so many days before it count.
        has_amounts: whether the log states amounts.
        memory_mb: DuckDB's memory.
    """
    spend = "sum(amount) FILTER (action = 'purchase')"
    query = f"""
        WITH past AS (
            SELECT * FROM events WHERE timestamp < {_literal(moment.cutoff)}
                AND timestamp >= {_literal(moment.cutoff - timedelta(days=lookback_days))}
        ),
        bought AS (
            SELECT shopper, product_id, max(timestamp) AS last FROM past
            WHERE action = 'purchase' AND product_id <> '' GROUP BY ALL
        ),
        carts AS (
            SELECT p.shopper, count(DISTINCT p.product_id) AS open_carts, max(p.timestamp) AS last_cart
            FROM past AS p LEFT JOIN bought AS b ON b.shopper = p.shopper AND b.product_id = p.product_id
            WHERE p.action = 'add_to_cart' AND p.product_id <> '' AND (b.last IS NULL OR b.last < p.timestamp)
            GROUP BY ALL
        ),
        seen AS (
            SELECT shopper, max(timestamp) AS last, count(*) AS events,
                   count(DISTINCT {_local_day(moment)}) AS visits,
                   max(timestamp) FILTER (action = 'purchase') AS last_purchase,
                   count(DISTINCT timestamp) FILTER (action = 'purchase') AS past_purchases,
                   {f"coalesce({spend}, 0.0)" if has_amounts else "CAST(NULL AS DOUBLE)"} AS past_spend
            FROM (SELECT * FROM past ORDER BY shopper, timestamp, product_id, amount) GROUP BY shopper
        )
        SELECT s.shopper, {_days("s.last", moment)} AS days_since_event,
               {_days("s.last_purchase", moment)} AS days_since_purchase,
               {_days("c.last_cart", moment)} AS days_since_cart, coalesce(c.open_carts, 0) AS open_carts, s.visits,
               s.events, s.past_purchases, s.past_spend
        FROM seen AS s LEFT JOIN carts AS c USING (shopper) ORDER BY s.shopper
    """
    return _of_buckets(events, query, memory_mb)


def outcomes_at(
    events: Sequence[BucketEvents], start: datetime, end: datetime, *, memory_mb: int = 2048
) -> pd.DataFrame:
    """Return who bought in [start, end), naive UTC, a row a buyer: `shopper`, `amount` (0 where none is stated)."""
    query = f"""
        SELECT shopper, coalesce(sum(amount), 0.0) AS amount
        FROM (SELECT * FROM events WHERE action = 'purchase' AND timestamp >= {_literal(start)}
              AND timestamp < {_literal(end)} ORDER BY shopper, timestamp, product_id, amount)
        GROUP BY shopper ORDER BY shopper
    """
    return _of_buckets(events, query, memory_mb)


def seen_before(events: Sequence[BucketEvents], cutoff: datetime, *, memory_mb: int = 2048) -> pd.Series:
    """Return who did anything before a cutoff, naive UTC: a list's shoppers, but for those erased since."""
    query = f"SELECT DISTINCT shopper FROM events WHERE timestamp < {_literal(cutoff)} ORDER BY shopper"
    return _of_buckets(events, query, memory_mb)["shopper"]


def with_outcomes(table: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the table with `bought` (0 or 1) and `amount` (0 for who bought nothing), in its own order."""
    amounts = outcomes.set_index("shopper")["amount"]
    found = table["shopper"].map(amounts).to_numpy(dtype="float64", na_value=float("nan"))
    bought = table["shopper"].isin(amounts.index)
    return table.assign(bought=bought.astype("int64"), amount=pd.Series(found, index=table.index).fillna(0.0))


def _of_buckets(events: Sequence[BucketEvents], query: str, memory_mb: int) -> pd.DataFrame:
    frames = []
    for bucket in events:
        with connect(memory_mb=memory_mb) as connection:
            bucket.create_view(connection)
            frames.append(connection.sql(query).df())
    return pd.concat(frames, ignore_index=True)


def _days(column: str, moment: Moment) -> str:
    return f"epoch({_literal(moment.cutoff)} - {column}) / {DAY_SECONDS}"


def _local_day(moment: Moment) -> str:
    return f"CAST(timezone('{moment.timezone}', timezone('UTC', timestamp)) AS DATE)"


def _literal(instant: datetime) -> str:
    return f"TIMESTAMP '{instant.isoformat(sep=' ')}'"
