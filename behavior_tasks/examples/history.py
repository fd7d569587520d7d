"""A bucket's histories: the events, products, categories, brands and hours that features are aggregates over.

In come the table `events` and the view `examples` of one bucket; out come tables, a few cutoffs at a time, so that
memory does not grow with the number of cutoffs. Every duration is in microseconds and looks back from the cutoff:
`ago` is an event's age. Nothing outside [cutoff - lookback, cutoff) enters a table, except the market's facts, which
lie before the cutoff too.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import duckdb

from behavior_tasks.base.schema import ACTIONS, SHOPPER_COLUMNS, order_sql
from behavior_tasks.examples.feature_sql import DAY, FADING_UNITS, HALF_LIFE_DAYS, SESSION_GAP, UNITS, UNKNOWN
from behavior_tasks.examples.feature_table import FeatureSettings
from behavior_tasks.examples.market import FrozenMarket, Market

ROWS_AT_ONCE = 1_500_000
"""Most rows of `events_at`, a quarter of a kilobyte each; cutoffs are taken together as long as they fit."""


def link_events(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    """Turn the table `events` into `linked`: the same in their total order, each with what came before it.

    Shoppers, products, categories and brands become whole numbers (tables people, goods, kinds, makers), which
    are joined and grouped faster than words; NULL is none.
    """
    for name, code, column, source, none in (
        ("people", "s", "shopper", "examples", ""),
        ("goods", "p", "product_id", "events", ""),
        ("kinds", "c", "category", "events", UNKNOWN),
        ("makers", "b", "brand", "events", UNKNOWN),
    ):
        connection.execute(f"""
            CREATE TABLE {name} AS SELECT {column}, row_number() OVER (ORDER BY {column}) AS {code}
            FROM (SELECT DISTINCT {column} FROM {source} WHERE {column} NOT IN ('', '{none}'))
        """)
    connection.execute(f"CREATE TYPE action_name AS ENUM {ACTIONS}")
    connection.execute(f"""
        CREATE TABLE ordered AS
        SELECT row_number() OVER (ORDER BY {order_sql(SHOPPER_COLUMNS)}) AS place, s, epoch_us(timestamp) AS us,
               timezone('{timezone}', timezone('UTC', timestamp)) AS local,
               CAST(action AS action_name) AS action, p, c, b, age, nullif(gender, '{UNKNOWN}') AS gender,
               CAST(round(amount * {UNITS}) AS BIGINT) AS amount_units,
               CAST(round(price * {UNITS}) AS BIGINT) AS price_units
        FROM events JOIN people USING (shopper) LEFT JOIN goods USING (product_id)
        LEFT JOIN kinds USING (category) LEFT JOIN makers USING (brand)
    """)
    connection.execute(_LINKED)
    connection.execute("DROP TABLE ordered")
    connection.execute("DROP TABLE events")


def open_cutoffs(
    connection: duckdb.DuckDBPyConnection, settings: FeatureSettings, market: Market | FrozenMarket
) -> Iterator[list[datetime]]:
    """Make the tables of a few cutoffs of the examples, give these cutoffs, then go on to the next few.

    `moments` has one row a shopper and cutoff, with the number `m`; every other table has the column `m` and at
    least one row for each of them.

    `events_at`: one row an event. `gap`, `buy_gap` and `session_gap` are the silence before the event, since the
    purchase before it and since the start of the session before; `same_day` is the age of the event before it on the
    same local day; each is NULL where that lies outside the lookback. `session_ago` is the age of the start of the
    event's session and `session_place` counts the session's events up to it. `opens_purchase` marks the first line
    of a purchase. `bought_after`, of a cart, is the age of the next purchase of its product: zero or less when it is
    still to come. `period` counts horizons back, `fading` halves every HALF_LIFE_DAYS.

    `products_at`, `categories_at`, `brands_at`, `hours_at`, `weekdays_at`: one row for each of a shopper's, with the
    number of events `n`; NULLs for a shopper without any.

    `product_at`, for the unit shopper_product: one row an example.
    """
    events = connection.execute("SELECT count(*) FROM linked").fetchone()
    every = [row[0] for row in connection.execute("SELECT DISTINCT cutoff FROM examples ORDER BY cutoff").fetchall()]
    step = max(1, ROWS_AT_ONCE // max(1, events[0] if events else 0))
    for first in range(0, len(every), step):
        chosen = every[first : first + step]
        market.create_views(connection, chosen)
        queries = {
            "moments": _moments_sql(chosen, settings.lookback_days),
            "events_at": _events_sql(settings.horizon_days),
            "products_at": _PRODUCTS,
            "categories_at": _CATEGORIES,
            "brands_at": _grouped("b"),
            "hours_at": _grouped("hour"),
            "weekdays_at": _grouped("dow"),
        }
        if settings.unit == "shopper_product":
            queries["product_at"] = _PRODUCT
        for name, query in queries.items():
            connection.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")
        yield chosen


def _moments_sql(cutoffs: Sequence[datetime], lookback_days: int) -> str:
    chosen = ", ".join(f"TIMESTAMP '{cutoff}'" for cutoff in cutoffs)
    return f"""
        WITH asked AS (
            SELECT s, cutoff, epoch_us(cutoff) AS until, epoch_us(cutoff) - {lookback_days * DAY} AS start
            FROM people JOIN (SELECT DISTINCT shopper, cutoff FROM examples WHERE cutoff IN ({chosen})) USING (shopper)
        ),
        firsts AS (
            SELECT a.s, a.cutoff, min(l.us) AS first_us
            FROM asked AS a JOIN linked AS l ON l.s = a.s AND l.us >= a.start AND l.us < a.until GROUP BY a.s, a.cutoff
        )
        SELECT *, row_number() OVER (ORDER BY cutoff, s) AS m FROM asked LEFT JOIN firsts USING (s, cutoff)
    """


def _events_sql(horizon_days: int) -> str:
    return f"""
        SELECT m.m, until - us AS ago,
               us - (CASE WHEN previous >= start THEN previous END) AS gap,
               until - (CASE WHEN day_before >= start THEN day_before END) AS same_day,
               until - next_purchase AS bought_after,
               us - (CASE WHEN buy_before >= start THEN buy_before END) AS buy_gap,
               us - (CASE WHEN previous >= start THEN greatest(session_before, first_us) END) AS session_gap,
               until - greatest(session_start, first_us) AS session_ago,
               place - session + 1 AS session_place,
               opens_purchase, action, p, c, b, gender, age, place, amount_units, price_units, hour, dow,
               (until - us - 1) // {horizon_days * DAY} AS period,
               CAST(round({FADING_UNITS} * pow(0.5, (until - us) / {HALF_LIFE_DAYS * DAY}.0)) AS BIGINT) AS fading
        FROM moments AS m LEFT JOIN linked AS l ON l.s = m.s AND l.us >= m.start AND l.us < m.until
    """


_LINKED = f"""
    CREATE TABLE linked AS
    WITH before AS (
        SELECT place, s, us, lag(us) OVER w AS previous,
               CASE WHEN lag(CAST(local AS DATE)) OVER w = CAST(local AS DATE) THEN lag(us) OVER w END AS day_before
        FROM ordered WINDOW w AS (PARTITION BY s ORDER BY place)
    ),
    sessions AS (
        SELECT *, max(CASE WHEN previous IS NULL OR us - previous > {SESSION_GAP} THEN place END) OVER w AS session,
               max(CASE WHEN previous IS NULL OR us - previous > {SESSION_GAP} THEN us END) OVER w AS session_start
        FROM before WINDOW w AS (PARTITION BY s ORDER BY place ROWS UNBOUNDED PRECEDING)
    ),
    chained AS (
        SELECT place, previous, day_before, session, session_start,
               lag(session_start) OVER (PARTITION BY s ORDER BY place) AS session_before
        FROM sessions
    ),
    buys AS (
        SELECT place, s, p, us, lag(us) OVER (PARTITION BY s ORDER BY place) AS buy_before
        FROM ordered WHERE action = 'purchase'
    ),
    carts AS (
        SELECT cart.place, buys.us AS next_purchase
        FROM (SELECT place, s, p FROM ordered WHERE action = 'add_to_cart') AS cart
        ASOF JOIN buys ON buys.s = cart.s AND buys.p = cart.p AND buys.place >= cart.place
    )
    SELECT o.* EXCLUDE (local), hour(local) AS hour, isodow(local) AS dow, chained.* EXCLUDE (place),
           buys.buy_before, buys.place IS NOT NULL AND (buy_before IS NULL OR buy_before < o.us) AS opens_purchase,
           carts.next_purchase
    FROM ordered AS o JOIN chained USING (place)
    LEFT JOIN buys ON buys.place = o.place LEFT JOIN carts ON carts.place = o.place
