import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from behavior_tasks.model.supervise import Limits, TrainingStoppedError, Watchdog, run_process, stopping_on_signals
from behavior_tasks.model.work_folder import WorkFolder

LAUNCHER = """
import pathlib, subprocess, sys
work = pathlib.Path(sys.argv[1])
# As torchrun does: the worker is in a session, and so a process group, of its own.
worker = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], start_new_session=True)
(work / "worker").write_text(str(worker.pid))
sys.exit(worker.wait())
"""
BEATS = """
import os, pathlib, signal, sys, time
heartbeat = pathlib.Path(sys.argv[1]) / "heartbeat.json"
def beat():
    heartbeat.with_name("new").write_text("{}")
    heartbeat.with_name("new").replace(heartbeat)
"""


def run(work: WorkFolder, worker: str, **limits: float) -> list[float]:
    """Run a worker below a launcher and return the seconds of silence that were shown."""
    shown: list[float] = []
    run_process(
        [sys.executable, "-c", LAUNCHER, str(work.root), BEATS + worker],
        work,
        environment=dict(os.environ),
        limits=Limits(**({"stall_seconds": 60.0} | limits)),
        show=shown.append,
    )
    return shown


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    hangs = "beat(); os.kill(os.getpid(), signal.SIGSTOP)"
    with pytest.raises(TrainingStoppedError, match=r"train\.stall_seconds.*run again") as caught:
        run(work, hangs, stall_seconds=0.8, stalled_stop_seconds=0.3)
    assert "did nothing for 1 s" in str(caught.value)
    assert has_ended(int((tmp_path / "worker").read_text()))


def test_a_stalled_process_is_asked_to_stop_before_it_is_killed(tmp_path: Path) -> None:
    tidy = """
signal.signal(signal.SIGTERM, lambda *_: (heartbeat.with_name("saved").write_text(""), sys.exit(75)))
beat()
time.sleep(60)
"""
    with pytest.raises(TrainingStoppedError):
        run(WorkFolder(tmp_path), tidy, stall_seconds=0.8, stalled_stop_seconds=20)
    assert (tmp_path / "saved").is_file()


def test_slow_to_start_and_slow_to_end_is_no_stall(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    work.heartbeat.write_text("an earlier attempt's")
    shown = run(work, "time.sleep(1.2)\nfor _ in range(3): beat(); time.sleep(0.3)", stall_seconds=0.9)
    assert max(shown) > 0.9
    assert shown[-1] < 0.9


def test_who_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); beat(); time.sleep(60)"

    def interrupt() -> None:
        limit = time.monotonic() + 60
        while not work.heartbeat.is_file() and time.monotonic() < limit:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run(work, deaf, stop_seconds=0.5)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert has_ended(int((tmp_path / "worker").read_text()))


def test_the_watchdog_counts_from_the_last_beat_and_allows_a_long_start(tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat.json"
    watchdog = Watchdog(heartbeat, Limits(stall_seconds=5, start_seconds=20))
    assert not any(watchdog.stalled(now) for now in range(20))
    assert watchdog.stalled(20)

    watchdog = Watchdog(heartbeat, Limits(stall_seconds=5, start_seconds=20))
    watchdog.stalled(0)
    heartbeat.write_text("{}")
    assert not any(watchdog.stalled(now) for now in range(1, 6))
    os.utime(heartbeat, ns=(1, 1))
    assert not any(watchdog.stalled(now) for now in range(6, 11))
    assert watchdog.silent_seconds == 4
    assert watchdog.stalled(11)


def test_the_watchdogs_own_pause_is_not_held_against_the_process(tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat.json"
    watchdog = Watchdog(heartbeat, Limits(stall_seconds=5))
    heartbeat.write_text("{}")
    assert not watchdog.stalled(1)
    # As after a suspended laptop, or when both processes were stopped and went on.
    assert not watchdog.stalled(10_000)


def test_a_termination_without_a_handler_ends_the_caller_tidily() -> None:
    stopped = []
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as caught, stopping_on_signals(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 128 + signal.SIGTERM
    assert stopped == [True]


def test_a_signal_that_the_caller_ignores_stops_nothing() -> None:
    stopped = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped == []
