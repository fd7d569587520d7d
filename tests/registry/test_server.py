"""The same functions against a real MLflow server, and against one that does not answer."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.pipeline import waiting
from behavior_tasks.registry import ledger, store, title, tracking, versions
from behavior_tasks.registry.overrule import Asked, roll_back
from behavior_tasks.registry.repair import check_up
from behavior_tasks.registry.retention import Policy, Retention
from tests.registry.conftest import adopt
from tests.verdict.world import World

CONFIG = Config()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An MLflow server on the loopback interface, in a process group of its own, which is ended by its id."""
    place = tmp_path / "server"
    place.mkdir()
    shutil.copy(tables, place / "mlflow.db")
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "files")]
    command = [sys.executable, "-m", "mlflow", "server", *options, *stores]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=place, stdout=log, stderr=log, env={**os.environ, **store.ENVIRONMENT}, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, place / "log")
        monkeypatch.setenv(store.URI_VARIABLE, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(address, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_a_server_keeps_run_version_champion_and_files(
    server: str, bare: Home, world_model: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "verdict.json").write_text("{}")
    world_model = adopt(world_model, bare)
    for _ in range(2):
        found = tracking.start_tracking(bare, CONFIG, run_id="night-1", name="a night", tags={"day": "2026-11-23"})
        tracking.log_results(
            bare,
            CONFIG,
            run_id="night-1",
            params={"train.epochs": 3},
            metrics={"test_f1": 0.4},
            epochs=[{"epoch": 1, "train_loss": 0.5}],
            plots=[],
            files=[tmp_path / "verdict.json"],
            datasets={"ingest": "ab" * 32},
            tags={"verdict": "promote"},
        )
        registered = versions.register(bare, CONFIG, run_id="night-1", model=world_model, tags={"f1": "0.4"})
        versions.promote(
            bare,
            CONFIG,
            version=registered.version,
            verdict={
                "decision": "promote",
                "reason": "promote: first",
                "champion_version": None,
                "candidate": world_model.uri,
                "test_hash": "abc",
            },
            run_id="night-1",
            who="nightly",
            when=datetime(2026, 11, 23, tzinfo=UTC),
        )
    tracking.finish_tracking(bare, CONFIG, run_id="night-1", succeeded=True)
    run = httpx.get(f"{server}/api/2.0/mlflow/runs/get", params={"run_id": found}).json()["run"]
    assert run["info"]["status"] == "FINISHED"
    assert {metric["key"]: metric["value"] for metric in run["data"]["metrics"]} == {"test_f1": 0.4, "train_loss": 0.5}
    link = tracking.run_link(bare, CONFIG, "night-1")
    assert link is not None
    assert link["mlflow_run_id"] == found
    champion = versions.champion(bare, CONFIG)
    assert champion is not None
    assert (champion.version, champion.model) == ("1", world_model.uri)
    # Nothing of it lies in the state folder; the champion's files come from the server.
    assert not (bare.mlflow / store.DATABASE).exists()
    out = tmp_path / "out"
    out.mkdir()
    job = Job(config=CONFIG, inputs={}, out=out, key="k", home=bare, today=date(2026, 11, 23))
    facts = versions.champion_stage(job).facts
    assert facts == {"version": "1", "model": world_model.uri, "day": facts["day"], "problem": None}
    weights = "model.safetensors"
    assert (out / "model" / weights).read_bytes() == (world_model.path / "model" / weights).read_bytes()


@pytest.mark.slow
def test_a_server_is_rolled_back_watched_and_tidied_up(server: str, bare: Home, world: World, tmp_path: Path) -> None:
    asked = Asked(who="ann", why="calls everybody a buyer", when=datetime(2026, 11, 24, tzinfo=UTC))
    tracking.start_tracking(bare, CONFIG, run_id="night-1", name="a night", tags={})
    was = None
    for seed in (1, 2, 3, 4):
        model = adopt(world.model(seed), bare)
        version = versions.register(bare, CONFIG, run_id="night-1", model=model, tags={}).version
        if seed < 3:
            told = {"decision": "promote", "reason": "better", "champion_version": was, "candidate": model.uri}
            when = datetime(2026, 11, 23, tzinfo=UTC)
            told |= {"test_hash": "abc"}
            versions.promote(bare, CONFIG, version=version, verdict=told, run_id="night-1", who="x", when=when)
            was = version
    assert roll_back(bare, CONFIG, asked)["version"] == "1"
    with store.connect(bare) as client:
        client.set_registered_model_alias("behavior", "champion", "2")
    found = versions.champion(bare, CONFIG)
    assert found is not None
    assert found.version == "2"
    assert [line["kind"] for line in ledger.read(bare)] == ["promotion", "promotion", "rollback", "noticed"]
    assert check_up(bare, CONFIG).head == "the last line that MLflow remembers is there"
    policy = Policy(keep_versions=0, keep_days=30, keep_runs=1, now=time.time() + 60 * 86_400)
    files = tmp_path / "server" / "files"
    assert len(list(files.rglob("MLmodel"))) == 4
    with title.hold(bare, CONFIG) as desk:
        retention = Retention(desk, CONFIG, policy)
        (item,) = retention.plan()
        assert (item.kind, item.name) == ("version", "3")
        assert item.bytes > 1000
        retention.delete(item)
    assert len(list(files.rglob("MLmodel"))) == 3
    with title.hold(bare, CONFIG) as desk:
        assert Retention(desk, CONFIG, policy).plan() == []


def test_a_server_that_does_not_answer_is_said_without_its_password(
    bare: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv(store.URI_VARIABLE, f"http://ann:secret@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert tracking.start_tracking(bare, CONFIG, run_id="night-1", name="n", tags={}) is None
    told = waiting(bare)["night-1"]
    assert "The MLflow server does not answer." in told
    assert f"http://127.0.0.1:{port}" in told
    assert "secret" not in told
    # Whoever the champion is: nobody can be compared with him, so he is kept.
    assert versions.champion_identity(None, CONFIG, bare) == {"champion": versions.UNASKED}
