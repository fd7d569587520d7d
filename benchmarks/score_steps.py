"""The measured step of `score.py`: one night of scoring, in a process of its own.

    python benchmarks/score_steps.py STEP ARGUMENTS     arguments as JSON; prints the answer as one line of JSON

Imports are not timed; loading the model, features, texts, reading and writing are.
"""

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from clock import Clock

from behavior_tasks.base.artifacts import ArtifactStore
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.model.event_folder import EventSettings
from behavior_tasks.serve.asked import write_asked
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment, moment_at
from behavior_tasks.serve.score import Place, score_at


def score(root: str, clean: str, night: str, buckets: int, threads: int) -> dict[str, Any]:
    """Score everybody on the day that the log ends (`first`, `late`) or a day later (`next`), or write the `texts`."""
    state, path = Path(root), Path(clean)
    settings = EventSettings.load(state / "events")
    unit = settings.examples.unit
    folders = {"model": state / "model", "events": state / "events"}
    champion = Champion(unit=unit, **folders, settings=settings, name="random", version="1", uri=None)
    artifact = ArtifactStore(path.parents[1]).find("clean", path.name)
    moment = moment_at(settings.market.date(), settings.features.timezone).earlier(-1 if night == "next" else 0)
    with tempfile.TemporaryDirectory(dir=state) as name:
        folder = Path(name)
        events: list[BucketEvents] = list(open_events(artifact))
        if night == "late":
            events = [_later(bucket, bucket_file(folder, number), moment) for number, bucket in enumerate(events)]
        (folder / "out").mkdir()
        engine = EngineConfig(workers=1)
        # Kept answers of its own for each number of buckets, so that every first night is one.
        place = Place(home=Home(state / f"kept-{buckets}"), engine=engine, device="cpu", threads=threads)
        clock = Clock()
        if night == "texts":
            written = write_asked(champion, events, moment, folder / "asked", engine=engine)
            told, rows = clock.told(), sum(pq.read_metadata(bucket.features).num_rows for bucket in written)
            return {**told, "rows": rows, "asked": 0}
        done = score_at(champion, events, moment, folder / "out", place=place, data_hash="")
        told = clock.told()
    return {**told, "rows": sum(bucket.rows for bucket in done), "asked": sum(bucket.asked for bucket in done)}


def _later(bucket: BucketEvents, file: Path, moment: Moment) -> BucketEvents:
    """Return a bucket in which one shopper in twenty has a further event an hour before the moment."""
    query = f"""
        SELECT * FROM events
        UNION ALL BY NAME
        SELECT * REPLACE (TIMESTAMP '{moment.cutoff - timedelta(hours=1)}' AS timestamp, 'click' AS action)
        FROM (
            SELECT * FROM events WHERE hash(shopper) % 20 = 0 AND timestamp < TIMESTAMP '{moment.cutoff}'
            QUALIFY row_number() OVER (PARTITION BY shopper ORDER BY timestamp DESC, action, product_id) = 1
        )
    """
    with connect() as connection:
        bucket.create_view(connection)
        write_parquet(connection, query, file)
    return BucketEvents(files=(file,))


if __name__ == "__main__":
    print(json.dumps({"score": score}[sys.argv[1]](**json.loads(sys.argv[2]))))
