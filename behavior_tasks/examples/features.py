"""Features: what is known about a shopper just before a cutoff, as numbers.

In come examples and events by bucket; out come the same examples, in the same order, with one column per
feature of the table below. Every feature is an aggregate over the events in [cutoff - lookback, cutoff), and
NULL where it is undefined; all sums run over whole numbers, so no feature depends on the order of the events.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.schema import SHOPPER_COLUMNS, order_sql
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import (
    bucket_file,
    bucket_files,
    combine_hashes,
    connect,
    hash_rows,
    quote,
    write_parquet,
)
from behavior_tasks.data.events import BucketEvents, open_events

EXAMPLE_COLUMNS = ("example", "shopper", "split", "cutoff", "label", "amount")
DAY = 86_400_000_000
"""Microseconds in a day of 24 hours."""
SESSION_GAP = 30 * 60 * 1_000_000
"""Microseconds of silence after which the next event begins a new session."""
UNITS = 10_000
"""Prices and amounts are added as whole ten-thousandths."""
UNKNOWN = "unknown"
"""What `clean` writes for a missing category or gender; it is no category and no gender."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One row of the table of features."""

    name: str
    description: str
    sql: str
    """Aggregate over one example's history: the view `history`, whose columns `_history_sql` explains."""
    in_text: bool = False
    """Whether it becomes a word of the text too; the others say nearly the same as one that does."""
    window_days: int | None = None
    """Window it is taken over; left out when the lookback is no longer, for it would repeat another feature."""


def _count(condition: str, days: float | None = None) -> str:
    window = f" AND ago <= {round(days * DAY)}" if days else ""
    return f"CAST(count(*) FILTER (ago IS NOT NULL AND {condition}{window}) AS DOUBLE)"


def _distinct(previous: str, condition: str = "true", days: float | None = None) -> str:
    """Count different values: the events whose value did not occur before within the same window."""
    start = f"{round(days * DAY)}" if days else "window_length"
    return _count(f"{condition} AND ({previous} IS NULL OR {previous} > {start})", days)


def _days(microseconds: str) -> str:
    return f"CAST({microseconds} AS DOUBLE) / {DAY}"


def _total(units: str, condition: str, days: float | None = None) -> str:
    """Sum of prices or amounts: 0 without such events, NULL when none of them has a known price."""
    window = f" AND ago <= {round(days * DAY)}" if days else ""
    known = f"CAST(sum({units}) FILTER ({condition}{window}) AS DOUBLE) / {UNITS}"
    return f"CASE WHEN {_count(condition, days)} = 0 THEN 0.0 ELSE {known} END"


def _ratio(top: str, bottom: str) -> str:
    return f"({top}) / nullif({bottom}, 0.0)"


def _share(condition: str, of: str = "true") -> str:
    return _ratio(_count(f"{of} AND {condition}"), _count(of))


BUY = "action = 'purchase'"
NEW_BUY = f"{BUY} AND opens_instant"
"""First line of a purchase: lines of the same instant are one purchase."""
NEW_SESSION = f"(gap IS NULL OR ago + gap > window_length OR gap > {SESSION_GAP})"
PURCHASES = _count(NEW_BUY)
SESSIONS = _count(NEW_SESSION)
OPEN_CART = "action = 'add_to_cart' AND (bought_after IS NULL OR bought_after <= 0)"
SINCE_PURCHASE = f"min(ago) FILTER ({BUY})"
FIRST_PURCHASE = f"max(ago) FILTER ({BUY})"
PURCHASE_GAP = _ratio(_days(f"({FIRST_PURCHASE} - {SINCE_PURCHASE})"), f"nullif({PURCHASES} - 1, -1.0)")

