"""The data stages without the pipeline: each built into a store below a test's own folder."""

import os
import re
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
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.ingest import ingest_stage
from behavior_tasks.data.keys import identity_key
from behavior_tasks.data.parts import read_parts
from behavior_tasks.data.sources import hash_raw_files, source_stage

TODAY = date(2026, 11, 23)
WORK: dict[str, Callable[[Job], Output]] = {
    "source": source_stage,
    "ingest": ingest_stage,
    "clean": clean_stage,
}
HEADER = "user_id,action,product_id,timestamp"
READ: dict[str, dict[tuple[Path, int], str]] = {}
"""State folder → texts of the logs that were read into it, by file and time of its last change."""
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
    raw: Path | str,
    home: Path,
    *,
    preset: str = "canonical",
    overrides: dict[str, object] | None = None,
    work: Callable[[Job], Output] | None = None,
    min_free_disk_mb: int = 0,
) -> Artifact:
    """Run the stages up to and including one; `work` may stand in for that one's function."""
    settings = {**SMALL, "engine.min_free_disk_mb": min_free_disk_mb, **(overrides or {})}
    config = load_config(preset, overrides=settings)
    store = ArtifactStore(home / "artifacts", min_free_disk_mb=min_free_disk_mb)
    read = READ.setdefault(str(home), {})
    for file in [Path(raw)] if Path(raw).is_file() else filter(Path.is_file, Path(raw).glob("*.*")):
        version = (file, file.stat().st_mtime_ns)
        read[version] = read.get(version) or file.read_text(encoding="utf-8", errors="replace")
    hashes = hash_raw_files(str(raw), config, Home(home))
    inputs: dict[str, Artifact] = {}
    for name, function in WORK.items():
        chosen = work if work and name == last else function
        inputs[name] = _build(store, name, chosen, config, inputs, str(raw), Home(home), hashes)
        if name == last:
            break
    return inputs[last]


def _build(
    store: ArtifactStore,
    name: str,
    function: Callable[[Job], Output],
    config: Config,
    inputs: dict[str, Artifact],
    raw: str,
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
    """Return the events of `ingest` or `clean`; `user_id` may be asked for: the raw id behind a pseudonym."""
    store, connection = ArtifactStore(artifact.path.parents[1]), connect()
    if artifact.manifest.stage == "ingest":
        runs = [f"{store.open(part.uri).path}/runs/*.parquet" for part in read_parts(artifact.path)]
        source = f"(SELECT * FROM read_parquet({runs}))"
    else:
        source = f"({' UNION ALL '.join(f'({bucket.sql()})' for bucket in open_events(artifact))})"
    if "user_id" in columns or "user_id" in order:
        known = ", ".join(f"('{name}', '{pseudonym}')" for name, pseudonym in _raw_ids(artifact).items())
        source = f"{source} JOIN (VALUES {known}) AS known(user_id, name) ON name = shopper"
    return connection.execute(f"SELECT {columns} FROM {source} ORDER BY {order}").fetchall()


def _raw_ids(artifact: Artifact) -> dict[str, str]:
    """Return raw id → pseudonym for each word of the logs that were read into this state folder."""
    home = Home(artifact.path.parents[2])
    key = identity_key(home)
    words = {word for log in READ.get(str(home.root), {}).values() for word in re.findall(r"[\w.-]+", log)}
    words |= {word.removesuffix(".0") for word in words}
    return {word: pseudonym(word, key) for word in words}


def reasons(artifact: Artifact) -> list[tuple[object, ...]]:
    """Return (line, reason) of the quarantined rows."""
    return table(artifact, "quarantine.parquet", "line, reason", "line")
