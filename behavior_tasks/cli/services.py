"""`behavior up`: Airflow and MLflow in the browser, on this machine, until Ctrl-C.

Starts four Airflow components and an MLflow server, all on loopback, waits until they answer, and says where they
are. While it runs it holds a lock and a list of its processes; when it ends, nothing that it started is left.
"""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from filelock import FileLock, Timeout
from rich.status import Status

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home, make_folder
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.processes import Service
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import last_runs, runs_page

START_SECONDS = 180.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.5
LOOPBACK = "127.0.0.1"
MLFLOW = "mlflow"
HEALTHY_PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One process of `behavior up`."""

    name: str
    command: tuple[str, ...]
    url: str | None = None


def up() -> None:
    """Start Airflow and MLflow in the browser, on this machine; Ctrl-C stops all of it.

    BEHAVIOR_AIRFLOW_PORT (8080) and BEHAVIOR_MLFLOW_PORT (5000) choose the ports.
    """
    serve(current_home(), airflow.PROJECT)


def running(home: Home) -> list[str]:
    """Return what runs right now, one line a process, with its address where it has one."""
    return [f"{s.name}{f' at {s.url}' if s.url else ''} (pid {s.pid})" for s in processes.still_running(home)]


def serve(home: Home, project: Path) -> None:
    """Start all components, wait for Ctrl-C or SIGTERM, and stop them. Where they run already, say so and return.

    Raises:
        UserError: a port is taken, or a component ends before it answers.
    """
    make_folder(home.services)
    lock = FileLock(home.services / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print("Running already:\n  " + "\n  ".join(running(home) or ["starting …"]), highlight=False)
        return
    with ExitStack() as stack:
        stack.callback(lock.release)
        clear_remains(home)
        parts = _components(home)
        environment = airflow.airflow_environment(home, project)
        check_ports("make up")
        with console.status("preparing Airflow's database"):
            airflow.ensure_database(home, environment)
        processes.adopt_orphans()
        stack.enter_context(processes.Interrupts())
        started: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(_stop_all, home, started)
        for part in parts:
            started[part.name] = processes.start(
                part.command, environment=environment, log=_log(home, part.name), folder=Path.cwd()
            )
            _write_down(home, parts, started)
        with console.status("waiting for Airflow and MLflow to answer") as status:
            _wait_until_healthy(home, parts, started, status)
        _say_where(home)
        while True:
            _check_alive(home, started)
            time.sleep(POLL_SECONDS)


def _components(home: Home) -> list[Component]:
    airflow_port, mlflow_port = airflow.port_of(airflow.AIRFLOW_PORT), airflow.port_of(airflow.MLFLOW_PORT)
    make_folder(home.mlflow / "artifacts")
    hosts = ",".join(f"{host}:{mlflow_port}" for host in ("localhost", LOOPBACK))
    mlflow = (
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(mlflow_port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home.mlflow / 'mlflow.db'}", "--no-serve-artifacts"),
        *("--default-artifact-root", (home.mlflow / "artifacts").as_uri(), "--allowed-hosts", hosts),
    )
    # The logs lie on this machine, so the two servers that would hand them out (on every interface) stay off.
    return [
        Component(
            name=airflow.API_SERVER,
            command=(*airflow.AIRFLOW, "api-server", "--host", LOOPBACK, "--port", str(airflow_port)),
            url=f"http://{LOOPBACK}:{airflow_port}",
        ),
        Component(name=airflow.SCHEDULER, command=(*airflow.AIRFLOW, "scheduler", "--skip-serve-logs")),
        Component(name="airflow dag-processor", command=(*airflow.AIRFLOW, "dag-processor")),
        Component(name="airflow triggerer", command=(*airflow.AIRFLOW, "triggerer", "--skip-serve-logs")),
        Component(name=MLFLOW, command=mlflow, url=f"http://{LOOPBACK}:{mlflow_port}"),
    ]


def check_ports(command: str) -> None:
    """Check that the two web pages' ports are free.

    Args:
        command: what the user types to try again with another port.

    Raises:
        UserError: one is taken, or this user may not have it.
    """
    for variable in (airflow.AIRFLOW_PORT, airflow.MLFLOW_PORT):
        port = airflow.port_of(variable)
        with socket.socket() as probe:
            # As the servers do it: a port whose last connections are only fading out counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                raise UserError(
                    f"Port {port} is taken by another program or not allowed.",
                    found=f"{variable} = {port}: {error.strerror}",
                    expected="a free port",
                    next_step=f"{variable}={free_port()} {command}",
                ) from None


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def clear_remains(home: Home) -> None:
    """End what a command that was killed outright has left behind; the lock says that it is gone."""
    remains = processes.still_running(home)
    if remains:
        console.print("Stopping what an earlier `behavior up` left running …", highlight=False)
        processes.stop([service.pid for service in remains], seconds=STOP_SECONDS)


def _write_down(home: Home, parts: list[Component], started: "Mapping[str, subprocess.Popen[bytes]]") -> None:
    services = []
    for part in parts:
        if part.name in started:
            pid = started[part.name].pid
            services.append(Service(name=part.name, pid=pid, created=psutil.Process(pid).create_time(), url=part.url))
    processes.write_down(home, services)


def _wait_until_healthy(
    home: Home, parts: list[Component], started: "Mapping[str, subprocess.Popen[bytes]]", status: Status
) -> None:
    addresses = {part.name: part.url for part in parts}
    checks: dict[str, Callable[[], bool]] = {
        "Airflow": lambda: _airflow_answers(str(addresses[airflow.API_SERVER])),
        "MLflow": lambda: answer_of(f"{addresses[MLFLOW]}/health") is not None,
    }
    deadline = time.monotonic() + START_SECONDS
    while checks:
        _check_alive(home, started)
        if time.monotonic() > deadline:
            raise UserError(
                f"{' and '.join(checks)} did not answer within {START_SECONDS:.0f} seconds.",
                found=processes.last_lines(_log(home, airflow.API_SERVER if "Airflow" in checks else MLFLOW)),
                next_step="the whole logs are in services/ in the state folder",
            )
        checks = {name: check for name, check in checks.items() if not check()}
        status.update(f"waiting for {' and '.join(checks)} to answer")
        time.sleep(POLL_SECONDS)


def _airflow_answers(url: str) -> bool:
    answer = answer_of(f"{url}/api/v2/monitor/health")
    return answer is not None and all(answer.json()[part]["status"] == "healthy" for part in HEALTHY_PARTS)


def answer_of(url: str) -> httpx.Response | None:
    """Return what a page answers when it is well; None when it does not answer, or not well."""
    try:
        answer = httpx.get(url, timeout=5.0)
    except httpx.TransportError:
        return None
    return answer if answer.is_success else None


def _check_alive(home: Home, started: "Mapping[str, subprocess.Popen[bytes]]") -> None:
    for name, process in started.items():
        if process.poll() is not None:
            log = _log(home, name)
            raise UserError(
                f"{name} ended unexpectedly (exit code {process.returncode}); everything else is stopped too.",
                found=processes.last_lines(log),
                next_step=f"the whole log is {log.relative_to(home.root)} in the state folder",
            )


def _say_where(home: Home) -> None:
    passwords = os.path.relpath(airflow.password_file(home))
    lines = (
        f"Airflow  http://{LOOPBACK}:{airflow.port_of(airflow.AIRFLOW_PORT)}",
        f"         user {airflow.ADMIN}, password in {passwords}",
        f"MLflow   http://{LOOPBACK}:{airflow.port_of(airflow.MLFLOW_PORT)}",
        *_runs_compared(home),
        "Ctrl-C stops all of it.",
    )
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _runs_compared(home: Home) -> list[str]:
    """Return the address of the table of runs, once there is a run."""
    newest = last_runs(home, most=1)
    path = runs_page(newest[0]) if newest else None
    return [f"         runs by F1: http://{LOOPBACK}:{airflow.port_of(airflow.MLFLOW_PORT)}{path}"] if path else []


def _stop_all(home: Home, started: "Mapping[str, subprocess.Popen[bytes]]") -> None:
    with console.status("stopping"):
        processes.stop([process.pid for process in started.values()], seconds=STOP_SECONDS, adopted=True)
        for process in started.values():
            process.wait()
        processes.write_down(home, [])
    console.print("Stopped; nothing is left running.")


def _log(home: Home, name: str) -> Path:
    return home.services / f"{name.replace(' ', '-')}.log"