"""
"""Windows sort whole rows, so each runs over the few columns and rows that it needs."""
_PRODUCTS = """
    WITH touched AS (
        SELECT m, p, count(*) AS n, min(ago) AS last, max(ago) AS first,
               arg_max(c, CASE WHEN c IS NOT NULL THEN place END) AS c,
               count(CASE WHEN action = 'click' THEN 1 END) AS clicks,
               count(CASE WHEN action = 'favourite' THEN 1 END) AS favourites,
               count(CASE WHEN action = 'add_to_cart' THEN 1 END) AS carts,
               count(CASE WHEN action = 'add_to_cart' AND (bought_after IS NULL OR bought_after <= 0) THEN 1 END)
                   AS open_carts,
               count(CASE WHEN action = 'purchase' THEN 1 END) AS buys,
               min(CASE WHEN action = 'purchase' THEN ago END) AS bought_last,
               count(CASE WHEN action = 'return' THEN 1 END) AS returned,
               arg_max(price_units, CASE WHEN price_units IS NOT NULL THEN place END) AS price_last
        FROM events_at WHERE p IS NOT NULL GROUP BY m, p
    ),
    here AS (SELECT goods.p, market_products.* FROM goods JOIN market_products USING (product_id)),
    totals AS (
        SELECT cutoff, any_value(market_size) AS market_size, any_value(market_events) AS market_events
        FROM market_products GROUP BY cutoff
    )
    SELECT m, t.* EXCLUDE (m), coalesce(market_size, 0) AS market_size, coalesce(market_events, 0) AS market_events,
           CASE WHEN t.p IS NOT NULL THEN coalesce(popularity, 0) END AS popularity,
           CASE WHEN t.p IS NOT NULL THEN coalesce(popularity_buys, 0) END AS popularity_buys,
           CASE WHEN t.p IS NOT NULL THEN coalesce(popularity_place, totals.market_size + 1, 1) END AS popularity_place
    FROM moments LEFT JOIN touched AS t USING (m) LEFT JOIN totals USING (cutoff)
    LEFT JOIN (SELECT cutoff, p, popularity, popularity_buys, popularity_place FROM here) AS h
        ON h.cutoff = moments.cutoff AND h.p = t.p
