"""The steps that `data.py` measures, each called by name in a process of its own (`fresh.py`).

In come JSON arguments, out comes one line of JSON with `seconds`. The one thing to know: a step of ours and the same
done by DuckDB alone read the same files and may use the same threads.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from clock import Clock

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, quote, write_parquet
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.pipeline import STAGES, open_run, run_stage, start_run
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import write_texts
from behavior_tasks.text.words import load_templates

DAY = date(2026, 11, 24)
CLEAN = "clean"
"""The stage that gives clean, sorted, pseudonymous events."""
LAST_EVENTS = 40
LOOKBACK_DAYS = 365
TYPES = {
    "user_id": "VARCHAR",
    "action": "VARCHAR",
    "product_id": "VARCHAR",
    "timestamp": "VARCHAR",
    "quantity": "DOUBLE",
    "price": "DOUBLE",
    "amount": "DOUBLE",
    "category": "VARCHAR",
    "query": "VARCHAR",
    "age": "INTEGER",
    "gender": "VARCHAR",
}


def data_stages() -> list[str]:
    """The stages from the raw log to clean events, in order."""
    names = list(STAGES)
    return [name for name in names[: names.index(CLEAN) + 1] if name != "simulate"]


def prepare(log: str, home: str, run_id: str, engine: dict[str, Any]) -> dict[str, Any]:
    """Bring a raw log to clean, sorted, pseudonymous Parquet; what the state folder has already is used."""
    os.environ[HOME_VARIABLE] = home
    overrides = {f"engine.{key}": value for key, value in engine.items()}
    clock = Clock()
    uri = start_run(run_id, day=DAY, trigger="inspection", input_path=log, overrides=overrides)
    uris: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in data_stages():
        begun = time.monotonic()
        uris[name] = run_stage(name, uri, *(uris.get(i.removesuffix("?")) for i in STAGES[name].inputs))
        seconds[name] = round(time.monotonic() - begun, 2)
    told = clock.told()
    clean = open_run(uri).artifact(CLEAN)
    assert clean is not None
    files = {file for bucket in open_events(clean) for file in bucket.files}
    return {
        **told,
        "stages": seconds,
        "events": clean.manifest.rows.rows_out,
        "bytes": sum(file.stat().st_size for file in files),
        "stored_bytes": sum(file.stat().st_size for file in (Path(home) / "artifacts").rglob("*") if file.is_file()),
    }


def sort_with_duckdb(log: str, out: str, threads: int, memory_mb: int) -> dict[str, Any]:
    """Read, sort and write the same file as DuckDB does it by itself, the columns typed the same."""
    types = ", ".join(f"'{name}': '{type_}'" for name, type_ in TYPES.items())
    how = f"header = true, auto_detect = false, delim = ',', quote = '\"', columns = {{{types}}}"
    query = f"""
        SELECT * REPLACE (make_timestamp(TRY_CAST(timestamp AS BIGINT) * 1000000) AS timestamp)
        FROM read_csv({quote(Path(log))}, {how})
        ORDER BY user_id, timestamp, action, product_id
    """
    clock = Clock()
    with duckdb.connect(config={"threads": threads, "memory_limit": f"{memory_mb}MB"}) as connection:
        connection.execute(f"SET temp_directory = {quote(Path(out + '.spill'))}")
        connection.execute(f"COPY ({query}) TO {quote(Path(out))} (FORMAT parquet, COMPRESSION zstd)")
    return {**clock.told(), "bytes": Path(out).stat().st_size}


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    events: BucketEvents
    out: Path
    settings: TextSettings
    memory_mb: int


def make_examples(home: str, run_id: str, out: str) -> dict[str, Any]:
    """Write one example a shopper, at the log's end, and the profile columns that a text reads (not compared)."""
    clock = Clock()
    clean = open_clean(home, run_id)
    cutoff = datetime.fromisoformat(clean.facts["last"]) + timedelta(seconds=1)
    for number, bucket in enumerate(open_events(clean)):
        with connect() as connection:
            bucket.create_view(connection)
            query = f"""
                SELECT shopper || '@end' AS example, shopper, '' AS product_id, 'test' AS split,
                       TIMESTAMP '{cutoff}' AS cutoff, 1 AS label,
                       CAST(0 AS DOUBLE) AS amount, CAST(1 AS DOUBLE) AS weight, max(gender) AS gender,
                       CAST(max(age) AS DOUBLE) AS age,
                       CAST(count(*) FILTER (action = 'purchase') AS DOUBLE) AS purchases
                FROM events GROUP BY shopper ORDER BY shopper
            """
            write_parquet(connection, query, bucket_file(_made(Path(out)), number))
    return clock.told()


