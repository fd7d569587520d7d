"""The cluster while it runs: parts in; processes started in order, watched, started again, and ended one and all.

A part that dies later is named with its last words and started again, as compose would. One thing to know: another
terminal asks for a stop or a restart by leaving a file named after the part, which is gone once that is done.
"""

import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.processes import Service
from scripts.native import parts
from scripts.native.health import healthy
from scripts.native.parts import Part

START_SECONDS = 600.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.5
MOST_DEATHS = 3
"""Within DEATH_SECONDS; a part that dies more often is not started again."""
DEATH_SECONDS = 600.0
STOP, RESTART, STARTED, REFUSED = "stop", "restart", "started", "refused"
"""What a request says; the last two are the cluster's own words: until the part answers, and where it has no such."""
LEADER = "cluster"
"""Name of the process of `up` itself in the list of what runs."""
HEALTHY, COMPLETED = "service_healthy", "service_completed_successfully"


class Cluster:
    """All parts and what became of them.

    Args:
        home: the state folder.
        everything: the parts by name, whether they are to run or not.
        wanted: those that are to run.
        tell: says something to whoever started the cluster.
    """

    def __init__(
        self, home: Home, everything: Mapping[str, Part], wanted: Mapping[str, Part], tell: Callable[[str], None]
    ) -> None:
        self._home = home
        self._parts = everything
        self._wanted = wanted
        self._tell = tell
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._healthy: set[str] = set()
        self._done: set[str] = set()
        """One-shot parts that ended well."""
        self._deaths: dict[str, list[float]] = defaultdict(list)

    def start_all(self) -> None:
        """Start every part once those before it are ready, and wait until all of them are.

        Raises:
            UserError: a part ends, or does not answer in time.
        """
        began = time.monotonic()
        while waiting := [name for name in self._wanted if name not in self._healthy | self._done]:
            for name in waiting:
                if name not in self._running and self._may_start(self._parts[name]):
                    self.start(name)
            self._bury_one_shots()
            for name, process in self._running.items():
                # A one-shot part may just have ended well; it is buried in the next round.
                if process.poll() is not None and (name, process.returncode) != (parts.INIT, 0):
                    raise self._death(name, "everything else is stopped too")
            self._look()
            if time.monotonic() - began > START_SECONDS:
                late = [name for name in waiting if name in self._running]
                raise UserError(
                    f"{' and '.join(late)} did not answer within {START_SECONDS:.0f} seconds.",
                    found=processes.last_lines(log_of(self._home, late[0])),
                    next_step="the whole logs are in services/ in the state folder",
                )
            time.sleep(POLL_SECONDS / 2)

    def start(self, name: str) -> None:
        """Start one part."""
        part = self._parts[name]
        if part.prepare:
            part.prepare()
        self._running[name] = processes.start(
            part.command,
            environment=part.environment,
            log=log_of(self._home, name),
            folder=airflow.PROJECT,
            user=part.user,
        )
        self._write_down()

    def stop(self, name: str) -> None:
        """End one part and whatever it started."""
        self._end([name])
        self._write_down()

    def stop_all(self) -> None:
        """End everything, the databases last, and leave nothing behind."""
        last = (parts.REDIS, parts.POSTGRES)
        self._end([name for name in self._running if name not in last])
        self._end(list(self._running))
        processes.stop([], seconds=STOP_SECONDS, adopted=True)
        processes.write_down(self._home, [])

    def _end(self, names: Sequence[str]) -> None:
        """Ask parts to end in the way that each understands; end for good whatever of them is left."""
        ended = {name: self._running.pop(name) for name in names if name in self._running}
        self._healthy -= set(names)
        for name, process in ended.items():
            if process.poll() is None:
                process.send_signal(self._parts[name].end)
        deadline = time.monotonic() + STOP_SECONDS
        for process in ended.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        processes.stop([process.pid for process in ended.values()], seconds=STOP_SECONDS)
        for process in ended.values():
            process.wait()

    def watch(self) -> None:
        """Go on until the process is told to end: do what is asked for, start again what dies.

        Raises:
            UserError: a part died too often.
        """
        folder = _requests(self._home)
        # What was asked of a cluster that is gone is nobody's wish any more.
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        while True:
            for request in sorted(folder.glob("[!.]*")):
                self._answer(request)
            for name in [name for name, process in self._running.items() if process.poll() is not None]:
                self._start_again(name)
            time.sleep(POLL_SECONDS)

    def _answer(self, request: Path) -> None:
        name, wanted = request.name, request.read_text(encoding="utf-8")
        if name not in self._wanted:
            request.write_text(REFUSED, encoding="utf-8")
            return
        if wanted == STARTED:
            if healthy(self._parts[name], self._parts):
                request.unlink()
            return
        self._tell(f"{name}: asked to {wanted}")
        self.stop(name)
        if wanted == RESTART:
            self.start(name)
            request.write_text(STARTED, encoding="utf-8")
        else:
            request.unlink()

    def _start_again(self, name: str) -> None:
        now = time.monotonic()
        self._deaths[name] = [then for then in self._deaths[name] if now - then < DEATH_SECONDS] + [now]
        death = self._death(name, "it is started again")
        if len(self._deaths[name]) > MOST_DEATHS:
            raise self._death(name, f"{MOST_DEATHS + 1} times in {DEATH_SECONDS / 60:.0f} minutes, so all is stopped")
        self._tell(str(death))
        self.stop(name)
        self.start(name)

    def _death(self, name: str, then: str) -> UserError:
        log = log_of(self._home, name)
        return UserError(
            f"{name} ended unexpectedly (exit code {self._running[name].returncode}); {then}.",
            found=processes.last_lines(log),
            next_step=f"the whole log is {log.relative_to(self._home.root)} in the state folder",
        )

    def _may_start(self, part: Part) -> bool:
        met = {HEALTHY: self._healthy, COMPLETED: self._done}
        return all(name in met.get(how, self._running.keys()) for name, how in part.after.items())

    def _bury_one_shots(self) -> None:
        process = self._running.get(parts.INIT)
        if process is not None and process.poll() == 0:
            del self._running[parts.INIT]
            self._done.add(parts.INIT)

    def _look(self) -> None:
        for name in self._running.keys() - self._healthy - {parts.INIT}:
            if healthy(self._parts[name], self._parts):
                self._healthy.add(name)

    def _write_down(self) -> None:
        pids = {LEADER: os.getpid()} | {n: process.pid for n, process in self._running.items()}
        written = []
        for name, pid in pids.items():
            with suppress(psutil.NoSuchProcess):
                created = psutil.Process(pid).create_time()
                url = self._parts[name].url if name in self._parts else None
                written.append(Service(name=name, pid=pid, created=created, url=url))
        processes.write_down(self._home, written)


