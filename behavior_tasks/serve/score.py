"""Scores: a champion, clean events and an instant in; what the champion says of everybody out.

Of the unit shopper a row is a shopper with an event in the lookback, of shopper_product one of the products that they
touched in it. The one thing to know: what a text tells depends on nothing else, so it is kept (see `answers`), and only
texts that are new are read; the numbers beside them are cheap and always today's.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import Config, EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, combine_hashes, connect, hash_rows
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.formats import CONFIG_FILE, is_boosting
from behavior_tasks.serve.answers import Shelf
from behavior_tasks.serve.asked import AskedBucket, write_asked
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import FOLDER

if TYPE_CHECKING:  # torch and transformers take seconds to import, and who only reads scores needs neither
    from behavior_tasks.model.boosting_bundle import BoostingScorer
    from behavior_tasks.model.device import DeviceName
    from behavior_tasks.model.predict import Scorer
    from behavior_tasks.model.predictions import Predictions

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
    device: "DeviceName"
    threads: int

    @classmethod
    def of(cls, home: Home, config: Config) -> Self:
        """Return the place that the settings name."""
        return cls(home=home, engine=config.engine, device=config.train.device, threads=config.train.threads)


@dataclass(frozen=True, kw_only=True)
class ScoredBucket:
    """The scores of one bucket of shoppers."""

    file: Path
    """Parquet with the columns of SCHEMA, in the order of (shopper, product)."""
    rows: int
    asked: int
    """Rows that the model was asked about: those with a text of which no answer was kept, of equal texts one."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    champion: Champion
    moment: Moment
    asked: AskedBucket
    shelf: Shelf | None
    device: "DeviceName"
    threads: int
    data_hash: str
    out: Path


def shopper_scores_stage(job: Job) -> Output:
    """Score every shopper."""
    return _stage(job, "shopper")


def product_scores_stage(job: Job) -> Output:
    """Score every product that a shopper touched."""
    return _stage(job, "shopper_product")


def _stage(job: Job, unit: Unit) -> Output:
    """Write `served/scores`; facts: `unit`, `version` (None: there is no champion), `asked`, `kept`, `seconds`."""
    champion, moment = Champion.load(job.inputs["champions"], unit), Moment.load(job.inputs["moment"])
    (job.out / SCORES).mkdir(parents=True)
    facts: dict[str, Any] = {"unit": unit}
    if champion is None:
        return Output(rows=_rows(0), facts={**facts, "version": None, "asked": 0, "kept": 0, "seconds": 0.0})
    engine, began = job.config.engine, time.monotonic()
    done = score_at(
        champion,
        open_events(job.inputs["clean"]),
        moment,
        job.out / SCORES,
        place=Place.of(job.home, job.config),
        data_hash=str(job.inputs["clean"].manifest.content_hash),
    )
    facts |= {"version": champion.version, "seconds": round(time.monotonic() - began, 1)}
    rows, asked = sum(bucket.rows for bucket in done), sum(bucket.asked for bucket in done)
    with connect(memory_mb=engine.memory_mb) as connection:
        content_hash = combine_hashes(hash_rows(connection, bucket.file) for bucket in done)
    return Output(rows=_rows(rows), content_hash=content_hash, facts={**facts, "asked": asked, "kept": rows - asked})


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
) -> list[ScoredBucket]:
    """Write what a champion says at an instant, a Parquet file a bucket.

    With Spark and without a GPU here, its executors read the texts; else this process does, on all its threads.

    Args:
        champion: of either unit.
        events: what `open_events` gives for the clean events: all buckets.
        moment: only events before it count.
        folder: an empty folder for the files.
        place: where and with what it is computed.
        data_hash: names the events, for the column of that name.
        pairs: as for `write_asked`.

    Returns:
        The buckets, in their order.
    """
    from behavior_tasks.model.device import pick_device

    device = pick_device(place.device).type
    on_spark = place.engine.runner == "spark" and device == "cpu"
    engine = place.engine if on_spark else place.engine.model_copy(update={"runner": "local", "workers": 1})
    reads = not is_boosting(champion.model)
    shelf = Shelf.open(place.home, champion.model, device, buckets=len(events)) if reads else None
    with temporary_folder(place.home, "asked") as scratch:
        asked = write_asked(champion, events, moment, scratch / "asked", engine=place.engine, pairs=pairs)
        jobs = [
            _Bucket(
                champion=champion,
                moment=moment,
                asked=bucket,
                shelf=shelf,
                device="cpu" if on_spark else place.device,
                threads=1 if on_spark else place.threads,
                data_hash=data_hash,
                out=bucket_file(folder, number),
            )
            for number, bucket in enumerate(asked)
        ]
        return run_buckets(_score_bucket, jobs, engine=engine, what="scores")


def _score_bucket(bucket: _Bucket) -> ScoredBucket:
    champion, moment = bucket.champion, bucket.moment
    scorer = _scorer(champion.model, bucket.device, bucket.threads)
    names = ["shopper", "product_id", *scorer.numbers, *scorer.words]
    features = pd.read_parquet(bucket.asked.features, columns=names)
    found, asked = _answers(bucket, scorer, features)
    nothing = np.full(len(features), np.nan)
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
            "data_hash": bucket.data_hash,
        }
    )
    rows = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(), bucket.out, compression="zstd")
    return ScoredBucket(file=bucket.out, rows=len(table), asked=asked)


def _answers(bucket: _Bucket, scorer: "Scorer | BoostingScorer", features: pd.DataFrame) -> "tuple[Predictions, int]":
    """Return what the model says, and of how many rows it was asked."""
    from behavior_tasks.model.boosting_bundle import BoostingScorer

    if isinstance(scorer, BoostingScorer):
        return scorer.score(features), len(features)
    assert bucket.asked.texts is not None
    assert bucket.shelf is not None
    parts = pq.read_table(bucket.asked.texts, columns=["parts"])["parts"].combine_chunks()
    told = bucket.shelf.tell(scorer, parts, bucket.out.stem)
    return scorer.join(told.told, features), told.asked


def _scorer(model: Path, device: "DeviceName", threads: int) -> "Scorer | BoostingScorer":
    return _open_scorer(model, device, threads, (model / CONFIG_FILE).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_scorer(model: Path, device: "DeviceName", threads: int, version: int) -> "Scorer | BoostingScorer":
    from behavior_tasks.model.predict import open_scorer

    return open_scorer(model, device=device, threads=threads)
