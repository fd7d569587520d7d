"""Velocity rules: a bucket's clean events and a window in; for each shopper active in it, the value of every rule out.

A rule is one number a shopper, more of which is more unusual, and the words that tell it. The one thing to know: a
value is empty where the log can't tell it, such as money without prices or a departure from a past that is too short.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

import duckdb
import pandas as pd

from behavior_tasks.base.application_config import RiskConfig, RuleName
from behavior_tasks.base.schema import ACTION_RANK_SQL
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.moment import Moment

PAST_EVENTS, PAST_PURCHASES = 20, 3
"""A shopper with fewer before the window has no habits that could be broken."""
NIGHT_UNTIL = 6
"""Local hour at which the night ends; it begins at midnight."""
RARE = 0.05
"""Share of a shopper's past below which an hour, with its neighbours, or a category is strange to them."""
SMALL = 5
"""A purchase is small beside one of so many times its amount."""
SESSION = "INTERVAL 30 MINUTE"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One velocity rule."""

    words: str
    """What is said of a shopper, with {value} in it."""
    least: float
    """A value up to this is nothing to talk about, however rare it is in this shop."""


RULES: dict[RuleName, Rule] = {
    "events_per_minute": Rule(words="{value} events within a minute", least=15),
    "events_per_hour": Rule(words="{value} events within an hour", least=60),
    "products_per_minute": Rule(words="{value} products within a minute", least=10),
    "session_events": Rule(words="{value} events without a pause of half an hour", least=60),
    "products_in_order": Rule(words="{value} products one after the other in the order of their ids", least=10),
    "purchases_per_hour": Rule(words="{value} purchases within an hour", least=2),
    "small_before_large": Rule(words="{value} small purchases within a day before a large one", least=1),
    "largest_purchase": Rule(words="a purchase of {value}", least=0),
    "spend_against_own": Rule(words="spent {value} times what is usual for this shopper", least=3),
    "basket_against_own": Rule(words="a purchase of {value} times this shopper's usual amount", least=3),
    "carts_without_views": Rule(words="{value} products in the cart or bought that were never looked at", least=2),
    "returns": Rule(words="{value} returns", least=1),
    "returns_against_purchases": Rule(words="{value} returns for each purchase", least=0.5),
    "night_events": Rule(words="{value} more events at night than usual for this shopper", least=5),
    "odd_hours": Rule(words="{value} events at hours at which this shopper is hardly ever there", least=5),
    "strange_categories": Rule(words="{value} events in categories that this shopper hardly ever touches", least=5),
    "price_against_own": Rule(words="prices {value} times as high as usual for this shopper", least=2),
}
assert tuple(RULES) == get_args(RuleName)
FACTS = ("events", "purchases", "spent", "returned")
"""Of each shopper in the window: numbers of events and of purchases (instants), money paid and money back."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is measured."""

    moment: Moment
    days: int
    history_days: int
    most: int | None = None
    """So many shoppers of each bucket, the first by pseudonym, which is as good as by lot; None: all."""

    @property
    def since(self) -> datetime:
        """Its first instant, naive UTC."""
        return self.moment.cutoff - timedelta(days=self.days)

    @classmethod
    def of(cls, moment: Moment, config: RiskConfig, *, most: int | None = None) -> "Window":
        """Return the window that ends at a moment."""
        return cls(moment=moment, days=config.days, history_days=config.history_days, most=most)