def ask(home: Home, name: str, wanted: str) -> None:
    """Ask the running cluster to stop or restart a part, and wait until that is done.

    Args:
        home: the state folder.
        name: a part.
        wanted: STOP or RESTART.

    Raises:
        UserError: when no cluster runs there, or the part does not answer in time.
    """
    lock = FileLock(lock_of(home))
    with suppress(Timeout), lock.acquire(timeout=0):
        raise UserError("No cluster runs on this state folder.", found=home.root.name, next_step="make native")
    request = make_folder(_requests(home)) / name
    temporary = request.with_name(f".{name}.new")
    temporary.write_text(wanted, encoding="utf-8")
    temporary.replace(request)
    deadline = time.monotonic() + START_SECONDS
    while (said := _read(request)) is not None:
        if said == REFUSED:
            request.unlink()
            raise UserError(f"The cluster that runs here has no {name}.", next_step="python -m scripts.native status")
        if time.monotonic() > deadline:
            raise UserError(
                f"{name} does not answer after {START_SECONDS:.0f} seconds.",
                found=processes.last_lines(log_of(home, name)),
            )
        time.sleep(POLL_SECONDS / 2)


def log_of(home: Home, name: str) -> Path:
    """Return where a part's output goes."""
    return home.services / f"{name}.log"


def lock_of(home: Home) -> Path:
    """Return the lock of whoever runs services on a state folder; `behavior up` holds the same one."""
    return home.services / "up.lock"


def _read(request: Path) -> str | None:
    try:
        return request.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _requests(home: Home) -> Path:
    return home.services / "requests"
