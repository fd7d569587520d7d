"""Scores: a champion, clean events and an instant in; what the champion says of everybody out.

Of the unit shopper a row is a shopper with an event in the lookback, of shopper_product one of the products that they
touched in it. The one thing to know: an answer depends on the text and the numbers that are read and on nothing else,
so answers are kept by them, and only what has changed is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.progress import track
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, combine_hashes, connect, hash_rows
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.model.device import DeviceName
from behavior_tasks.model.predict import open_scorer
from behavior_tasks.serve.asked import AskedBucket, write_asked
from behavior_tasks.serve.banners import banner_facts
from behavior_tasks.serve.champions import Champion, Unit
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import FOLDER

SCHEMA = pa.schema(
    [
        ("shopper", pa.string()),
        ("product_id", pa.string()),
        ("as_of", pa.date32()),
        ("cutoff", pa.timestamp("us")),
        ("probability", pa.float64()),
        ("decision", pa.bool_()),
        ("expected_amount", pa.float64()),
        ("log_mean", pa.float64()),
        ("log_std", pa.float64()),
        ("version", pa.string()),
        ("model", pa.string()),
        ("data_hash", pa.string()),
    ]
)
"""Columns of a file of scores. `product_id` is empty of the unit shopper; the amounts are empty without amount head."""
SCORES = f"{FOLDER}/scores"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and with what scores are computed."""

    home: Home
    engine: EngineConfig
    device: DeviceName
    threads: int


def shopper_scores_stage(job: Job) -> Output:
    """Score every shopper."""
    return _stage(job, "shopper")


def product_scores_stage(job: Job) -> Output:
    """Score every product that a shopper touched."""
    return _stage(job, "shopper_product")


def _stage(job: Job, unit: Unit) -> Output:
    champion, moment = Champion.load(job.inputs["champions"], unit), Moment.load(job.inputs["moment"])
    (job.out / SCORES).mkdir(parents=True)
    facts = {"unit": unit, "banners": banner_facts([], job.inputs["moment"])}
    if champion is None:
        return Output(rows=_rows(0), facts={**facts, "version": None})
    place = Place(
        home=job.home, engine=job.config.engine, device=job.config.train.device, threads=job.config.train.threads
    )
    files = score_at(
        champion,
        open_events(job.inputs["clean"]),
        moment,
        job.out / SCORES,
        place=place,
        data_hash=str(job.inputs["clean"].manifest.content_hash),
    )
    with connect() as connection:
        hashes = [hash_rows(connection, file) for file in files]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    return Output(rows=_rows(rows), content_hash=combine_hashes(hashes), facts={**facts, "version": champion.version})


def _rows(rows: int) -> Rows:
    return Rows(unit_in="scores", unit_out="scores", rows_in=rows, rows_out=rows)


def score_at(
    champion: Champion,
    events: Sequence[BucketEvents],
    moment: Moment,
    folder: Path,
    *,
    place: Place,
    data_hash: str,
    pairs: Sequence[Path] | None = None,
) -> list[Path]:
    """Write what a champion says at an instant, a Parquet file a bucket with the columns of SCHEMA.

    Args:
        champion: of either unit.
        events: what `open_events` gives for the clean events: all buckets.
        moment: only events before it count.
        folder: an empty folder for the files.
        place: where and with what it is computed.
        data_hash: names the events, for the column of that name.
        pairs: as for `write_asked`.

    Returns:
        The files, in the order of the buckets; rows in the order of (shopper, product).
    """
    scorer = open_scorer(champion.model, device=place.device, threads=place.threads)
    files = []
    with temporary_folder(place.home, "asked") as scratch:
        asked = write_asked(champion, events, moment, scratch / "asked", engine=place.engine, pairs=pairs)
        for number, bucket in enumerate(track(asked, what="scores", total=len(asked))):
            features, parts = _read(bucket)
            found = scorer.score_parts(parts, features)
            nothing = np.full(len(parts), np.nan)
            table = pd.DataFrame(
                {
                    "shopper": features["shopper"],
                    "product_id": features["product_id"],
                    "as_of": moment.as_of,
                    "cutoff": moment.cutoff,
                    "probability": found.probability,
                    "decision": found.probability >= scorer.decision.threshold,
                    "expected_amount": nothing if found.expected_amount is None else found.expected_amount,
                    "log_mean": nothing if found.log_mean is None else found.log_mean,
                    "log_std": nothing if found.log_std is None else found.log_std,
                    "version": champion.version,
                    "model": champion.uri,
                    "data_hash": data_hash,
                }
            )
            files.append(bucket_file(folder, number))
            rows = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
            pq.write_table(rows.replace_schema_metadata(), files[-1], compression="zstd")
    return files


def _read(bucket: AskedBucket) -> tuple[pd.DataFrame, list[list[str]]]:
    features = pd.read_parquet(bucket.features)
    if bucket.texts is None:
        return features, [[] for _ in range(len(features))]
    return features, pq.read_table(bucket.texts, columns=["parts"])["parts"].to_pylist()
