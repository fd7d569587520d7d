"""A snapshot: a champion, clean events and a moment in; what the champion reads of a sample of shoppers there out.

A row is a shopper (of the unit shopper_product with one product that they touched, so that rows are independent), with
every feature, the length of the text, and the share of its tokens that stand for nothing the tokenizer knows. The one
thing to know: who is in the sample depends on a hash of their pseudonym alone, never on chance or order.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.examples.features import EXAMPLE_COLUMNS
from behavior_tasks.model.texts import text_figures
from behavior_tasks.serve.asked import AskedBucket, write_asked
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.score import Place

SAMPLE = 4000
"""Shoppers looked at, at most: the index then has a noise of about 0.005, far below any threshold."""
TEXT_COLUMNS = ("text_tokens", "unknown_tokens")
SCORE_COLUMNS = ("probability", "expected_amount")


def take_snapshot(
    champion: Champion, events: Sequence[BucketEvents], moment: Moment, *, place: Place, scored: bool
) -> pd.DataFrame:
    """Return what a champion reads of a sample of shoppers: `shopper`, `product_id`, its features, TEXT_COLUMNS.

    Args:
        champion: of either unit.
        events: what `open_events` gives for the clean events: all buckets.
        moment: only events before it count.
        place: where and with what it is computed.
        scored: whether the champion is asked, too: SCORE_COLUMNS.
    """
    with temporary_folder(place.home, "watched") as scratch:
        pairs = write_sample(champion, events, moment, scratch / "pairs", most=SAMPLE, one_each=True)
        asked = write_asked(champion, events, moment, scratch / "asked", engine=place.engine, pairs=pairs)
        read = [_read(bucket, champion, place, scored=scored) for bucket in asked]
    return pd.concat(read, ignore_index=True)


def write_sample(
    champion: Champion, events: Sequence[BucketEvents], moment: Moment, folder: Path, *, most: int, one_each: bool
) -> list[Path]:
    """Write whom a champion is asked about, for each bucket a file of `shopper` and `product_id`.

    Args:
        champion: whose lookback and candidates these are.
        events: all buckets.
        moment: only events before it count.
        folder: made here.
        most: shoppers, over all buckets.
        one_each: whether of a shopper's products one is drawn; else all are taken.
    """
    folder.mkdir()
    query = examples_sql(
        [Window(split="test", cutoff=moment.cutoff, end=moment.cutoff)],
        champion.examples,
        timezone=moment.timezone,
        has_amounts=False,
    )
    drawn = "QUALIFY row_number() OVER (PARTITION BY shopper ORDER BY md5(example)) = 1" if one_each else ""
    share = math.ceil(most / max(1, len(events)))
    files = []
    for number, bucket in enumerate(events):
        files.append(bucket_file(folder, number))
        with connect() as connection:
            bucket.until(moment.cutoff).create_view(connection)
            write_parquet(
                connection,
                f"""
                WITH every AS (SELECT shopper, product_id FROM ({query}) {drawn}),
                chosen AS (SELECT DISTINCT shopper, md5(shopper) AS lot FROM every ORDER BY lot, shopper LIMIT {share})
                SELECT shopper, product_id FROM every JOIN chosen USING (shopper) ORDER BY shopper, product_id
                """,
                files[-1],
            )
    return files


def _read(bucket: AskedBucket, champion: Champion, place: Place, *, scored: bool) -> pd.DataFrame:
    features = pd.read_parquet(bucket.features)
    parts: list[list[str]] = [[] for _ in range(len(features))]
    table = features.drop(columns=[name for name in EXAMPLE_COLUMNS if name not in {"shopper", "product_id"}])
    if bucket.texts is not None:
        parts = pq.read_table(bucket.texts, columns=["parts"])["parts"].to_pylist()
        lengths, unknown = text_figures(champion.model, parts)
        table = table.assign(text_tokens=lengths.astype(np.float64), unknown_tokens=unknown)
    if scored:
        from behavior_tasks.model.predict import open_scorer  # torch takes seconds to import

        found = open_scorer(champion.model, device=place.device, threads=place.threads).score_parts(parts, features)
        table = table.assign(probability=found.probability)
        if found.expected_amount is not None:
            table = table.assign(expected_amount=found.expected_amount)
    return table
