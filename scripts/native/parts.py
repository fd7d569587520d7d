"""The table of parts: the compose file's services in; the same as processes of this machine out.

Names of hosts, ports and folders inside containers are replaced by this machine's. One thing to know: every other
word of a command and every other variable is the compose file's own, so what runs here is what compose would run.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from behavior_tasks.base.home import Home
from behavior_tasks.cli import airflow
from scripts.native import postgres, redis_server
from scripts.native.compose import Described

LOOPBACK = "127.0.0.1"
POSTGRES, REDIS, MLFLOW, INIT = "postgres", "redis", "mlflow", "init"
API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER = "api-server", "scheduler", "dag-processor", "triggerer"
WORKER, GPU_WORKER = "worker", "worker-gpu"
SECOND = "scheduler-2"
NAMES = (POSTGRES, REDIS, INIT, MLFLOW, API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER, WORKER, GPU_WORKER)
"""The services that run here; those of other profiles (an object store, Spark) are left to compose."""
SHARE_LOGS, SKIP_LOGS = (SCHEDULER, TRIGGERER, WORKER, GPU_WORKER), "--skip-serve-logs"
OURS = ("AIRFLOW", "BEHAVIOR", "MLFLOW", "POSTGRES", "REDIS", "CELERY")
"""What a variable of this shell that the cluster must not see begins with."""
PROGRAMS = {
    "airflow": airflow.AIRFLOW,
    "mlflow": (sys.executable, "-m", "mlflow"),
    "behavior": (sys.executable, "-m", "behavior_tasks.cli.main"),
    "python": (sys.executable,),
}
EVERYWHERE = {"PYTHONUNBUFFERED": "1", "GIT_PYTHON_REFRESH": "quiet", "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the parts are on this machine."""

    home: Home
    postgres: int
    """A port, as are the next three."""
    redis: int
    mlflow: int
    airflow: int

    @property
    def folder(self) -> Path:
        """Of the files that compose would mount, e.g. MLflow's login settings."""
        return self.home.services / "files"

    @property
    def mlflow_folder(self) -> Path:
        """What the MLflow server has for itself."""
        return self.home.root / "mlflow-files"

    def here(self, text: str) -> str:
        """Return a word of the compose file with this machine's addresses and folders."""
        for pattern, new in self._replacements().items():
            # As a function: a folder's name may hold what `sub` would take for a group.
            text = re.sub(pattern, lambda _, new=new: new, text)  # type: ignore[misc]
        return text

    def _replacements(self) -> dict[str, str]:
        folders = {"/state": self.home.root, "/opt/behavior": airflow.PROJECT, "/mlflow": self.mlflow_folder}
        return {
            r"\b0\.0\.0\.0\b": LOOPBACK,
            r"(?<=@)postgres(?::5432)?(?=/|$)": f"{LOOPBACK}:{self.postgres}",
            r"(?<=@)redis(?::6379)?(?=/|$)": f"{LOOPBACK}:{self.redis}",
            r"\bmlflow:5000\b": f"{LOOPBACK}:{self.mlflow}",
            r"\bapi-server:8080\b": f"{LOOPBACK}:{self.airflow}",
            **{rf"(?<![\w.:/-]){folder}(?=[/,:]|$)": str(place) for folder, place in folders.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Part:
    """A service as a process of this machine."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    after: Mapping[str, str]
    url: str | None = None
    prepare: Callable[[], None] | None = None
    """Makes what the process needs before its first start."""
    end: signal.Signals = signal.SIGTERM
    """What asks the process to end."""
    user: str | None = None
    """Who runs it, when that is not who started the cluster."""


def make_parts(
    described: Mapping[str, Described], places: Places, *, overrides: Mapping[str, str], schedulers: int
) -> dict[str, Part]:
    """Return the parts by name, in an order in which they can start.

    Args:
        described: the compose file's services.
        places: where they are here.
        overrides: variables for every part of ours, over those of the compose file.
        schedulers: one or two.
    """
    parts = {name: _part(described[name], places, overrides) for name in NAMES}
    if schedulers > 1:
        parts[SECOND] = replace(parts[SCHEDULER], name=SECOND)
    return parts


def _part(service: Described, places: Places, overrides: Mapping[str, str]) -> Part:
    own = service.name in (POSTGRES, REDIS)
    environment = _clean() | {name: places.here(value) for name, value in service.environment.items()}
    if not own:
        files = {target: places.folder / Path(target).name for target in service.files}
        for target, content in service.files.items():
            _write_secretly(files[target], places.here(content))
        environment = {
            name: value if value not in files else str(files[value]) for name, value in environment.items()
        } | dict(overrides)
    plain = Part(
        name=service.name,
        command=(),
        environment=environment,
        after={name: how for name, how in service.after.items() if name in NAMES},
        end=signal.Signals[service.stop_signal],
    )
    if service.name == POSTGRES:
        return _postgres(plain, places)
    if service.name == REDIS:
        return _redis(plain, places)
    return replace(plain, command=_command(service, places), url=_url(service.name, places))


def _postgres(part: Part, places: Places) -> Part:
    server = postgres.Server(folder=places.home.root / "postgres", port=places.postgres)
    login = postgres.Login(
        user=part.environment.get("POSTGRES_USER", "postgres"), password=part.environment["POSTGRES_PASSWORD"]
    )
    return replace(
        part,
        command=server.command,
        user=postgres.unprivileged(),
        environment=_clean(),
        prepare=lambda: server.prepare(login),
        url=f"postgresql://{LOOPBACK}:{places.postgres}",
    )


def _redis(part: Part, places: Places) -> Part:
    folder = places.home.root / "redis"
    return replace(
        part,
        command=redis_server.command(folder),
        environment=_clean(),
        prepare=lambda: redis_server.prepare(folder, places.redis, part.environment["REDIS_PASSWORD"]),
        url=f"redis://{LOOPBACK}:{places.redis}",
    )


def _command(service: Described, places: Places) -> tuple[str, ...]:
    first, *words = service.command
    here = [places.here(word) for word in words]
    if service.name in (WORKER, GPU_WORKER):
        # Two workers on one host need names of their own.
        here += ["--celery-hostname", f"{service.name}@%h"]
    if service.name in SHARE_LOGS and SKIP_LOGS not in here:
        # All logs lie in one folder of this machine, so nobody has to hand them out.
        here.append(SKIP_LOGS)
    ports = {MLFLOW: ("5000", places.mlflow), API_SERVER: ("8080", places.airflow)}
    if service.name in ports:
        inside, own = ports[service.name]
        here = [re.sub(rf"^((?:--port=)?){inside}$", rf"\g<1>{own}", word) for word in here]
    return (*PROGRAMS.get(first, (first,)), *here)


def _url(name: str, places: Places) -> str | None:
    port = {MLFLOW: places.mlflow, API_SERVER: places.airflow}.get(name)
    return f"http://{LOOPBACK}:{port}" if port else None


def _clean() -> dict[str, str]:
    """Return this shell's variables without those that would change what the compose file says."""
    return EVERYWHERE | {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def _write_secretly(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(content)