"""
_CATEGORIES = """
    WITH touched AS (
        SELECT m, c, count(*) AS n, count(CASE WHEN action = 'purchase' THEN 1 END) AS buys,
               count(price_units) AS prices, sum(price_units) AS price_units
        FROM events_at WHERE c IS NOT NULL GROUP BY m, c
    )
    SELECT m, t.* EXCLUDE (m), market_price
    FROM moments LEFT JOIN touched AS t USING (m)
    LEFT JOIN (SELECT cutoff, kinds.c, market_price FROM kinds JOIN market_categories USING (category)) AS k
        ON k.cutoff = moments.cutoff AND k.c = t.c
"""
_PRODUCT = """
    WITH ranked AS (
        SELECT *, rank() OVER (PARTITION BY m ORDER BY last) AS recency_place, sum(n) OVER (PARTITION BY m) AS all_n
        FROM products_at
    ),
    shoppers AS (
        SELECT m, arg_max(session_ago, place) AS session_ago, count(price_units) AS prices_known,
               sum(price_units) AS prices_sum, count(ago) AS shopper_n
        FROM events_at GROUP BY m
    ),
    latest AS (
        SELECT m, p, max(number) AS number
        FROM (SELECT m, p, row_number() OVER (PARTITION BY m ORDER BY place) AS number FROM events_at)
        WHERE p IS NOT NULL GROUP BY m, p
    ),
    kinds_at AS (SELECT *, sum(n) OVER (PARTITION BY m) AS category_all FROM categories_at)
    SELECT x.example, r.* EXCLUDE (m), k.n AS category_n, k.category_all, k.buys AS category_buys, k.market_price,
           t.prices_known, t.prices_sum, t.shopper_n - l.number AS later,
           CAST(r.last <= t.session_ago AS INTEGER) AS in_session
    FROM examples AS x JOIN people USING (shopper) JOIN moments AS w ON w.s = people.s AND w.cutoff = x.cutoff
    LEFT JOIN goods USING (product_id)
    LEFT JOIN ranked AS r ON r.m = w.m AND r.p = goods.p
    LEFT JOIN kinds_at AS k ON k.m = w.m AND k.c = r.c
    LEFT JOIN shoppers AS t ON t.m = w.m
    LEFT JOIN latest AS l ON l.m = w.m AND l.p = goods.p
"""
"""Beside the columns of `products_at`, what they are measured by: the shopper's other products (recency_place, all_n,
later, prices_known, prices_sum) and the product's category (category_n, category_all, category_buys)."""


def _grouped(column: str) -> str:
    """SQL of the number of events of each value, with a row of NULLs for a shopper without any."""
    return f"""
        SELECT m, t.* EXCLUDE (m) FROM moments LEFT JOIN (
            SELECT m, {column}, count(*) AS n FROM events_at WHERE {column} IS NOT NULL GROUP BY m, {column}
        ) AS t USING (m)
    """
