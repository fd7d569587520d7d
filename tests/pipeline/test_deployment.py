"""The doctor of a deployment against a real Postgres, a real Redis and an HTTP server that misbehaves."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import psycopg
import pytest
from cryptography.fernet import Fernet

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.deployment import (
    Deployment,
    Finding,
    airflow_state,
    broker,
    clocks,
    keys,
    look_at_deployment,
    machine,
    metadata,
    mlflow_server,
    wait_for,
    worst,
)
from behavior_tasks.pipeline.deployment.checks import run_checks
from tests.cli.typing_in import exit_code
from tests.postgres_server import USER, free_port, private_postgres

PASSWORD = "k7Qm-wT4x-Zr9d-Lb2v"
TABLES = """
CREATE TABLE alembic_version (version_num text);
CREATE TABLE slot_pool (pool text, slots int);
CREATE TABLE job (job_type text, hostname text, state text, latest_heartbeat timestamptz);
CREATE TABLE import_error (filename text, stacktrace text);
CREATE TABLE dag (dag_id text, is_paused boolean, is_stale boolean);
CREATE TABLE dag_run (dag_id text, run_id text, state text, start_date timestamptz);
CREATE TABLE task_instance (dag_id text, run_id text, task_id text, state text, queue text, queued_dttm timestamptz,
                            last_heartbeat_at timestamptz);