def write_our_texts(home: str, run_id: str, examples: str, out: str, engine: dict[str, Any]) -> dict[str, Any]:
    """Write every shopper's last 40 phrases as our text."""
    clean, chosen = open_clean(home, run_id), EngineConfig.model_validate(engine)
    settings = TextSettings(
        style="compact",
        language="en",
        last_events=LAST_EVENTS,
        lookback_days=LOOKBACK_DAYS,
        bins={},
        categories=[f"category {n}" for n in range(30)],
        amount_edges=[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0],
        price_edges=[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0],
        templates=load_templates("en"),
    )
    clock = Clock()
    jobs = [
        _Bucket(
            examples=file,
            events=events,
            out=bucket_file(_made(Path(out)), number),
            settings=settings,
            memory_mb=chosen.memory_mb,
        )
        for number, (file, events) in enumerate(zip(bucket_files(Path(examples)), open_events(clean), strict=True))
    ]
    rows = run_buckets(_write_bucket, jobs, engine=chosen, what="texts", rows=clean.manifest.rows.rows_out)
    return {**clock.told(), "texts": sum(rows), "buckets": len(jobs)}


def write_duckdb_texts(home: str, run_id: str, out: str, threads: int, memory_mb: int) -> dict[str, Any]:
    """Write every shopper's last 40 events as DuckDB does it, one query a bucket."""
    clean = open_clean(home, run_id)
    clock = Clock()
    rows = 0
    with duckdb.connect(config={"threads": threads, "memory_limit": f"{memory_mb}MB"}) as connection:
        for number, bucket in enumerate(open_events(clean)):
            bucket.create_view(connection)
            query = f"""
                SELECT shopper,
                       string_agg(verb || ' ' || product_id, ', ' ORDER BY timestamp, action, product_id) AS text
                FROM (
                    SELECT *, CASE action WHEN 'browse' THEN 'browsed' WHEN 'click' THEN 'clicked'
                                  WHEN 'purchase' THEN 'purchased' WHEN 'search' THEN 'searched'
                                  WHEN 'return' THEN 'returned' ELSE action END AS verb,
                           row_number() OVER (PARTITION BY shopper
                                              ORDER BY timestamp DESC, action DESC, product_id DESC) AS back
                    FROM events
                )
                WHERE back <= {LAST_EVENTS} GROUP BY shopper ORDER BY shopper
            """
            path = bucket_file(_made(Path(out)), number)
            done = connection.execute(f"COPY ({query}) TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)").fetchall()
            rows += done[0][0]
            connection.execute("DROP VIEW events")
    return {**clock.told(), "texts": rows}


def _write_bucket(bucket: _Bucket) -> int:
    rows, _ = write_texts(bucket.examples, bucket.events, bucket.out, bucket.settings, memory_mb=bucket.memory_mb)
    return rows


def open_clean(home: str, run_id: str) -> Artifact:
    """Return the clean events that `prepare` made."""
    os.environ[HOME_VARIABLE] = home
    clean = open_run(run_id).artifact(CLEAN)
    assert clean is not None
    return clean


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function
    for function in (prepare, sort_with_duckdb, make_examples, write_our_texts, write_duckdb_texts)
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
