"""A real MLflow server with logins over a real Postgres: refused, taken, killed in mid-run, started again, synced."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from mlflow import MlflowClient

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import sync, waiting
from behavior_tasks.registry import candidates, store, tracking, versions
from behavior_tasks.registry.live import LiveMetrics
from tests.postgres_server import USER, free_port, private_postgres
from tests.registry.conftest import adopt
from tests.registry.test_server import wait_for
from tests.verdict.world import World

pytestmark = pytest.mark.slow
pytest.importorskip("flask_wtf", reason="MLflow's logins need it: pip install -r requirements-dev.txt")
CONFIG = Config()
DATABASE_PASSWORD, ADMIN_PASSWORD = "s3cr3t/p@ss", "correct horse battery"


class Server:
    """An MLflow server that asks for a login; its data outlive its process."""

    def __init__(self, place: Path, postgres: str) -> None:
        self.place, self.port = place, free_port()
        login = f"postgresql+psycopg2://{USER}:{quote(DATABASE_PASSWORD, safe='')}@{postgres}"
        # In an .ini file, a percent sign is doubled.
        users = f"{login}/users".replace("%", "%%")
        (place / "auth.ini").write_text(
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {users}\nadmin_username = admin\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            # Checking a password costs half a second by design; without this, so does every request.
            "auth_cache_ttl_seconds = 300\n"
        )
        self.environment = {
            **os.environ,
            **store.ENVIRONMENT,
            "MLFLOW_AUTH_CONFIG_PATH": str(place / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for this test",
            "MLFLOW_BACKEND_STORE_URI": f"{login}/runs",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", "--app-name", "basic-auth"]
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *options,
            "--artifacts-destination",
            str(self.place / "files"),
        ]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.place, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        wait_for(f"{self.url}/health", self.process, self.place / "log", seconds=300)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with private_postgres(DATABASE_PASSWORD) as postgres:
        login = f"postgresql://{USER}:{quote(DATABASE_PASSWORD, safe='')}@{postgres}/postgres"
        with psycopg.connect(login, autocommit=True) as connection:
            connection.execute("CREATE DATABASE runs")
            connection.execute("CREATE DATABASE users")
        server = Server(tmp_path_factory.mktemp("server"), postgres)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with the login in the environment; up again for whoever comes next."""
    monkeypatch.setenv(store.URI_VARIABLE, running.url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    yield running
    if running.process is None or running.process.poll() is not None:
        running.start()


def verdict(model: Artifact, champion: str | None) -> dict[str, object]:
    return {
        "decision": "promote",
        "reason": "promote: it is better",
        "champion_version": champion,
        "candidate": model.uri,
        "test_hash": "abc",
    }


def start(home: Home, run_id: str) -> str | None:
    return tracking.start_tracking(home, CONFIG, run_id=run_id, name=f"run {run_id}", tags={})


def log(home: Home, run_id: str, plot: Path) -> None:
    tracking.log_results(
        home,
        CONFIG,
        run_id=run_id,
        params={"train.epochs": 3},
        metrics={"test_f1": 0.4},
        epochs=[{"epoch": 1, "train_loss": 0.5}],
        plots=[plot],
        files=[],
        datasets={},
        tags={"verdict": "promote"},
    )


def give(home: Home, run_id: str, model: Artifact, champion: str | None) -> None:
    candidates.register_model(home, CONFIG, run_id=run_id, model=model, tags={"f1": "0.4"})
    when = datetime(2026, 11, 23, tzinfo=UTC)
    asked = verdict(model, champion)
    candidates.promote_model(home, CONFIG, run_id=run_id, verdict=asked, who="nightly", when=when)
    tracking.finish_tracking(home, CONFIG, run_id=run_id, succeeded=True)


def test_a_wrong_login_is_said_before_anything_starts(
    server: Server, bare: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(UserError, match="MLflow refuses this login") as caught:
        start(bare, "night-0")
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)
    assert waiting(bare) == {}
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with pytest.raises(UserError, match="MLflow refuses this login"):
        start(bare, "night-0")


def test_killed_in_mid_run_and_synced_when_it_is_back(server: Server, bare: Home, world: World, tmp_path: Path) -> None:
    model, plot = adopt(world.model(1), bare), tmp_path / "curve.png"
    plot.write_bytes(b"png")
    first = start(bare, "night-1")
    assert first is not None
    live = LiveMetrics(bare, CONFIG, run_id="night-1")
    live({"live/loss": 0.9}, 10)
    server.kill()
    live({"live/loss": 0.8}, 20)
    live({"live/loss": 0.7}, 30)
    log(bare, "night-1", plot)
    give(bare, "night-1", model, champion=None)
    assert "does not answer" in waiting(bare)["night-1"]
    assert sync(bare).waiting.keys() == {"night-1"}
    server.start()
    done = sync(bare)
    assert (done.delivered, done.promoted, done.waiting) == (["night-1"], {"night-1": "1"}, {})
    assert sync(bare).delivered == []
    client = MlflowClient(tracking_uri=server.url)
    run = client.get_run(first)
    assert run.info.status == "FINISHED"
    points = sorted((p.step, p.value) for p in client.get_metric_history(first, "live/loss"))
    assert points == [(10, 0.9), (20, 0.8), (30, 0.7)]
    assert [entry.path for entry in client.list_artifacts(first, "plots")] == ["plots/curve.png"]
    champion = versions.champion(bare, CONFIG)
    assert champion is not None
    assert (champion.version, champion.model) == ("1", model.uri)
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_a_promotion_that_waited_is_not_made_over_another_champion(
    server: Server, bare: Home, world: World, tmp_path: Path
) -> None:
    plot = tmp_path / "curve.png"
    plot.write_bytes(b"png")
    config = Config.model_validate({"registry": {"model_name": "another"}})
    champion, late, other = (adopt(world.model(seed), bare) for seed in (1, 2, 3))

    def promote(run_id: str, model: Artifact, over: str | None) -> None:
        tracking.start_tracking(bare, config, run_id=run_id, name=run_id, tags={})
        candidates.register_model(bare, config, run_id=run_id, model=model, tags={})
        when = datetime(2026, 11, 23, tzinfo=UTC)
        asked = verdict(model, over)
        candidates.promote_model(bare, config, run_id=run_id, verdict=asked, who="nightly", when=when)
        tracking.finish_tracking(bare, config, run_id=run_id, succeeded=True)

    promote("n-1", champion, None)
    server.kill()
    promote("n-2", late, "1")
    # What waits is set aside while another run gets through; then it is delivered after all.
    outbox = bare.registry / "outbox" / "n-2"
    aside = outbox.rename(tmp_path / "n-2")
    server.start()
    promote("n-3", other, "1")
    aside.rename(outbox)
    done = sync(bare)
    assert "The champion changed while this run was judged" in done.refused["n-2"]
    assert done.waiting == {}
    found = versions.champion(bare, config)
    assert found is not None
    assert found.model == other.uri
    registered = MlflowClient(tracking_uri=server.url).search_model_versions("name = 'another'")
    assert {version.tags["artifact"] for version in registered} == {champion.uri, late.uri, other.uri}


def test_a_champion_that_cant_be_asked_for_is_kept(server: Server, bare: Home) -> None:
    server.kill()
    assert versions.champion_identity(None, CONFIG, bare) == {"champion": versions.UNASKED}


def test_two_syncs_at_once_deliver_once(server: Server, bare: Home, tmp_path: Path) -> None:
    plot = tmp_path / "curve.png"
    plot.write_bytes(b"png")
    server.kill()
    start(bare, "night-9")
    log(bare, "night-9", plot)
    tracking.finish_tracking(bare, CONFIG, run_id="night-9", succeeded=True)
    server.start()
    command = [sys.executable, "-m", "behavior_tasks.cli.main", "sync"]
    environment = {**os.environ, "BEHAVIOR_HOME": str(bare.root)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    client = MlflowClient(tracking_uri=server.url)
    experiment = client.get_experiment_by_name("behavior")
    found = client.search_runs([experiment.experiment_id], "tags.dag_run_id = 'night-9'")
    assert [run.info.status for run in found] == ["FINISHED"]
    assert len(client.get_metric_history(found[0].info.run_id, "train_loss")) == 1
