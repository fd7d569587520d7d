"""What Airflow and MLflow cost: the same run with and without them, and what reading the DAG files takes.

    python benchmarks/orchestration.py                     all of it: a few minutes
    python benchmarks/orchestration.py --only parse        only the reading of dags/
    python benchmarks/orchestration.py --shoppers 1000     a bigger shop; what is added stays the same

The run's stages alone are one process without Airflow and MLflow. Beside it stand the DAG in one process
(`airflow dags test`, as `make run`) and the DAG under a scheduler (as `make up`), each with MLflow's store; what they
take longer is the cost. Every run has a state folder of its own, which is deleted afterwards, so nothing is reused.
"""

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli import airflow, processes
from behavior_tasks.pipeline import open_run, run_stages, start_run

LONG_RUN_SECONDS = 600.0
"""The run of which Airflow and MLflow may cost a tenth."""
START_SECONDS = 600.0
OWN_TASKS = 6
"""start, open_tracking, register, approval, promote and close_tracking are tasks, but no stages."""
SMALL = {
    "simulate.days": 60,
    "simulate.products": 60,
    "simulate.rollouts": 20,
    "model.size": "tiny",
    "model.vocabulary": 400,
    "train.epochs": 1,
    "gate.bootstrap": 200,
    "gate.audit_events": 0,
    "engine.workers": 1,
}
HEAVY = (
    "accelerate", "duckdb", "matplotlib", "mlflow", "numpy", "optuna", "pandas", "pyarrow", "pyspark", "sklearn",
    "torch", "transformers",
)  # fmt: skip
READ = """
import json, os, runpy, sys, time
from pathlib import Path

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
begun = time.process_time()
import airflow.sdk
from airflow.sdk import *
print(json.dumps({"file": "airflow.sdk", "cpu": time.process_time() - begun, "seconds": 0, "roots": [], "opened": []}))
sys.stdout.flush()
before = set(sys.modules)
for file in sorted(folder.glob("*.py")):
    # As the DAG processor does it: a fork for each file.
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    opened = []
    watched = "socket.connect", "socket.getaddrinfo", "sqlite3.connect"
    sys.addaudithook(lambda event, arguments: opened.append(event) if event in watched else None)
    begun, cpu = time.perf_counter(), time.process_time()
    runpy.run_path(str(file))
    told = {"file": file.name, "seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    roots = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
    print(json.dumps({**told, "roots": roots, "opened": opened}))
    sys.stdout.flush()
    os._exit(0)
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way to run the same settings."""

    seconds: float
    cpu_seconds: float
    tasks: int
    """Airflow's tasks; stages where there is no Airflow."""


