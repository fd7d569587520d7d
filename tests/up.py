"""A running `behavior up`, with a state folder and ports of its own, for the tests that need a real Airflow."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from behavior_tasks.base.home import Home

UP = [sys.executable, "-m", "behavior_tasks.cli.main", "up"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(reached: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {seconds} seconds"
        time.sleep(0.2)


class Up:
    """A running `behavior up` with a state folder and ports of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.home = Home(folder / "var")
        self.output = folder / "up.txt"
        self.airflow = f"http://127.0.0.1:{settings.get('BEHAVIOR_AIRFLOW_PORT') or free_port()}"
        self.mlflow = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLFLOW"))},
            "BEHAVIOR_HOME": str(self.home.root),
            "BEHAVIOR_AIRFLOW_PORT": self.airflow.rpartition(":")[2],
            "BEHAVIOR_MLFLOW_PORT": self.mlflow.rpartition(":")[2],
            **settings,
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                UP, env=self.environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Ctrl-C stops" in self.said or self.process.poll() is not None, seconds=150)
        assert self.process.poll() is None, self.said

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(90)
