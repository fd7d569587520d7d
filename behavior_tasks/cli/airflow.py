"""The embedded Airflow: its environment, its database, and one DAG run as a process.

In come the state folder, the project's folder and what the run is asked for; out comes the run's id, with all
output in a log. Where a scheduler is up already the run goes to it, else `airflow dags test` works off the
same DAG in one process; either way the run stands in the same database and is found in the browser later.
"""

import importlib.util
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.artifacts import hash_of, write_durably
from behavior_tasks.base.config import load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import AS_OF, CONFIG_FILE, INPUT, read_as_of, read_form
from behavior_tasks.base.home import HOME_VARIABLE, Home, current_home, make_folder
from behavior_tasks.cli import airflow_api, processes
from behavior_tasks.cli.task_logs import keep_task_logs
from behavior_tasks.pipeline import close_tracking
from behavior_tasks.pipeline.deployment.settings import Deployment
from behavior_tasks.pipeline.schedules import TRAINING_POOL

DAG_ID, SCORING_DAG, MONITORING_DAG = "behavior_training", "behavior_scoring", "behavior_monitoring"
PLACED = (SCORING_DAG, MONITORING_DAG)
"""The DAGs whose form asks for a day."""
PROJECT = Path(__file__).resolve().parents[2]
"""Where dags/ and plugins/ are."""
AIRFLOW = (sys.executable, "-m", "airflow")
CPU_SLOTS = 2
"""Trainings run in a pool of their own, as many at the same time as there are GPUs; without one, this many."""
MIGRATE = (
    "from airflow.__main__ import main; main(); from airflow.models.pool import Pool; Pool.get_pool({name!r}) or "
    "Pool.create_or_update_pool({name!r}, {slots}, 'Trainings at the same time: one a GPU', include_deferred=False)"
)
"""Makes or upgrades the database, and the pool in it unless somebody has made it: a pool that is not there keeps its
tasks waiting for ever. One process, because each takes seconds to load Airflow."""
API_SERVER, SCHEDULER = "airflow api-server", "airflow scheduler"
AIRFLOW_PORT, MLFLOW_PORT = "BEHAVIOR_AIRFLOW_PORT", "BEHAVIOR_MLFLOW_PORT"
DEFAULT_PORTS = {AIRFLOW_PORT: 8080, MLFLOW_PORT: 5000}
ADMIN = "admin"
STOP_SECONDS = 30.0
POLL_SECONDS = 0.5
RUN_SEEN = re.compile(r"run://([A-Za-z0-9._-]+)")


@dataclass(frozen=True, kw_only=True)
class DagResult:
    """How a DAG run ended."""

    run_id: str | None
    """Of the run's folder; None when it never started."""
    returncode: int
    """0 when the DAG run is green."""
    log: Path | None
    """Everything that was written; None when the scheduler did the work, which keeps one log a task."""