def read_dags(repeats: int) -> None:
    """Print what reading each file of dags/ takes beyond importing airflow.sdk, each time in a process of its own."""
    told: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        for _ in range(repeats):
            done = subprocess.run(
                [sys.executable, "-c", READ, str(airflow.PROJECT / "dags")],
                env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            for line in done.stdout.splitlines():
                read = json.loads(line)
                told.setdefault(read["file"], []).append(read)
    sdk = told.pop("airflow.sdk")
    print(f"| file | seconds beyond airflow.sdk, median of {repeats} | of a processor |\n| --- | --- | --- |")
    for name, times in told.items():
        print(f"| {name} | {median(t['seconds'] for t in times):.3f} | {median(t['cpu'] for t in times):.3f} |")
    print(f"| (airflow.sdk itself) | – | {median(t['cpu'] for t in sdk):.3f} |\n")
    heavy = sorted({root for times in told.values() for t in times for root in t["roots"]} & set(HEAVY))
    opened = sorted({event for times in told.values() for t in times for event in t["opened"]})
    print(f"Heavy modules imported: {', '.join(heavy) or 'none'}. Connections opened: {', '.join(opened) or 'none'}.\n")
    sys.stdout.flush()


def run_alone(settings: dict[str, Any]) -> Measured:
    """Run the stages in this process, without Airflow and MLflow."""
    uri = start_run("alone", day=date(2026, 11, 24), trigger="inspection", overrides=settings)
    begun = time.monotonic()
    run_stages(uri)
    return _measured(begun, tasks=len(open_run("alone").stages()))


def run_in_one_process(settings: dict[str, Any]) -> Measured:
    """Run the DAG as `make run` does."""
    home = Home(Path(os.environ[HOME_VARIABLE]))
    airflow.ensure_database(home, airflow.airflow_environment(home))
    begun = time.monotonic()
    return _dag(home, settings, begun)


def run_under_scheduler(settings: dict[str, Any]) -> Measured:
    """Run the DAG as `make up` and a click do; starting Airflow is not counted."""
    home = Home(Path(os.environ[HOME_VARIABLE]))
    with _airflow_up(home):
        begun = time.monotonic()
        return _dag(home, settings, begun)


WAYS: dict[str, Callable[[dict[str, Any]], Measured]] = {
    "the stages alone": run_alone,
    "DAG in one process, MLflow": run_in_one_process,
    "DAG under a scheduler, MLflow": run_under_scheduler,
}


def _dag(home: Home, settings: dict[str, Any], begun: float) -> Measured:
    result = airflow.run_dag(home, airflow.PROJECT, settings, logical_date=datetime.now(UTC))
    if result.returncode or result.run_id is None:
        raise SystemExit(f"the DAG run failed:\n{processes.last_lines(result.log) if result.log else ''}")
    return _measured(begun, tasks=len(open_run(result.run_id).stages()) + OWN_TASKS)


def _measured(begun: float, *, tasks: int) -> Measured:
    return Measured(seconds=time.monotonic() - begun, cpu_seconds=0.0, tasks=tasks)


@contextmanager
def _airflow_up(home: Home) -> Iterator[None]:
    """Have Airflow and MLflow running on free ports."""
    for variable in (airflow.AIRFLOW_PORT, airflow.MLFLOW_PORT):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            os.environ[variable] = str(probe.getsockname()[1])
    with subprocess.Popen(
        [sys.executable, "-m", "behavior_tasks.cli.main", "up"], stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        try:
            for line in up.stdout:
                if "Ctrl-C stops" in line:
                    break
            else:
                raise SystemExit("Airflow did not come up; see services/ in the state folder")
            yield
        finally:
            up.send_signal(signal.SIGTERM)
            up.stdout.read()
            up.wait(START_SECONDS)


def measure(name: str, settings: dict[str, Any]) -> Measured:
    """Run one way in a process of its own with a fresh state folder."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, __file__, "--way", name, "--settings", json.dumps(settings)],
            env={**os.environ, HOME_VARIABLE: folder}, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:])
    told = json.loads(done.stdout.splitlines()[-1])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(**{**told, "cpu_seconds": used})


def tell_runs(shoppers: int, ways: list[str]) -> None:
    """Print what each way takes and what it adds to the stages alone."""
    settings = {**SMALL, "simulate.shoppers": shoppers}
    print(
        "| way | seconds | CPU seconds | tasks | added seconds | a task | of a run of 10 minutes | added CPU seconds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    alone: Measured | None = None
    for name in ways:
        found = measure(name, settings)
        alone = alone or found
        added = found.seconds - alone.seconds
        shares = ["–"] * 4
        if found is not alone:
            more = found.cpu_seconds - alone.cpu_seconds
            shares = [f"{added:.1f}", f"{added / found.tasks:.2f}", f"{added / LONG_RUN_SECONDS:.1%}", f"{more:.1f}"]
        cells = (name, f"{found.seconds:.1f}", f"{found.cpu_seconds:.1f}", str(found.tasks), *shares)
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Measure what Airflow and MLflow cost of a run.")
    parser.add_argument("--only", choices=["parse", "runs"], help="one of the two tables")
    parser.add_argument("--shoppers", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5, help="of reading dags/")
    parser.add_argument("--without-scheduler", action="store_true", help="leave out the run under a scheduler")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print("\n" + json.dumps(vars(WAYS[asked.way](asked.settings))))
        return
    if asked.only != "runs":
        read_dags(asked.repeats)
    if asked.only != "parse":
        tell_runs(asked.shoppers, list(WAYS)[:2] if asked.without_scheduler else list(WAYS))


if __name__ == "__main__":
    main()
