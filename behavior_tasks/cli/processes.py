"""Long-running processes: started with a log of their own, written down, found again, and stopped without remains.

Each gets its own session, so that Ctrl-C reaches only the command that started it; that command then ends
them one and all. A process counts as ours only while both its id and its start time are as they were written down.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import Home, make_folder

PR_SET_CHILD_SUBREAPER = 36
LAST_LINES = 15


class Service(BaseModel):
    """A running process, as it is written down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    created: float
    """Start time of the process in Unix seconds; an id alone may have gone to a stranger since."""
    url: str | None = None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def start(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path, user: str | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, its output going to a log that only this user may read.

    Args:
        command: what to start.
        environment: all of its variables.
        log: where its output goes.
        folder: its working folder.
        user: whom root runs it as; None for whoever calls.
    """
    make_folder(log.parent)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    finally:
        os.close(handle)


class Interrupts:
    """While it is entered, SIGTERM and SIGINT end the command as Ctrl-C does, also where a shell had them ignored."""

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is KeyboardInterrupt

    @staticmethod
    def _interrupt(number: int, frame: FrameType | None) -> None:
        # From here on the command only tidies up; a second Ctrl-C must not leave half of it running.
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it, so that `stop` finds grandchildren too (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stop(leaders: Iterable[int], *, seconds: float, adopted: bool = False) -> None:
    """End processes and everything they started: politely at first, for good after `seconds`.

    Args:
        leaders: ids of processes that `start` gave; whoever is in their sessions or descends from them ends too.
        seconds: how long they have to end by themselves.
        adopted: end every other child of this process as well; for a process that called `adopt_orphans`.
    """
    sessions = set(leaders)
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + seconds
    while (running := _family(sessions, adopted)) and time.monotonic() < deadline:
        # Whoever is born while the others end is asked to end too, but nobody twice.
        for process in running - asked:
            _signal(process, signal.SIGTERM)
        asked |= running
        time.sleep(0.1)
    while running := _family(sessions, adopted):
        for process in running:
            _signal(process, signal.SIGKILL)
        time.sleep(0.05)


def write_down(home: Home, services: Sequence[Service]) -> None:
    """Keep what is running, for the next command that asks."""
    make_folder(home.services)
    lines = "\n".join(service.model_dump_json() for service in services)
    write_durably(_list_file(home), lines.encode())


def still_running(home: Home) -> list[Service]:
    """Return what was written down and still runs; a stale or torn file names nothing."""
    try:
        lines = _list_file(home).read_text(encoding="utf-8").splitlines()
        services = [Service.model_validate_json(line) for line in lines]
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return []
    return [service for service in services if service.alive]


def last_lines(log: Path) -> str:
    """Return the end of a log, for the message about a process that died."""
    if not log.is_file():
        return "(nothing)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]) or "(nothing)"


def _list_file(home: Home) -> Path:
    return home.services / "running.jsonl"


def _family(sessions: set[int], adopted: bool) -> set[psutil.Process]:
    """Return who still runs of the sessions, their descendants and, when asked for, this process's own."""
    found = set(psutil.Process().children(recursive=True)) if adopted else set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) in sessions:
                found.add(process)
    for process in list(found):
        with suppress(psutil.NoSuchProcess):
            found.update(process.children(recursive=True))
    ended = {process for process in found if not _runs(process)}
    for process in ended:
        # Ours to bury: an ended child stays in the process table until its parent asks for it.
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return found - ended


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process.send_signal(number)