def measure_rules(connection: duckdb.DuckDBPyConnection, events: BucketEvents, window: Window) -> pd.DataFrame:
    """Return `shopper`, FACTS and a column for every rule, a row for each shopper with an event in the window.

    Args:
        connection: a fresh one.
        events: clean events of a bucket.
        window: who is measured, and when.

    Rows are in order of shopper.
    """
    since, cutoff, timezone = window.since, window.moment.cutoff, window.moment.timezone
    # Amounts as they were logged: what is replaced as an outlier for a model is just what is looked for here.
    connection.execute(f"CREATE VIEW events AS {events.stored_sql()}")
    within = f"timestamp >= TIMESTAMP '{since}' AND timestamp < TIMESTAMP '{cutoff}'"
    limit = "" if window.most is None else f"LIMIT {window.most}"
    connection.execute(f"SET VARIABLE since = TIMESTAMP '{since}'")
    connection.execute(f"SET VARIABLE days = {window.days}")
    connection.execute(f"""
        CREATE TABLE told AS
        SELECT shopper, timestamp, timezone('{timezone}', timezone('UTC', timestamp)) AS local, action, product_id,
               category, coalesce(price, amount / nullif(quantity, 0)) AS price, amount,
               timestamp >= TIMESTAMP '{since}' AS recent, {ACTION_RANK_SQL} AS rank
        FROM events WHERE timestamp < TIMESTAMP '{cutoff}'
            AND timestamp >= TIMESTAMP '{cutoff}' - INTERVAL {window.history_days} DAY
            AND shopper IN (SELECT DISTINCT shopper FROM events WHERE {within} ORDER BY shopper {limit})
    """)
    connection.execute("""
        CREATE TABLE baskets AS
        SELECT shopper, timestamp, recent, sum(amount) AS amount FROM told WHERE action = 'purchase' GROUP BY ALL
    """)
    joins = "\n".join(f"LEFT JOIN ({query}) USING (shopper)" for query in (*_PACE, *_MONEY, *_HABITS))
    columns = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in (*FACTS, *RULES))
    return connection.execute(f"SELECT shopper, {columns} FROM ({_FACTS}) {joins} ORDER BY shopper").df()


