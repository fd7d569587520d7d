"""The data stages without the pipeline: each built into a store below a test's own folder."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.clean import clean_stage
from behavior_tasks.data.identities import identities_stage
from behavior_tasks.data.ingest import ingest_stage
from behavior_tasks.data.sources import hash_raw_files, source_stage

TODAY = date(2026, 11, 23)
WORK: dict[str, Callable[[Job], Output]] = {
    "source": source_stage,
    "ingest": ingest_stage,
    "clean": clean_stage,
    "identities": identities_stage,
}
HEADER = "user_id,action,product_id,timestamp"
SMALL = {"engine.buckets": 2, "engine.workers": 1}
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real_log(name: str) -> Path:
    path = REAL_DATA / name
    if not path.is_file():
        pytest.skip(f"the real log {name} is not in ../shared/data")
    return path


def seconds(text: str) -> int:
    """Unix seconds of an ISO text in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def write_log(path: Path, rows: Iterable[object], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *map(str, rows)]) + "\n", encoding="utf-8")
    return path


def run_to(
    last: str,
    raw: Path,
    home: Path,
    *,
    preset: str = "canonical",
    overrides: dict[str, object] | None = None,
    work: Callable[[Job], Output] | None = None,
    min_free_disk_mb: int = 0,
) -> Artifact:
    """Run the stages up to and including one; `work` may stand in for that one's function."""
    config = load_config(preset, overrides={**SMALL, **(overrides or {})})
    store = ArtifactStore(home / "artifacts", min_free_disk_mb=min_free_disk_mb)
    hashes = hash_raw_files(raw, config, Home(home))
    inputs: dict[str, Artifact] = {}
    for name, function in WORK.items():
        chosen = work if work and name == last else function
        inputs[name] = _build(store, name, chosen, config, inputs, raw, Home(home), hashes)
        if name == last:
            break
    return inputs[last]


def _build(
    store: ArtifactStore,
    name: str,
    function: Callable[[Job], Output],
    config: Config,
    inputs: dict[str, Artifact],
    raw: Path,
    home: Home,
    hashes: dict[str, str],
) -> Artifact:
    given = dict(inputs)

    def work(out: Path, key: str) -> Output:
        return function(Job(config=config, inputs=given, out=out, key=key, home=home, today=TODAY, raw=str(raw)))

    secret = {"key": os.environ.get("BEHAVIOR_IDENTITY_KEY", "")}
    settings = {**config.model_dump(mode="json"), **secret}
    uris = {key: artifact.uri for key, artifact in given.items()}
    return store.build(stage=name, code="test", settings=settings, inputs={**uris, **hashes}, work=work).artifact


def table(artifact: Artifact, files: str, columns: str = "*", order: str = "ALL") -> list[tuple[object, ...]]:
    """Return rows of an artifact's Parquet files."""
    path = quote(artifact.path / files)
    return connect().execute(f"SELECT {columns} FROM read_parquet({path}) ORDER BY {order}").fetchall()


def events(artifact: Artifact, columns: str = "*", order: str = "ALL") -> list[tuple[object, ...]]:
    return table(artifact, "events/*.parquet", columns, order)


def reasons(artifact: Artifact) -> list[tuple[object, ...]]:
    """Return (line, reason) of the quarantined rows."""
    return table(artifact, "quarantine.parquet", "line, reason", "line")
