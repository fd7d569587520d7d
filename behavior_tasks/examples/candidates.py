"""Candidates: which rows are examples, for both units, and which negatives of train are kept.

In come the view `events` of a bucket and the label windows, out comes SQL. An example of `shopper` is a shopper with
an event in the lookback; one of `shopper_product` is a product that they touched in it. Whether a negative is kept
depends on its id alone, so neither the order of rows nor the number of buckets plays a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.base.timeline import Window, local_day
from behavior_tasks.examples.feature_sql import UNITS

SALT = "negative "
"""Put before an example's id when it is hashed, so that nothing else that hashes ids draws the same ones."""
HASH_VALUES = 1 << 64


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How train's negatives are thinned out."""

    negatives: int
    """Negatives on train before."""
    target: int
    """How many of them are to be kept, on average over all salts."""

    @property
    def below(self) -> int:
        """A negative is kept when its hash, a whole number below 2^64, lies below this."""
        return HASH_VALUES if self.weight == 1 else HASH_VALUES * self.target // self.negatives

    @property
    def weight(self) -> float:
        """How many negatives a kept one stands for: one over the sampling rate."""
        return self.negatives / self.target if 0 < self.target < self.negatives else 1.0


def plan_sampling(positives: int, negatives: int, negatives_per_positive: float) -> Sampling:
    """Decide how many negatives of train to keep, from its counts over all buckets and all of its cutoffs.

    >>> plan_sampling(10, 5000, 5.0).weight, plan_sampling(10, 40, 5.0).weight
    (100.0, 1.0)
    """
    return Sampling(negatives=negatives, target=min(negatives, max(1, round(positives * negatives_per_positive))))


def sampled_sql(source: str, sampling: Sampling) -> str:
    """SQL of the rows of `source` that are kept, with their weights, in its order."""
    drawn = f"md5_number_lower('{SALT}' || example) < CAST({sampling.below} AS HUGEINT)"
    thinned = "split = 'train' AND label = 0"
    return f"""
        SELECT * REPLACE (CASE WHEN {thinned} THEN CAST({sampling.weight!r} AS DOUBLE) ELSE 1.0 END AS weight)
        FROM {source} WHERE NOT ({thinned}) OR {drawn}
        ORDER BY cutoff, shopper, product_id
    """


def examples_sql(windows: Sequence[Window], settings: ExamplesConfig, *, timezone: str, has_amounts: bool) -> str:
    """SQL of the examples of the view `events`, ordered by cutoff, shopper and product; every weight is 1.

    Args:
        windows: the label windows; none, for a log that is too short, gives no rows.
        settings: unit, lookback and most candidates.
        timezone: whose midnights the days in the ids are.
        has_amounts: whether the log states amounts; else they are NULL.
    """
    amount = (
        f"CASE WHEN b.lines IS NULL THEN 0.0 ELSE CAST(b.units AS DOUBLE) / {UNITS} END"
        if has_amounts
        else "CAST(NULL AS DOUBLE)"
    )
    per_product = settings.unit == "shopper_product"
    product = "e.product_id" if per_product else "CAST(NULL AS VARCHAR)"
    return f"""
        WITH windows(split, day, start, cutoff, finish) AS (
            {_windows_sql(windows, settings.lookback_days, timezone)}
        ),
        touched AS (
            SELECT e.shopper, {product} AS product_id, w.split, w.day, w.cutoff, max(e.timestamp) AS last
            FROM events AS e JOIN windows AS w ON e.timestamp >= w.start AND e.timestamp < w.cutoff
            WHERE {"e.product_id <> ''" if per_product else "true"}
            GROUP BY ALL
        ),
        eligible AS (
            SELECT * FROM touched
            QUALIFY row_number() OVER (PARTITION BY shopper, cutoff ORDER BY last DESC, product_id)
                    <= {settings.candidates if per_product else 1}
        ),
        bought AS (
            SELECT e.shopper, {product} AS product_id, w.cutoff, count(*) AS lines,
                   sum(CAST(round(e.amount * {UNITS}) AS BIGINT)) AS units
            FROM events AS e JOIN windows AS w ON e.timestamp >= w.cutoff AND e.timestamp < w.finish
            WHERE e.action = 'purchase'
            GROUP BY ALL
        )
        SELECT s.shopper || '@' || s.day {"|| '#' || s.product_id" if per_product else ""} AS example,
               s.shopper, s.product_id, s.split, s.cutoff,
               CAST(b.lines IS NOT NULL AS INTEGER) AS label, {amount} AS amount, CAST(1 AS DOUBLE) AS weight
        FROM eligible AS s LEFT JOIN bought AS b
            ON b.shopper = s.shopper AND b.cutoff = s.cutoff AND b.product_id IS NOT DISTINCT FROM s.product_id
        ORDER BY s.cutoff, s.shopper, s.product_id
    """


def _windows_sql(windows: Sequence[Window], lookback_days: int, timezone: str) -> str:
    zone = ZoneInfo(timezone)
    rows = [
        f"('{w.split}', '{local_day(w.cutoff, zone)}', {_literal(w.cutoff - timedelta(days=lookback_days))}, "
        f"{_literal(w.cutoff)}, {_literal(w.end)})"
        for w in windows
    ]
    # A log too short for windows still has the query's columns: this window comes before every event.
    never = f"('train', '', {', '.join([_literal(datetime.min)] * 3)})"
    return f"VALUES {', '.join(rows) or never}"


def _literal(instant: datetime) -> str:
    return f"TIMESTAMP '{instant.isoformat(sep=' ')}'"
