"""Little logs as `clean` leaves them, and the running of single stages, for the tests of examples and text."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config, EngineConfig, load_config
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, connect, quote, write_parquet
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.features import FeatureSettings, write_features
from behavior_tasks.examples.market import count_market

Event = Mapping[str, Any]
START = datetime(2026, 1, 1)


def event(shopper: str, at: str | datetime, action: str, product: str | None = "p1", **more: Any) -> Event:
    return {"shopper": shopper, "timestamp": pd.Timestamp(at), "action": action, "product_id": product, **more}


def little_config(**overrides: Any) -> Config:
    """Three days of horizon, two train cutoffs, one process; dots of setting names are written as `__`."""
    given = {
        "examples.horizon_days": 3,
        "examples.train_cutoffs": 2,
        "examples.train_every_days": 3,
        "examples.min_shoppers": 2,
        "examples.min_buyers": 1,
        "engine.workers": 1,
        "engine.min_free_disk_mb": 0,
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    return load_config("canonical", overrides=given)


def shop(*, shoppers: int = 40, days: int = 30, seed: int = 3) -> list[Event]:
    """A log in which every second shopper buys often and the others browse."""
    rng = np.random.default_rng(seed)
    events = []
    for number in range(shoppers):
        for _ in range(int(rng.integers(4, 20))):
            at = START + timedelta(seconds=int(rng.integers(0, days * 86_400)))
            product = f"p{rng.integers(0, 9)}"
            category = ("shoes", "toys", "Home & Garden", None)[int(rng.integers(0, 4))]
            action = str(rng.choice(["browse", "click", "add_to_cart"]))
            person = {"age": 20 + number, "gender": ("female", "male", "unknown")[number % 3], "category": category}
            events.append(event(f"s{number:02d}", at, action, product, price=float(rng.integers(1, 90)), **person))
            if number % 2 == 0 and rng.random() < 0.6:
                price = float(rng.integers(1, 900)) / 10
                bought = at + timedelta(minutes=int(rng.integers(0, 90)))
                events.append(event(f"s{number:02d}", bought, "purchase", product, price=price, amount=price, **person))
    # The log reaches into the last hour of its last day, so that the timeline is known.
    ends = START + timedelta(days=days, seconds=-1)
    return [row for row in events if row["timestamp"] < ends] + [event("s01", ends, "browse")]


def clean_log(folder: Path, events: Sequence[Event], *, buckets: int = 2, shuffle: int | None = None) -> Artifact:
    """Write a log's buckets as an artifact of `clean`.

    Args:
        shuffle: seed of a random order of the rows; in the order given when None.
    """
    table = pd.DataFrame(list(events), columns=[column.name for column in SHOPPER_COLUMNS])
    if shuffle is not None:
        table = table.sample(frac=1, random_state=shuffle)
    places = {name: number % buckets for number, name in enumerate(sorted(set(table["shopper"])))}
    connection = connect()
    columns = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS)

    def write(out: Path, key: str) -> Output:
        (out / "events").mkdir()
        for bucket in range(buckets):
            connection.register("part", table[table["shopper"].map(places) == bucket].astype(object))
            write_parquet(connection, f"SELECT {columns} FROM part", bucket_file(out / "events", bucket))
        instants = table["timestamp"]
        facts = {
            "first": instants.min().isoformat() if len(table) else None,
            "last": instants.max().isoformat() if len(table) else None,
            "present": [name for name in ("amount", "price", "age", "category", "brand") if table[name].notna().any()],
        }
        rows = Rows(unit_in="rows", unit_out="rows", rows_in=len(table), rows_out=len(table))
        return Output(rows=rows, facts=facts)

    store = ArtifactStore(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return store.build(stage="clean", code="", settings={"at": str(shuffle)}, inputs={}, work=write).artifact


def run(
    stage: str, work: Callable[[Job], Output], config: Config, inputs: Sequence[Artifact], folder: Path
) -> Artifact:
    """Run one stage over finished inputs."""
    named = {artifact.manifest.stage: artifact for artifact in inputs}
    folder.mkdir(parents=True, exist_ok=True)

    def do(out: Path, key: str) -> Output:
        return work(Job(config=config, inputs=named, out=out, key=key, home=Home(folder), today=date(2026, 11, 23)))

    uris = {name: artifact.uri for name, artifact in named.items()}
    store = ArtifactStore(folder)
    return store.build(stage=stage, code="", settings=config.model_dump(mode="json"), inputs=uris, work=do).artifact


def make_features(examples: Path, log: Artifact, out: Path, settings: FeatureSettings) -> None:
    """Write the features of the examples in one file, whose shoppers lie in the log's first bucket."""
    connection = connect()
    query = f"SELECT DISTINCT cutoff FROM read_parquet({quote(examples)})"
    cutoffs = [row[0] for row in connection.execute(query).fetchall()]
    folder = out.with_suffix(".market")
    folder.mkdir()
    events = open_events(log)
    market = count_market(events, cutoffs, folder, lookback_days=settings.lookback_days, engine=EngineConfig(workers=1))
    write_features(examples, events[0], market, out, settings)


def table(folder: Path) -> pd.DataFrame:
    """Read all buckets of a folder, ordered by example."""
    connection = connect()
    frame = connection.execute(f"SELECT * FROM read_parquet('{folder}/*.parquet') ORDER BY example").df()
    return frame.set_index("example", drop=False)