_FACTS = """
    SELECT shopper, count(*) AS events, count(DISTINCT timestamp) FILTER (action = 'purchase') AS purchases,
           sum(amount) FILTER (action = 'purchase') AS spent, sum(amount) FILTER (action = 'return') AS returned,
           count(*) FILTER (action = 'return') AS returns
    FROM told WHERE recent GROUP BY shopper
"""
_PACE = (
    """SELECT shopper, max(a_minute) AS events_per_minute, max(an_hour) AS events_per_hour FROM (
        SELECT shopper, count(*) OVER (last RANGE BETWEEN INTERVAL 59 SECOND PRECEDING AND CURRENT ROW) AS a_minute,
               count(*) OVER (last RANGE BETWEEN INTERVAL 3599 SECOND PRECEDING AND CURRENT ROW) AS an_hour
        FROM told WHERE recent WINDOW last AS (PARTITION BY shopper ORDER BY timestamp)
    ) GROUP BY shopper""",
    """SELECT shopper, max(products) AS products_per_minute FROM (
        SELECT shopper, count(DISTINCT product_id) AS products FROM told
        WHERE recent AND product_id <> '' GROUP BY shopper, date_trunc('minute', timestamp)
    ) GROUP BY shopper""",
    f"""SELECT shopper, max(n) AS session_events FROM (
        SELECT shopper, count(*) AS n FROM (
            SELECT shopper, sum(opens) OVER (PARTITION BY shopper ORDER BY timestamp) AS session FROM (
                SELECT shopper, timestamp, CAST(coalesce(timestamp - lag(timestamp) OVER (
                    PARTITION BY shopper ORDER BY timestamp) > {SESSION}, false) AS INTEGER) AS opens
                FROM told WHERE recent
            )
        ) GROUP BY shopper, session
    ) GROUP BY shopper""",
    # Runs of rising ids; a product that is touched again at once neither breaks a run nor makes it longer.
    """SELECT shopper, max(n) AS products_in_order FROM (
        SELECT shopper, count(*) AS n FROM (
            SELECT shopper, sum(breaks) OVER (
                PARTITION BY shopper ORDER BY timestamp, rank, product_id ROWS UNBOUNDED PRECEDING) AS run
            FROM (
                SELECT shopper, timestamp, rank, product_id,
                       CAST(before IS NOT NULL AND (length(product_id), product_id) < (length(before), before)
                           AS INTEGER) AS breaks
                FROM (
                    SELECT *, lag(product_id) OVER (
                        PARTITION BY shopper ORDER BY timestamp, rank, product_id) AS before
                    FROM told WHERE recent AND product_id <> ''
                ) WHERE before IS NULL OR before <> product_id
            )
        ) GROUP BY shopper, run
    ) GROUP BY shopper""",
    """SELECT shopper, max(n) AS purchases_per_hour FROM (
        SELECT shopper, count(*) OVER (
            PARTITION BY shopper ORDER BY timestamp RANGE BETWEEN INTERVAL 3599 SECOND PRECEDING AND CURRENT ROW) AS n
        FROM baskets WHERE recent
    ) GROUP BY shopper""",
    # In a shop that logs no views, nobody looks at anything, and that says nothing.
    """SELECT shopper, count(*) AS carts_without_views FROM (
        SELECT shopper, product_id FROM told WHERE product_id <> '' AND action <> 'search'
            AND EXISTS (SELECT 1 FROM told WHERE action IN ('browse', 'click', 'favourite')) GROUP BY ALL
        HAVING count(*) FILTER (recent AND action IN ('add_to_cart', 'purchase')) > 0
            AND count(*) FILTER (action IN ('browse', 'click', 'favourite')) = 0
            AND min(timestamp) FILTER (action IN ('add_to_cart', 'purchase')) >= min(timestamp) FILTER (recent)
    ) GROUP BY shopper""",
)
_MONEY = (
    f"""SELECT b.shopper, max(n) AS small_before_large FROM (
        SELECT large.shopper, large.timestamp, count(*) AS n FROM baskets AS large JOIN baskets AS small
            ON small.shopper = large.shopper AND small.timestamp < large.timestamp
            AND small.timestamp >= large.timestamp - INTERVAL 1 DAY AND small.amount * {SMALL} <= large.amount
        WHERE large.recent GROUP BY ALL
    ) AS b GROUP BY b.shopper""",
    # Usual is what the past paid in as many days, and no less than a usual purchase.
    f"""SELECT shopper, CASE WHEN past >= {PAST_PURCHASES} THEN spent / nullif(greatest(usual, paid
                * getvariable('days') / greatest(date_diff('day', first, getvariable('since')), getvariable('days'))
            ), 0) END AS spend_against_own,
            CASE WHEN past >= {PAST_PURCHASES} THEN dearest / nullif(usual, 0) END AS basket_against_own,
            dearest AS largest_purchase
        FROM (
            SELECT shopper, count(*) FILTER (NOT recent) AS past, median(amount) FILTER (NOT recent) AS usual,
                   sum(amount) FILTER (NOT recent) AS paid, min(timestamp) AS first,
                   sum(amount) FILTER (recent) AS spent, max(amount) FILTER (recent) AS dearest
            FROM baskets GROUP BY shopper
        )""",
    """SELECT shopper, CASE WHEN bool_or(recent AND action = 'return') THEN
            count(*) FILTER (action = 'return') / (1.0 + count(DISTINCT timestamp) FILTER (action = 'purchase')) END
            AS returns_against_purchases
        FROM told GROUP BY shopper""",
    f"""SELECT shopper, CASE WHEN count(price) FILTER (NOT recent) >= {PAST_EVENTS} THEN median(price) FILTER (recent)
            / nullif(median(price) FILTER (NOT recent), 0) END AS price_against_own
        FROM told GROUP BY shopper""",
)
_HABITS = (
    f"""SELECT shopper, count(*) FILTER (recent AND hour(local) < {NIGHT_UNTIL}) - count(*) FILTER (recent)
            * (1 + count(*) FILTER (NOT recent AND hour(local) < {NIGHT_UNTIL})) / (4 + count(*) FILTER (NOT recent))
            AS night_events
        FROM told GROUP BY shopper""",
    # An hour is odd when the past was hardly ever there at it and at the hours beside it.
    f"""SELECT shopper, sum(fresh) AS odd_hours FROM (
            SELECT n.shopper, n.h, any_value(n.fresh) AS fresh,
                   coalesce(sum(p.own) FILTER ((n.h - p.h + 24) % 24 IN (0, 1, 23)), 0) / sum(p.own) AS own
            FROM (SELECT shopper, hour(local) AS h, count(*) AS fresh FROM told WHERE recent GROUP BY ALL) AS n
            JOIN (SELECT shopper, hour(local) AS h, count(*) AS own FROM told WHERE NOT recent GROUP BY ALL) AS p
                USING (shopper)
            GROUP BY n.shopper, n.h HAVING sum(p.own) >= {PAST_EVENTS}
        ) WHERE own < {RARE} GROUP BY shopper""",
    f"""SELECT shopper, sum(fresh) AS strange_categories FROM (
        SELECT shopper, category, count(*) FILTER (recent) AS fresh,
               sum(count(*) FILTER (NOT recent)) OVER (PARTITION BY shopper) AS past,
               count(*) FILTER (NOT recent) AS own
        FROM told WHERE category IS NOT NULL AND category <> 'unknown' GROUP BY shopper, category
    ) WHERE past >= {PAST_EVENTS} AND own < {RARE} * past GROUP BY shopper""",
)
