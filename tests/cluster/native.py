"""A cluster of the tests' own, started natively with secrets, folders and ports of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from behavior_tasks.base.home import Home
from behavior_tasks.cli import airflow_api, processes
from scripts.make_secrets import main as make_secrets
from scripts.native.compose import read_secrets
from tests.up import free_port

PROJECT = Path(__file__).resolve().parents[2]
NATIVE = [sys.executable, "-m", "scripts.native"]
ANSWER_SECONDS, LOOK_SECONDS = 120.0, 2.0
LOST_SECONDS = 45
"""After so long without a sign of life a task counts as lost; five minutes outside of tests."""
QUICKLY = {
    "PGOPTIONS": "-csynchronous_commit=off",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LOST_SECONDS),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    # However busy the machine: a DAG file is read once, in whatever time that takes.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "400",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "900",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
}


def secrets_in(folder: Path) -> Path:
    """Make an environment file there."""
    for name in (".gitignore", ".dockerignore"):
        shutil.copy(PROJECT / name, folder / name)
    assert make_secrets(["--folder", str(folder)]) == 0
    return folder / ".env"


def wait_until(reached: Callable[[], object], *, seconds: float) -> None:
    """Look every two seconds, so that looking costs little; an api-server that is away has nothing to say yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError):
            if reached():
                return
        assert time.monotonic() < deadline, f"not reached within {seconds} seconds"
        time.sleep(LOOK_SECONDS)


class Native:
    """A running `scripts.native up`; its folder is below /tmp, where the user postgres gets through to it."""

    def __init__(self, env_file: Path) -> None:
        place = Path(tempfile.mkdtemp(prefix="behavior-cluster-"))
        place.chmod(0o711)
        self.place, self.home, self.env_file = place, Home(place / "state"), env_file
        self.airflow, self.mlflow = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self.values = read_secrets(env_file)
        self.output = place / "up.txt"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLFLOW"))},
            "BEHAVIOR_HOME": str(self.home.root),
            "BEHAVIOR_AIRFLOW_PORT": self.airflow.rpartition(":")[2],
            "BEHAVIOR_MLFLOW_PORT": self.mlflow.rpartition(":")[2],
            "COLUMNS": "200",
            "BEHAVIOR_MLFLOW_WORKERS": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def up(self, *words: str, overrides: dict[str, str] | None = None, seconds: float = 600) -> None:
        """Start it, or some of its parts, and wait until they answer."""
        given = [word for name, value in (QUICKLY | (overrides or {})).items() for word in ("--set", f"{name}={value}")]
        command = [*NATIVE, "up", *words, "--env-file", str(self.env_file), *given]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(lambda: "healthy after" in self.said or self.process.poll() is not None, seconds=seconds)
        assert self.process.poll() is None, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    def call(self, *words: str, seconds: float = 300) -> str:
        """Run a subcommand and return what it said."""
        env_file = ["--env-file", str(self.env_file)] if words[0] in ("backup", "restore", "exec") else []
        done = subprocess.run(
            [*NATIVE, words[0], *env_file, *words[1:]],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill(self, part: str) -> None:
        """End a part and everything it started at once, without a word, as a machine that loses its power."""
        (found,) = (service for service in processes.still_running(self.home) if service.name == part)
        leader = psutil.Process(found.pid)
        for process in [leader, *leader.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def client(self) -> httpx.Client:
        """Return a client of Airflow's REST API, logged in as admin."""
        client = airflow_api.connect(self.airflow, "admin", self.values["AIRFLOW_ADMIN_PASSWORD"])
        client.timeout = httpx.Timeout(ANSWER_SECONDS)
        return client

    def served(self) -> dict[str, Any]:
        """Load the champion from the MLflow server, as the account of the tasks, and ask it about its own example."""
        return dict(json.loads(self.call("exec", "--", "python", "-c", SERVE).rpartition("ANSWER")[2]))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self.place, ignore_errors=True)


SERVE = """
import json
import mlflow
from mlflow import MlflowClient
version = MlflowClient().get_model_version_by_alias("behavior", "champion")
model = mlflow.pyfunc.load_model("models:/behavior@champion")
answer = model.predict(model.input_example)
told = {"version": version.version, "run": version.tags["run_id"], "probability": answer["probability"].tolist()}
print("ANSWER" + json.dumps(told))
"""
