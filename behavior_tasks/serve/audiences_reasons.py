"""Reasons beside shoppers: audiences in; for the first of each, what in their history moved their score, out.

The one thing to know: texts and features are made by the functions that made those of the scores, for the few shoppers
that a reason is wanted for; a simple method gives no reasons, its order is one.
"""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.model.reasons import reasons_of
from behavior_tasks.serve.asked import write_asked
from behavior_tasks.serve.audiences_pick import Picked
from behavior_tasks.serve.audiences_scores import Scored
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment


def add_reasons(job: Job, scored: Scored, moment: Moment, picked: list[Picked]) -> None:
    """Give the members of audiences a column `reason`, filled for the first `audiences.reasons` of each."""
    champion, most = scored.champion, job.config.audiences.reasons
    wanted = sorted({shopper for one in picked for shopper in one.members["shopper"].head(most)})
    told: dict[str, str] = {}
    if scored.method == "champion" and champion is not None and wanted:
        told = _reasons(job, champion, moment, wanted)
    for one in picked:
        reasons = one.members["shopper"].map(told) if told else None
        one.members["reason"] = pd.Series(reasons, index=one.members.index, dtype="object")


def _reasons(job: Job, champion: Champion, moment: Moment, wanted: list[str]) -> dict[str, str]:
    events, train = open_events(job.inputs["clean"]), job.config.train
    found: dict[str, str] = {}
    with temporary_folder(job.home, "reasons") as folder:
        pairs = []
        for number, bucket in enumerate(events):
            pairs.append(bucket_file(folder, number))
            mine = [shopper for shopper in wanted if is_in(bucket, shopper)]
            columns = {"shopper": pa.array(mine, pa.string()), "product_id": pa.nulls(len(mine), pa.string())}
            pq.write_table(pa.table(columns), pairs[-1])
        asked = write_asked(champion, events, moment, folder / "asked", engine=job.config.engine, pairs=pairs)
        for done in asked:
            features = pd.read_parquet(done.features)
            if not len(features):
                continue
            parts: list[list[str]] = [[] for _ in range(len(features))]
            if done.texts is not None:
                parts = pq.read_table(done.texts, columns=["parts"])["parts"].to_pylist()
            told = reasons_of(
                champion.model, parts, features, settings=champion.text, device=train.device, threads=train.threads
            )
            found |= {
                shopper: "; ".join(map(str, reasons)) or "nothing by itself"
                for shopper, reasons in zip(features["shopper"], told, strict=True)
            }
    return found


def is_in(bucket: BucketEvents, shopper: str) -> bool:
    """Whether a shopper's events lie in a bucket."""
    return bucket.range.low <= shopper and (bucket.range.high is None or shopper < bucket.range.high)