def airflow_environment(home: Home, project: Path = PROJECT, *, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the whole environment of an Airflow process; every `AIRFLOW__…` of `base` stands as it is.

    Keys and the admin's password are made once and kept with mode 0600; none has a default. Nothing
    listens beyond this machine.
    """
    port = port_of(AIRFLOW_PORT, base)
    passwords = password_file(home)
    kept_secret(passwords, lambda: json.dumps({ADMIN: secrets.token_urlsafe(12)}))
    folder = home.airflow
    settings = {
        "CORE__DAGS_FOLDER": project / "dags",
        "CORE__PLUGINS_FOLDER": project / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": 2,
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__FERNET_KEY": kept_secret(home.secrets / "airflow_fernet_key", _fernet_key),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__WORKERS": 1,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": kept_secret(home.secrets / "airflow_api_key", secrets.token_hex),
        "API_AUTH__JWT_SECRET": kept_secret(home.secrets / "airflow_jwt_key", secrets.token_hex),
        # A running task renews its token with its heartbeats; while no api-server answers, the token has to last.
        "EXECUTION_API__JWT_EXPIRATION_TIME": 24 * 3600,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "LOGGING__BASE_LOG_FOLDER": folder / "logs",
        "LOGGING__JSON_LOGS": True,
    }
    named = {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
    others = {
        "BEHAVIOR_MLFLOW_URL": f"http://127.0.0.1:{port_of(MLFLOW_PORT, base)}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Background jobs (for judging chats) would be nine more processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        # Threads that wait by spinning ruin each other as soon as anything else wants the cores.
        "OMP_WAIT_POLICY": "passive",
    }
    return {**others, **named, **base, "AIRFLOW_HOME": str(folder), HOME_VARIABLE: str(home.root)}


def current_deployment() -> Deployment:
    """Return the deployment that this environment names: a cluster's, else this machine's own."""
    home = current_home()
    # Looking makes nothing: without keys of its own, the embedded Airflow was never started.
    if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ or not password_file(home).is_file():
        environment: Mapping[str, str] = os.environ
    else:
        environment = airflow_environment(home)
    return Deployment(home=home, project=PROJECT, environment=environment)


def port_of(variable: str, base: Mapping[str, str] = os.environ) -> int:
    """Return a web page's port: what the variable says, else its default."""
    text = base.get(variable) or str(DEFAULT_PORTS[variable])
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UserError(
            f"{variable} is not a port.",
            found=text,
            expected="a number from 1 to 65535",
            next_step=f"export {variable}={DEFAULT_PORTS[variable]}",
        )
    return int(text)


def password_file(home: Home) -> Path:
    """Where the admin's generated password is, as JSON: `{"admin": …}`."""
    return home.secrets / "airflow_password.json"


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret kept in a file, making file and secret (mode 0600) the first time."""
    make_folder(path.parent)
    path.parent.chmod(0o700)
    with FileLock(path.with_name("airflow.lock")):
        if not path.is_file():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(make())
    return path.read_text(encoding="utf-8")


def ensure_database(home: Home, environment: Mapping[str, str]) -> None:
    """Make or upgrade Airflow's database, with the pool of the trainings; once that is done, this costs nothing.

    Raises:
        UserError: when Airflow is not installed, or its database can't be made.
    """
    if importlib.util.find_spec("airflow") is None:
        raise UserError("Airflow is not installed here.", next_step="pip install -r requirements.txt, or make setup")
    make_folder(home.airflow)
    connection = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    done = hash_of(version("apache-airflow"), connection, TRAINING_POOL)
    marker = home.airflow / "database-is-ready"
    with FileLock(home.airflow / "database.lock"):
        embedded = Path(connection.removeprefix("sqlite:///"))
        there = embedded.is_file() or not connection.startswith("sqlite:///")
        if there and marker.is_file() and marker.read_text(encoding="utf-8") == done:
            return
        log = home.airflow / "logs" / "migrate.log"
        gpus = len([*Path("/dev").glob("nvidia[0-9]*")])
        make = MIGRATE.format(name=TRAINING_POOL, slots=gpus or CPU_SLOTS)
        command = [sys.executable, "-c", make, "db", "migrate"]
        process = processes.start(command, environment=environment, log=log, folder=home.airflow)
        if process.wait() != 0:
            raise UserError(
                "Airflow's database could not be made.",
                found=processes.last_lines(log),
                next_step="the whole log is airflow/logs/migrate.log in the state folder",
            )
        write_durably(marker, done.encode())


def run_dag(
    home: Home,
    project: Path,
    conf: Mapping[str, Any],
    *,
    logical_date: datetime,
    dag_id: str = DAG_ID,
    on_tick: Callable[[str | None], None] = lambda _: None,
) -> DagResult:
    """Run a DAG once and wait for its end.

    Args:
        home: the state folder.
        project: where dags/ and plugins/ are.
        conf: a filled-in trigger form: `input`, `preset`, `config_file`, dotted settings and, for a scoring, `as_of`.
        logical_date: the instant that the run is for, with a zone; names the log.
        dag_id: which.
        on_tick: called twice a second with the run's id (None until it is known), e.g. to show the stages done.

    Raises:
        UserError: naming all that is wrong in `conf`, before anything starts.
    """
    asked = read_form({name: value for name, value in conf.items() if dag_id not in PLACED or name != AS_OF})
    read_as_of(conf.get(AS_OF))
    file = Path(asked.config_file) if asked.config_file else None
    config = load_config(asked.preset, file=file, overrides=asked.overrides)
    running = {service.name: service for service in processes.still_running(home)}
    if SCHEDULER in running and API_SERVER in running:
        # Two masters would run each task twice: a live scheduler takes up every run it sees in its database.
        return _through_scheduler(home, str(running[API_SERVER].url), dag_id, conf, logical_date, on_tick)
    if dag_id == DAG_ID and config.gate.approval == "required":
        raise UserError(
            "Nobody could approve the promotion: Airflow's page and its scheduler are not up.",
            expected="a running Airflow, because gate.approval is required",
            next_step="make up, then the same command; or leave out --airflow, and the question comes here",
        )
    # The run's id and the tasks' logs are read from its output, so that has to come in this shape.
    shape = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO", "AIRFLOW__LOGGING__JSON_LOGS": "True"}
    environment = airflow_environment(home, project) | shape
    ensure_database(home, environment)
    stamp = logical_date.isoformat()
    log = home.airflow / "logs" / "dag_runs" / f"{re.sub(r'[^0-9T]', '', stamp)}.log"
    command = [*AIRFLOW, "dags", "test", dag_id, stamp, "--conf", json.dumps(dict(conf))]
    process = processes.start(command, environment=environment, log=log, folder=Path.cwd())
    try:
        while process.poll() is None:
            on_tick(_run_in(log))
            time.sleep(POLL_SECONDS)
    finally:
        _end(process)
        run_id = _run_in(log)
        keep_task_logs(log, home.airflow / "logs", dag_id)
        if run_id and dag_id == DAG_ID and process.returncode not in (0, 1):
            # Killed on its way: the DAG's own last task had no chance to end the run in MLflow.
            close_tracking(run_id)
    on_tick(run_id)
    return DagResult(run_id=run_id, returncode=process.returncode, log=log)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the DAG run, when it still goes, as Ctrl-C would: its tasks end, its MLflow run is closed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    processes.stop([process.pid], seconds=STOP_SECONDS)


def _run_in(log: Path) -> str | None:
    """Return the run's id, once the first task has written the run's URI into the log."""
    found = RUN_SEEN.search(log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


def _through_scheduler(
    home: Home,
    url: str,
    dag_id: str,
    conf: Mapping[str, Any],
    logical_date: datetime,
    on_tick: Callable[[str | None], None],
) -> DagResult:
    password = json.loads(password_file(home).read_bytes())[ADMIN]
    with airflow_api.connect(url, ADMIN, password) as client:
        # The scheduler's working folder is another one than this command's.
        paths = {name: str(Path(conf[name]).resolve()) for name in (INPUT, CONFIG_FILE) if conf.get(name)}
        dag_run = airflow_api.trigger(client, dag_id, {**conf, **paths}, logical_date)
        run_id = re.sub(r"[^A-Za-z0-9._-]+", "-", dag_run)
        while (state := airflow_api.state(client, dag_id, dag_run)) in airflow_api.UNFINISHED:
            on_tick(run_id if (home.runs / run_id / "run.json").is_file() else None)
            time.sleep(POLL_SECONDS)
    started = (home.runs / run_id / "run.json").is_file()
    on_tick(run_id if started else None)
    return DagResult(run_id=run_id if started else None, returncode=0 if state == "success" else 1, log=None)


def _fernet_key() -> str:
    """Return 32 random bytes in the form that Fernet (cryptography) asks for."""
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()
