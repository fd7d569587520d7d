"""What a champion is asked: clean events and an instant in; for every bucket features and texts out.

Everybody with an event in the lookback is asked about, or exactly the pairs that the caller names. The functions are
those that made the champion's training examples. The one thing to know: files come bucket by bucket, so memory does
not grow with the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import bucket_file, connect, quote, write_parquet
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.examples.feature_table import FeatureSettings
from behavior_tasks.examples.features import write_features
from behavior_tasks.examples.market import Market, count_market
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import write_texts


@dataclass(frozen=True, kw_only=True)
class AskedBucket:
    """One bucket of examples at one instant, all in the order of (shopper, product)."""

    features: Path
    """Parquet: the columns of `features`."""
    texts: Path | None
    """Parquet: TEXT_COLUMNS and `parts`; None: the champion reads no text."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    examples_query: str
    market: Market
    settings: FeatureSettings
    text: TextSettings | None
    out: AskedBucket
    scratch: Path
    memory_mb: int


def write_asked(
    champion: Champion,
    events: Sequence[BucketEvents],
    moment: Moment,
    folder: Path,
    *,
    engine: EngineConfig,
    pairs: Sequence[Path] | None = None,
) -> list[AskedBucket]:
    """Write what a champion is asked at an instant.

    Args:
        champion: whose lookback, candidates, features and texts these are.
        events: what `open_events` gives for the clean events: all buckets.
        moment: only events before it count.
        folder: an empty folder for the files.
        engine: who works on the buckets.
        pairs: for every bucket a Parquet file with `shopper` and `product_id`, of shoppers of that bucket; None: of
            the unit shopper everybody with an event in the lookback, of shopper_product the products that they touched
            in it.
    """
    for name in ("market", "scratch", "features", "texts"):
        (folder / name).mkdir(parents=True)
    events = [bucket.until(moment.cutoff) for bucket in champion.as_trained(events)]
    market = count_market(
        events, [moment.cutoff], folder / "market", lookback_days=champion.examples.lookback_days, engine=engine
    )
    text = champion.text
    query = examples_sql(
        [Window(split="test", cutoff=moment.cutoff, end=moment.cutoff)],
        champion.examples,
        timezone=moment.timezone,
        has_amounts="amount" in champion.settings.reader.present,
    )
    jobs = [
        _Bucket(
            events=bucket,
            examples_query=query if pairs is None else _pairs_sql(pairs[number], moment),
            market=market,
            settings=champion.features,
            text=text,
            out=AskedBucket(
                features=bucket_file(folder / "features", number),
                texts=bucket_file(folder / "texts", number) if text else None,
            ),
            scratch=bucket_file(folder / "scratch", number),
            memory_mb=engine.memory_mb,
        )
        for number, bucket in enumerate(events)
    ]
    return run_buckets(_write_bucket, jobs, engine=engine, what="what the champion is asked")


def _pairs_sql(pairs: Path, moment: Moment) -> str:
    return f"""
        SELECT shopper || '@{moment.as_of}' || coalesce('#' || product_id, '') AS example, shopper, product_id,
               'test' AS split, TIMESTAMP '{moment.cutoff}' AS cutoff, 0 AS label, CAST(NULL AS DOUBLE) AS amount,
               CAST(1 AS DOUBLE) AS weight
        FROM (SELECT DISTINCT shopper, product_id FROM read_parquet({quote(pairs)})) ORDER BY shopper, product_id
    """


def _write_bucket(bucket: _Bucket) -> AskedBucket:
    with connect(memory_mb=bucket.memory_mb) as connection:
        bucket.events.create_view(connection)
        write_parquet(connection, bucket.examples_query, bucket.scratch)
    out, memory_mb = bucket.out, bucket.memory_mb
    write_features(bucket.scratch, bucket.events, bucket.market, out.features, bucket.settings, memory_mb=memory_mb)
    bucket.scratch.unlink()
    if bucket.text is not None and out.texts is not None:
        write_texts(out.features, bucket.events, out.texts, bucket.text, memory_mb=memory_mb)
    return out
