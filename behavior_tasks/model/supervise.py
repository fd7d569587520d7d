"""The training process, watched: a command line in, its end out; a signal, a stall or the stage's own end stops it.

The process is asked to stop by closing the pipe that is its standard input, so it also stops when this one dies by
kill -9. The one thing to know: what counts as life is the heartbeat file, which only the loops that work rewrite.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from behavior_tasks.model.work_folder import WorkFolder

POLL_SECONDS = 0.25
KILLED_SECONDS = 10.0
"""How long the system may take to clear away what was killed."""


class TrainingStoppedError(RuntimeError):
    """The training process ended before it was done; running the stage again resumes it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long the training process may be silent, or take to stop, in seconds."""

    stall_seconds: float
    """Silence after the first heartbeat that counts as a stall."""
    start_seconds: float = 1800.0
    """The same before the first heartbeat: loading libraries, tokens and a checkpoint from a hub takes its time."""
    stop_seconds: float = 60.0
    """For writing a last checkpoint when asked to stop."""
    stalled_stop_seconds: float = 10.0
    """For the same when stalled: most likely nothing more will come."""


class Watchdog:
    """Counts for how long the heartbeat file has stood still."""

    def __init__(self, heartbeat: Path, limits: Limits) -> None:
        self.silent_seconds = 0.0
        self._heartbeat = heartbeat
        self._limits = limits
        self._allowed = max(limits.start_seconds, limits.stall_seconds)
        self._seen = self._mark()
        self._looked: float | None = None

    def stalled(self, now: float) -> bool:
        """Look at the heartbeat and say whether it has been silent for too long; to be called about every second.

        Args:
            now: a monotonic clock, in seconds.
        """
        # This process may itself have been stopped, or starved: no single look counts for more than a second.
        passed = 0.0 if self._looked is None else min(now - self._looked, 1.0)
        self._looked = now
        mark = self._mark()
        if mark == self._seen:
            self.silent_seconds += passed
        else:
            self._seen, self.silent_seconds, self._allowed = mark, 0.0, self._limits.stall_seconds
        return self.silent_seconds >= self._allowed

    def _mark(self) -> tuple[int, int] | None:
        try:
            found = self._heartbeat.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


def run_process(
    command: list[str],
    work: WorkFolder,
    *,
    environment: Mapping[str, str],
    limits: Limits,
    show: Callable[[float], None],
) -> None:
    """Run the training process until it ends, with its output in the work folder's log.

    Args:
        command: starts the process; what it starts in turn ends with it.
        work: the work folder; the heartbeat of an earlier attempt is deleted.
        environment: the variables of the process.
        limits: when it counts as stalled, and how long it may take to stop.
        show: called a few times a second with the seconds since the last heartbeat.

    Raises:
        TrainingStoppedError: the process stalled and was ended.
    """
    work.heartbeat.unlink(missing_ok=True)
    with work.log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # A terminal's Ctrl-C must reach the process through this stage only, as a request to stop.
            start_new_session=True,
            env=dict(environment),
        )
    assert process.stdin is not None
    pipe = process.stdin
    watchdog = Watchdog(work.heartbeat, limits)
    try:
        with stopping_on_signals(pipe.close):
            while process.poll() is None and not pipe.closed:
                time.sleep(POLL_SECONDS)
                if watchdog.stalled(time.monotonic()):
                    _terminate(process, limits.stalled_stop_seconds)
                    raise TrainingStoppedError(
                        f"The training process did nothing for {watchdog.silent_seconds:.0f} s and was ended "
                        "(train.stall_seconds); run again to go on from its last checkpoint."
                    )
                show(watchdog.silent_seconds)
            # A signal that comes while the last checkpoint is written must not cut that short.
            _wait(process, limits.stop_seconds)
    finally:
        pipe.close()
        _wait(process, limits.stop_seconds)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait for a process that was asked to stop; kill it and all that it started when it takes too long."""
    family = _family(process)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(family)
        process.wait()


def _terminate(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End a process and all that it started: by SIGTERM, and what is left after so many seconds by SIGKILL."""
    family = _family(process)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=seconds)
    _kill(alive)


def _kill(family: list[psutil.Process]) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=KILLED_SECONDS)


def _family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return a process and all that it started: the launcher's workers have process groups of their own."""
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block, SIGTERM and SIGINT call `stop`; after it they reach whoever handled them before.

    So the block can end in good order, and the caller (Airflow, a terminal) still learns of the signal. A signal that
    was ignored (`nohup`, a job in the background of a script) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only; the handlers there stay as they are.
        yield
        return
    received: list[int] = []

    def handle(signum: int, _frame: object) -> None:
        received.append(signum)
        stop()

    heeded = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, handle) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if received:
        handler = before[signal.Signals(received[0])]
        if callable(handler):
            handler(received[0], None)
        else:
            raise SystemExit(128 + received[0])