FEATURES: tuple[Feature, ...] = (
    Feature(name="recency_days", description="days since the last event", sql=_days("min(ago)"), in_text=True),
    Feature(
        name="purchase_recency_days",
        description="days since the last purchase",
        sql=_days(SINCE_PURCHASE),
        in_text=True,
    ),
    Feature(name="tenure_days", description="days since the first event", sql=_days("max(ago)"), in_text=True),
    Feature(name="purchase_tenure_days", description="days since the first purchase", sql=_days(FIRST_PURCHASE)),
    Feature(name="events", description="number of events", sql=_count("true"), in_text=True),
    Feature(name="events_1d", description="events in the last day", sql=_count("true", 1), window_days=1, in_text=True),
    Feature(
        name="events_7d", description="events in the last 7 days", sql=_count("true", 7), window_days=7, in_text=True
    ),
    Feature(name="events_30d", description="events in the last 30 days", sql=_count("true", 30), window_days=30),
    Feature(name="active_days", description="local days with an event", sql=_distinct("same_day"), in_text=True),
    Feature(
        name="active_days_30d",
        description="local days with an event in the last 30 days",
        sql=_distinct("same_day", days=30),
        window_days=30,
    ),
    Feature(name="sessions", description="sessions (30 minutes of silence end one)", sql=SESSIONS),
    Feature(
        name="session_gap_days",
        description="mean days between the starts of the first and the last session, per session",
        sql=_ratio(
            _days(f"(max(ago) FILTER ({NEW_SESSION}) - min(ago) FILTER ({NEW_SESSION}))"),
            f"nullif({SESSIONS} - 1, -1.0)",
        ),
        in_text=True,
    ),
    Feature(name="browses", description="events of the action browse", sql=_count("action = 'browse'")),
    Feature(name="searches", description="events of the action search", sql=_count("action = 'search'"), in_text=True),
    Feature(name="clicks", description="events of the action click", sql=_count("action = 'click'"), in_text=True),
    Feature(
        name="favourites",
        description="events of the action favourite",
        sql=_count("action = 'favourite'"),
        in_text=True,
    ),
    Feature(
        name="carts", description="events of the action add_to_cart", sql=_count("action = 'add_to_cart'"), in_text=True
    ),
    Feature(
        name="open_carts_7d",
        description="products put into the cart in the last 7 days and not bought by the cutoff, counted per event",
        sql=_count(OPEN_CART, 7),
        window_days=7,
        in_text=True,
    ),
    Feature(
        name="open_carts",
        description="products put into the cart and not bought by the cutoff, counted per event",
        sql=_count(OPEN_CART),
        in_text=True,
    ),
    Feature(
        name="cart_recency_days",
        description="days since a product was put into the cart that was not bought by the cutoff",
        sql=_days(f"min(ago) FILTER ({OPEN_CART})"),
    ),
    Feature(name="purchases", description="purchases (different instants)", sql=PURCHASES, in_text=True),
    Feature(name="purchases_7d", description="purchases in the last 7 days", sql=_count(NEW_BUY, 7), window_days=7),
    Feature(
        name="purchases_30d",
        description="purchases in the last 30 days",
        sql=_count(NEW_BUY, 30),
        window_days=30,
        in_text=True,
    ),
    Feature(
        name="purchases_90d",
        description="purchases in the last 90 days",
        sql=_count(NEW_BUY, 90),
        window_days=90,
        in_text=True,
    ),
    Feature(name="returns", description="events of the action return", sql=_count("action = 'return'"), in_text=True),
    Feature(name="spend", description="amount of all purchases", sql=_total("amount_units", BUY), in_text=True),
    Feature(
        name="spend_30d",
        description="amount of the purchases in the last 30 days",
        sql=_total("amount_units", BUY, 30),
        window_days=30,
    ),
    Feature(
        name="spend_90d",
        description="amount of the purchases in the last 90 days",
        sql=_total("amount_units", BUY, 90),
        window_days=90,
    ),
    Feature(
        name="basket_spend",
        description="mean amount of a purchase",
        sql=_ratio(_total("amount_units", BUY), PURCHASES),
        in_text=True,
    ),
    Feature(name="basket_lines", description="mean lines of a purchase", sql=_ratio(_count(BUY), PURCHASES)),
    Feature(
        name="price_level",
        description="mean price of one piece over the events that state one",
        sql=f"CAST(sum(price_units) AS DOUBLE) / {UNITS} / nullif(count(price_units), 0)",
        in_text=True,
    ),
    Feature(name="products", description="different products", sql=_distinct("same_product", "product_id <> ''")),
    Feature(
        name="bought_products",
        description="different products bought",
        sql=_distinct("same_action_product", f"product_id <> '' AND {BUY}"),
    ),
    Feature(
        name="categories",
        description="different categories",
        sql=_distinct("same_category", f"category <> '{UNKNOWN}'"),
        in_text=True,
    ),
    Feature(
        name="purchase_gap_days",
        description="mean days between purchases",
        sql=PURCHASE_GAP,
        in_text=True,
    ),
    Feature(
        name="last_purchase_gap_days",
        description="days between the last two purchases",
        sql=_days(f"arg_min(buy_gap, ago) FILTER ({NEW_BUY} AND ago + buy_gap <= window_length)"),
    ),
    Feature(
        name="overdue",
        description="days since the last purchase over the mean days between purchases",
        sql=_ratio(_days(SINCE_PURCHASE), PURCHASE_GAP),
        in_text=True,
    ),
    Feature(
        name="habit",
        description="share of the horizon-long periods since the first event that hold a purchase",
        sql=_ratio(
            f"CAST(count(DISTINCT (ago - 1) // horizon_length) FILTER ({BUY}) AS DOUBLE)",
            "CAST((max(ago) - 1) // any_value(horizon_length) + 1 AS DOUBLE)",
        ),
        in_text=True,
    ),
    Feature(
        name="trend",
        description="events in the last 7 days over those in the 7 days before, each plus one",
        sql=f"({_count('true', 7)} + 1) / ({_count('true', 14)} - {_count('true', 7)} + 1)",
        window_days=14,
        in_text=True,
    ),
    Feature(name="conversion", description="purchases per session", sql=_ratio(PURCHASES, SESSIONS), in_text=True),
    Feature(name="weekend_share", description="share of events on local Saturdays and Sundays", sql=_share("weekend")),
    Feature(name="evening_share", description="share of events from 18 to 24 local time", sql=_share("evening")),
    Feature(
        name="age",
        description="latest known age in years",
        sql="CAST(arg_max(age, place) FILTER (age IS NOT NULL) AS DOUBLE)",
    ),
)
GENDER = f"arg_max(gender, place) FILTER (gender <> '{UNKNOWN}')"
"""Latest known gender."""


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """What the features depend on beside the events."""

    lookback_days: int
    horizon_days: int
    timezone: str

    def features(self) -> list[Feature]:
        """The numeric features whose window is shorter than the lookback."""
        return [f for f in FEATURES if f.window_days is None or f.window_days < self.lookback_days]


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    events: BucketEvents
    out: Path
    settings: FeatureSettings
    memory_mb: int