CREATE TABLE serialized_dag (dag_id text, data json, last_updated timestamptz);
CREATE TABLE connection (password text, is_encrypted boolean);
CREATE TABLE variable (val text, is_encrypted boolean);
"""
"""The columns of Airflow's tables that are read; the slow test asks Airflow's own."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with private_postgres(PASSWORD) as place, psycopg.connect(login(place), autocommit=True) as connection:
        connection.execute(TABLES)
        yield place


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis server here: apt-get install redis-server")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", PASSWORD]
    process = subprocess.Popen([program, *words, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


def login(place: str, driver: str = "postgresql") -> str:
    return f"{driver}://{USER}:{PASSWORD}@{place}/postgres"


@pytest.fixture
def deployment(tmp_path: Path, postgres: str, redis: int) -> Deployment:
    (tmp_path / "home" / "secrets").mkdir(parents=True, mode=0o700)
    environment = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": login(postgres, "postgresql+psycopg2"),
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": login(postgres, "db+postgresql"),
        "AIRFLOW__API_AUTH__JWT_SECRET": os.urandom(32).hex(),
        "AIRFLOW__API__SECRET_KEY": os.urandom(32).hex(),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "BEHAVIOR_TRAIN_QUEUE": "gpu",
    }
    return Deployment(home=Home(tmp_path / "home"), project=tmp_path, environment=environment)


def changed(deployment: Deployment, **values: str) -> Deployment:
    return replace(deployment, environment={**deployment.environment, **values})


@contextmanager
def rows(postgres: str, **tables: str) -> Iterator[None]:
    """Give tables rows, for a while."""
    with psycopg.connect(login(postgres), autocommit=True) as connection:
        for table, values in tables.items():
            connection.execute(f"INSERT INTO {table} VALUES {values}")
        try:
            yield
        finally:
            for table in tables:
                connection.execute(f"TRUNCATE {table}")


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_the_database_is_up_of_the_right_version_and_its_login_is_taken(deployment: Deployment, postgres: str) -> None:
    assert only(metadata.look_at_database(deployment)).level == "ok"
    assert "not made yet" not in only(metadata.look_at_tables(deployment)).found
    head = metadata.newest_revision("airflow", "migrations/versions")
    for revision, level in ((head, "ok"), ("0123456789ab", "fail")):
        with rows(postgres, alembic_version=f"('{revision}')"):
            assert only(metadata.look_at_tables(deployment)).level == level
    wrong = changed(deployment, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=login(postgres).replace(PASSWORD, "another-one-1"))
    said = only(metadata.look_at_database(wrong))
    assert (said.level, said.passing) == ("fail", False)
    assert "AIRFLOW_DB_PASSWORD" in said.advice
    sqlite = only(metadata.look_at_database(changed(deployment, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:///a.db")))
    assert "SQLite with CeleryExecutor" in sqlite.found


def test_redis_keeps_its_tasks_and_lets_in_nobody(deployment: Deployment) -> None:
    assert only(broker.look_at_broker(deployment)).level == "ok"
    assert only(broker.look_at_keeping(deployment)).level == "ok"
    address = deployment.get("AIRFLOW__CELERY__BROKER_URL")
    wrong = only(broker.look_at_broker(changed(deployment, AIRFLOW__CELERY__BROKER_URL=address.replace(PASSWORD, "x"))))
    assert "refuses the login" in wrong.found
    with broker.connect(address) as client:
        client.config_set("requirepass", "")
        try:
            assert "lets in anybody" in only(broker.look_at_broker(deployment)).found
        finally:
            client.config_set("requirepass", PASSWORD)
    with broker.connect(address) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert only(broker.look_at_keeping(deployment)).level == "fail"
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "no")
        client.config_set("save", "")
        assert only(broker.look_at_keeping(deployment)).level == "warn"
        client.config_set("appendonly", "yes")
    assert only(broker.look_at_backend(deployment)).level == "ok"
    lost = changed(deployment, AIRFLOW__CELERY__RESULT_BACKEND=f"db+postgresql://a:b@127.0.0.1:{free_port()}/x")
    assert only(broker.look_at_backend(lost)).level == "fail"


def test_a_queue_without_a_worker_is_named(deployment: Deployment) -> None:
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    app = Celery("here", broker=deployment.get("AIRFLOW__CELERY__BROKER_URL"), set_as_current=False)
    app.conf.task_queues = None
    with start_worker(app, perform_ping_check=False, pool="solo", queues=["default"]):
        default, gpu = broker.look_at_workers(deployment)
    assert (default.level, gpu.level) == ("ok", "fail")
    assert "queue gpu" in gpu.what
    assert "workers of other queues: 1" in gpu.found


def test_what_airflows_tables_tell(deployment: Deployment, postgres: str) -> None:
    assert only(airflow_state.look_at_pool(deployment)).found == "not there"
    for slots, level in ((2, "ok"), (0, "fail")):
        with rows(postgres, slot_pool=f"('training', {slots})"):
            assert only(airflow_state.look_at_pool(deployment)).level == level
    known = (
        "('behavior_scoring', false, false), ('behavior_monitoring', false, false), "
        "('behavior_erasure', false, false), ('behavior_training', %s, false)"
    )
    with rows(postgres, dag=known % "false"):
        assert only(airflow_state.look_at_dags(deployment)).level == "ok"
    with rows(postgres, dag=known % "true", import_error=r"('/a/dags/mine.py', E'Traceback\nNameError: x')"):
        broken, paused = airflow_state.look_at_dags(deployment)
    assert (broken.found, paused.level) == ("mine.py can't be read: NameError: x", "warn")
    tasks = (
        "('d', 'r', 'train', 'running', 'gpu', NULL, now() - interval '%s'),"
        "('d', 'r', 'evaluate', 'queued', 'default', now(), NULL)"
    )
    with rows(postgres, task_instance=tasks % "1 minute"):
        assert only(airflow_state.look_at_runs(deployment)).level == "ok"
    with rows(postgres, task_instance=tasks % "20 minutes", dag_run="('d', 'r', 'running', now() - interval '2 days')"):
        lost, endless = airflow_state.look_at_runs(deployment)
    assert (lost.level, endless.level) == ("warn", "fail")
    data = json.dumps({"dag": {"tasks": [{"__var": {"execution_timeout": 43200.0}}]}})
    with rows(postgres, serialized_dag=f"('behavior_training', '{data}', now())"):
        assert only(airflow_state.look_at_lifetimes(deployment)).level == "fail", "Airflow's own 600 seconds"
        longer = changed(deployment, AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME="86400")
        assert only(airflow_state.look_at_lifetimes(longer)).level == "ok"


def test_who_beats_and_whose_clock_is_off(
    deployment: Deployment, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = ", ".join(
        f"('{job}', 'one', 'running', now() - interval '{age}')"
        for job, age in (("SchedulerJob", "3 s"), ("DagProcessorJob", "-25 s"), ("TriggererJob", "90 s"))
    )
    monkeypatch.setattr(airflow_state, "WATCHED_SECONDS", 0.05)
    with rows(postgres, job=beats):
        scheduler, processor, triggerer = airflow_state.look_at_heartbeats(deployment)
    assert (scheduler.level, processor.level, triggerer.level) == ("ok", "fail", "fail")
    assert " s ahead of the database's" in processor.found
    assert "last heard of" in triggerer.found
    slow = ("('SchedulerJob', 'two', 'running', now() - interval '%s')", "60 s", "59 s")
    with rows(postgres, job=slow[0] % slow[1]):
        real = airflow_state._beats
        seen = iter((0, 1))

        def beats_on(asked: Deployment) -> object:
            if next(seen):
                with psycopg.connect(login(postgres), autocommit=True) as connection:
                    connection.execute("UPDATE job SET latest_heartbeat = latest_heartbeat + interval '5 s'")
            return real(asked)

        monkeypatch.setattr(airflow_state, "_beats", beats_on)
        behind = airflow_state.look_at_heartbeats(deployment)[0]
    assert re.search(r"two beats, but its clock is about \d+ s behind the database's", behind.found)


class Answers(BaseHTTPRequestHandler):
    """An MLflow server as far as the doctor asks it, whose faults a test chooses."""

    faults: ClassVar[set[str]] = set()
    files: ClassVar[dict[str, bytes]] = {}
    skew = 0.0

    def handle_any(self) -> None:
        if "slow" in self.faults:
            time.sleep(0.8)
        host = self.headers["Host"] or ""
        if not host.startswith("127.") and "any host" not in self.faults and self.path not in ("/health", "/version"):
            return self.say(403)
        if "500" in self.faults:
            return self.say(500)
        if self.path == "/health":
            return self.say(200)
        if self.headers["Authorization"] is None and "open" not in self.faults:
            return self.say(401)
        if self.path == "/version":
            return self.say(200, b"2.1.0" if "old" in self.faults else mlflow_server.version("mlflow").encode())
        if self.path.startswith(mlflow_server.NAMED):
            place = "mlflow-artifacts:/1" if "direct" not in self.faults else "file:///data/1"
            return self.say(200, json.dumps({"experiment": {"artifact_location": place}}).encode())
        if self.path.startswith(mlflow_server.PROXY):
            return self.keep()
        return self.say(200, b"{}")

    def keep(self) -> None:
        if self.command == "PUT":
            if "disk full" in self.faults:
                return self.say(500)
            self.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        elif self.command == "DELETE":
            for path in [path for path in self.files if path.startswith(self.path)]:
                del self.files[path]
        return self.say(200, self.files.get(self.path, b"{}"))

    def say(self, status: int, content: bytes = b"") -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.skew, usegmt=True))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked has given up
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def misbehaving(deployment: Deployment) -> Iterator[tuple[Deployment, type[Answers]]]:
    handler = type("Mine", (Answers,), {"faults": set(), "files": {}, "skew": 0.0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found = changed(
        deployment,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{server.server_port}",
        MLFLOW_TRACKING_USERNAME="behavior",
        MLFLOW_TRACKING_PASSWORD=PASSWORD,
        BEHAVIOR_MLFLOW_URL=f"http://127.0.0.1:{server.server_port}",
    )
    try:
        yield found, handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_every_fault_of_mlflow_has_its_own_words(
    misbehaving: tuple[Deployment, type[Answers]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, server = misbehaving

    def level(look: object, *faults: str) -> str:
        server.faults = set(faults)
        return only(look(deployment)).level

    assert level(mlflow_server.look_at_server) == "ok"
    assert level(mlflow_server.look_at_server, "500") == "fail"
    assert level(mlflow_server.look_at_server, "old") == "warn"
    assert level(mlflow_server.look_at_logins, "open") == "fail"
    # This server takes any password, so the one of the first start too.
    assert level(mlflow_server.look_at_logins) == "fail"
    assert level(mlflow_server.look_at_hosts) == "ok"
    assert level(mlflow_server.look_at_hosts, "any host") == "fail"
    assert level(mlflow_server.look_at_files) == "ok"
    assert server.files == {}, "nothing stays behind"
    assert level(mlflow_server.look_at_files, "direct") == "fail"
    assert level(mlflow_server.look_at_files, "disk full") == "fail"
    server.faults = set()
    for skew, expected in ((0.0, "ok"), (-10.0, "warn"), (60.0, "fail")):
        server.skew = skew
        assert only(clocks.look_at_mlflow_clock(deployment)).level == expected
    monkeypatch.setattr(mlflow_server, "SLOW_SECONDS", 0.5)
    assert level(mlflow_server.look_at_server, "slow") == "warn"
    monkeypatch.setattr(mlflow_server, "ANSWER_SECONDS", 0.3)
    assert "no answer within" in only(mlflow_server.look_at_server(deployment)).found


def test_servers_and_this_machine_agree_on_the_time(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = (clocks.look_at_database_clock, clocks.look_at_broker_clock)
    assert [only(look(deployment)).level for look in looks] == ["ok", "ok"]
    real = time.time
    for ahead, level in ((5.0, "warn"), (40.0, "fail")):
        monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda ahead=ahead: real() + ahead))
        found = [only(look(deployment)) for look in looks]
        assert [one.level for one in found] == [level, level]
        assert f"{ahead:.0f} s behind" in found[0].found


def test_keys_are_there_strong_and_the_right_ones(deployment: Deployment, postgres: str) -> None:
    assert only(keys.look_at_keys(deployment)).level == "ok"
    for wrong in ("", "airflow_jwt_secret", "a" * 64, "short-but-mixed1"):
        assert only(keys.look_at_keys(changed(deployment, AIRFLOW__API_AUTH__JWT_SECRET=wrong))).level == "fail"
    same = changed(deployment, AIRFLOW__API__SECRET_KEY=deployment.get("AIRFLOW__API_AUTH__JWT_SECRET"))
    assert only(keys.look_at_keys(same)).level == "warn"
    key = deployment.get("AIRFLOW__CORE__FERNET_KEY")
    written = Fernet(key).encrypt(b"x").decode()
    with rows(postgres, connection=f"('{written}', true)"):
        assert only(keys.look_at_fernet(deployment)).level == "ok"
        another = changed(deployment, AIRFLOW__CORE__FERNET_KEY=Fernet.generate_key().decode())
        assert "does not open" in only(keys.look_at_fernet(another)).found
    assert only(keys.look_at_fernet(changed(deployment, AIRFLOW__CORE__FERNET_KEY="no-key"))).level == "fail"
    assert only(keys.look_at_passwords(deployment)).level == "ok"
    for password, level in (("admin", "fail"), ("tiger", "warn")):
        assert only(keys.look_at_passwords(changed(deployment, AIRFLOW_ADMIN_PASSWORD=password))).level == level
    assert only(keys.look_at_pseudonyms(deployment)).level == "warn"
    (deployment.home.artifacts / "identities" / "abc").mkdir(parents=True)
    assert only(keys.look_at_pseudonyms(deployment)).level == "fail"
    (deployment.home.secrets / "identity.key").write_text("ab" * 32)
    (deployment.home.secrets / "identity.key").chmod(0o600)
    assert only(keys.look_at_pseudonyms(deployment)).level == "ok"


def test_this_machine(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for look in (machine.look_at_folder, machine.look_at_secrets, machine.look_at_zone, machine.look_at_owner):
        assert only(look(deployment)).level == "ok", look
    (deployment.home.secrets / "a.key").write_text("x")
    assert "a.key" in only(machine.look_at_secrets(deployment)).found
    assert only(machine.look_at_env(deployment)).level == "unseen"
    (tmp_path / ".env").write_text("A=1")
    (tmp_path / ".env").chmod(0o644)
    assert only(machine.look_at_env(deployment)).level == "fail"
    (tmp_path / ".env").chmod(0o600)
    assert only(machine.look_at_env(deployment)).level == "ok"
    assert only(machine.look_at_zone(changed(deployment, BEHAVIOR_TIMEZONE="Mars/Olympus"))).level == "fail"
    for log, level in (("", "warn"), (str(tmp_path / "none.csv"), "fail"), ("s3://shop/log.csv", "unseen")):
        assert only(machine.look_at_log(changed(deployment, BEHAVIOR_INPUT=log))).level == level
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    assert only(machine.look_at_owner(deployment)).level == "warn"
    for free, level in ((50, "ok"), (5, "warn"), (1, "fail")):
        usage = SimpleNamespace(free=free, total=100)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        assert machine.look_at_disks(deployment)[0].level == level
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:
        port = str(open_to_all.getsockname()[1])
        assert (
            port
            in only(machine.look_at_ports(changed(deployment, AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{port}"))).found
        )


def test_a_state_folder_without_room_or_right_to_write_is_said(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> object:
        raise OSError(30, os.strerror(30), str(dir))

    # As root, no mode of a folder keeps anybody from writing.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    said = only(machine.look_at_folder(deployment))
    assert (said.level, said.found) == ("fail", "the state folder can't be written to: Read-only file system")


def test_one_that_hangs_hides_nothing_and_no_secret_gets_out(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        port = silent.getsockname()[1]
        hung = changed(
            deployment,
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"postgresql://airflow:{PASSWORD}@127.0.0.1:{port}/airflow",
            AIRFLOW__CELERY__BROKER_URL=f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
            AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{port}",
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}",
        )
        begun = time.monotonic()
        findings = look_at_deployment(hung, limit_seconds=3.0)
        assert time.monotonic() - begun < 5.0
    levels = {finding.what: finding.level for finding in findings}
    assert levels["Metadata database"] == levels["Broker"] == levels["MLflow"] == "fail"
    assert levels["Shared keys"] == levels["Time zone"] == "ok"
    assert worst(findings) == 2
    told = run_checks(deployment, {"x": lambda d: [Finding(level="ok", what="x", found=f"it says {PASSWORD}")]})
    assert only(told).found == "it says ***"


def test_waiting_ends_when_they_answer_and_says_what_to_do_when_they_do_not(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    port = free_port()
    later = changed(deployment, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    with pytest.raises(UserError, match="did not answer within 0 seconds") as ended:
        wait_for(later, ["mlflow"], seconds=0)
    assert "start the MLflow server" in str(ended.value)

    def start(line: str) -> None:
        said.append(line)
        server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.append(server)

    stack: list[ThreadingHTTPServer] = []
    wait_for(later, ["database", "broker", "mlflow"], seconds=20, on_wait=start, poll_seconds=0.05)
    stack[0].shutdown()
    stack[0].server_close()
    assert len(said) == 1
    assert "Connection refused" in said[0]
    address = deployment.get("AIRFLOW__CELERY__BROKER_URL").replace(PASSWORD, "another")
    with pytest.raises(UserError, match="is not as it has to be"):
        wait_for(changed(deployment, AIRFLOW__CELERY__BROKER_URL=address), ["broker"], seconds=60)
    for name, value in deployment.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BEHAVIOR_HOME", str(deployment.home.root))
    assert exit_code("wait", "database", "broker") == 0
    assert exit_code("wait", "databse") == 2
    assert "behavior wait database" in capsys.readouterr().err
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"http://127.0.0.1:{port}")
    assert exit_code("doctor", "--deployment", "--json") == 2
    told = capsys.readouterr().out
    assert {one["what"]: one["level"] for one in json.loads(told)}.items() >= {
        "Broker": "ok",
        "Shared keys": "ok",
    }.items()
    assert not any(value in told for name, value in deployment.environment.items() if "KEY" in name or "SECRET" in name)
    assert PASSWORD not in told


@pytest.mark.slow
def test_airflows_own_tables_are_as_the_doctor_reads_them(tmp_path: Path) -> None:
    with private_postgres(PASSWORD) as place:
        environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": login(place, "postgresql+psycopg2"),
        }
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True
        )
        found = Deployment(home=Home(tmp_path), project=tmp_path, environment=environment)
        assert only(metadata.look_at_tables(found)).level == "ok"
        assert only(airflow_state.look_at_pool(found)).found == "not there"
        assert [one.level for one in airflow_state.look_at_heartbeats(found)] == ["fail"] * 3
        assert only(airflow_state.look_at_dags(found)).found.startswith("Airflow does not know")
        assert only(airflow_state.look_at_runs(found)).level == "ok"
        assert only(airflow_state.look_at_lifetimes(found)).level == "fail"
        with_key = changed(found, AIRFLOW__CORE__FERNET_KEY=Fernet.generate_key().decode())
        assert "nothing is written with it yet" in only(keys.look_at_fernet(with_key)).found