def features_stage(job: Job) -> Output:
    """Write the examples of every bucket with their features."""
    settings = FeatureSettings(
        lookback_days=job.config.examples.lookback_days,
        horizon_days=job.config.examples.horizon_days,
        timezone=job.config.source.timezone,
    )
    folder = job.out / "examples"
    folder.mkdir()
    jobs = [
        _Bucket(
            examples=examples,
            events=events,
            out=bucket_file(folder, number),
            settings=settings,
            memory_mb=job.config.engine.memory_mb,
        )
        for number, (examples, events) in enumerate(
            zip(
                bucket_files(job.inputs["cutoffs"].path / "examples"),
                open_events(job.inputs["clean"]),
                strict=True,
            )
        )
    ]
    done = run_buckets(_work_bucket, jobs, engine=job.config.engine, what="features")
    total = sum(rows for rows, _ in done)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=total, rows_out=total),
        content_hash=combine_hashes(content_hash for _, content_hash in done),
        facts={"features": [*(f.name for f in settings.features()), "gender"], "categorical": ["gender"]},
    )


def write_features(
    examples: Path, events: BucketEvents, out: Path, settings: FeatureSettings, *, memory_mb: int = 2048
) -> tuple[int, str]:
    """Write one bucket's examples with their features, in the order of (cutoff, shopper).

    Args:
        examples: Parquet file with at least EXAMPLE_COLUMNS.
        events: clean events of at least the same shoppers.
        out: Parquet file to write.

    Returns:
        The number of rows and the hash of the rows.
    """
    connection = connect(memory_mb=memory_mb)
    connection.execute(f"CREATE VIEW examples AS SELECT * FROM read_parquet({quote(examples)})")
    events.create_view(connection)
    connection.execute(f"CREATE VIEW history AS {_history_sql(settings)}")
    numeric = ", ".join(f"CAST({f.sql} AS DOUBLE) AS {f.name}" for f in settings.features())
    write_parquet(
        connection,
        f"""
        SELECT {", ".join(EXAMPLE_COLUMNS)}, * EXCLUDE ({", ".join(EXAMPLE_COLUMNS)}, name)
        FROM examples JOIN (SELECT example AS name, {numeric}, {GENDER} AS gender FROM history GROUP BY example)
            ON name = example
        ORDER BY cutoff, shopper
        """,
        out,
    )
    return _row_count(connection, out), hash_rows(connection, out)


def _work_bucket(bucket: _Bucket) -> tuple[int, str]:
    return write_features(bucket.examples, bucket.events, bucket.out, bucket.settings, memory_mb=bucket.memory_mb)


def _row_count(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    row = connection.execute(f"SELECT count(*) FROM read_parquet({quote(path)})").fetchone()
    return int(row[0]) if row else 0


def _history_sql(settings: FeatureSettings) -> str:
    """SQL of one row per example and event of its history; an example without any has one row of NULLs.

    Every duration is in microseconds and looks back from the cutoff: `ago` is the event's age. `gap` and
    `buy_gap` are the silence before the event and the purchase; `same_…` is the age of the shopper's event
    before this one with the same value, so that a value is new in a window exactly when that age lies outside.
    `bought_after` is the age of the next purchase of the same product: zero or less when it is still to come.
    """
    return f"""
        WITH ordered AS (
            SELECT *, epoch_us(timestamp) AS us, row_number() OVER (ORDER BY {order_sql(SHOPPER_COLUMNS)}) AS place,
                   timezone('{settings.timezone}', timezone('UTC', timestamp)) AS local
            FROM events
        ),
        linked AS (
            SELECT *,
                   lag(us) OVER (PARTITION BY shopper ORDER BY place) AS previous,
                   lag(us) OVER (PARTITION BY shopper, CAST(local AS DATE) ORDER BY place) AS day_before,
                   lag(us) OVER (PARTITION BY shopper, product_id ORDER BY place) AS product_before,
                   lag(us) OVER (PARTITION BY shopper, category ORDER BY place) AS category_before,
                   lag(us) OVER (PARTITION BY shopper, action, product_id ORDER BY place) AS action_product_before,
                   lag(us) OVER (PARTITION BY shopper, action ORDER BY place) AS action_before,
                   min(CASE WHEN action = 'purchase' THEN us END) OVER (
                       PARTITION BY shopper, product_id ORDER BY place
                       ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_purchase
            FROM ordered
        )
        SELECT x.example,
               CAST({settings.lookback_days} AS BIGINT) * {DAY} AS window_length,
               CAST({settings.horizon_days} AS BIGINT) * {DAY} AS horizon_length,
               epoch_us(x.cutoff) - l.us AS ago,
               l.us - l.previous AS gap,
               epoch_us(x.cutoff) - l.day_before AS same_day,
               epoch_us(x.cutoff) - l.product_before AS same_product,
               epoch_us(x.cutoff) - l.category_before AS same_category,
               epoch_us(x.cutoff) - l.action_product_before AS same_action_product,
               epoch_us(x.cutoff) - l.next_purchase AS bought_after,
               l.us - l.action_before AS buy_gap,
               l.action_before IS NULL OR l.action_before < l.us AS opens_instant,
               l.action, l.product_id, l.category, l.gender, l.age, l.place,
               CAST(round(l.amount * {UNITS}) AS BIGINT) AS amount_units,
               CAST(round(l.price * {UNITS}) AS BIGINT) AS price_units,
               isodow(l.local) >= 6 AS weekend,
               hour(l.local) >= 18 AS evening
        FROM examples AS x LEFT JOIN linked AS l
            ON l.shopper = x.shopper AND l.timestamp < x.cutoff
            AND l.timestamp >= x.cutoff - INTERVAL {settings.lookback_days} DAY
    """
