"""Who works on a run: a lock that lives and dies with a process, and a heartbeat beside it.

In comes a run's entry in the outbox; out comes whether nobody can be working on it any more. The one thing to know:
in doubt a run is alive. A free lock says that a process of this machine is gone; of another machine, only a day of
silence does.
"""

import fcntl
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.locks import try_lock
from behavior_tasks.registry.outbox import Entry

PROCESS = "process"
"""The driver of a run that one process leads; any other is the name of a DAG, which may pause between tasks."""
BEAT_SECONDS = 60.0
QUIET_SECONDS = 24 * 3600.0
"""Longer than a DAG run may wait between two of its tasks (18 hours, for a person's answer)."""
LOCK, DRIVER = "alive", "driver"


@contextmanager
def working(entry: Entry, driver: str) -> Iterator[None]:
    """Be known as a process that works on a run, until the end of the block or of the process, however it ends.

    Several processes, and blocks within blocks, may work on one run at the same time.

    Args:
        entry: the run.
        driver: `PROCESS`, or the name of the DAG whose task this is.
    """
    folder = make_folder(entry.folder)
    facts = {"driver": driver, "machine": machine(), "airflow_home": os.environ.get("AIRFLOW_HOME", "")}
    write_durably(folder / DRIVER, json.dumps(facts).encode())
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    ended = threading.Event()
    try:
        try_lock(handle, fcntl.LOCK_SH)
        thread = threading.Thread(target=_beat, args=(folder / LOCK, ended), name="heartbeat", daemon=True)
        thread.start()
        yield
    finally:
        ended.set()
        os.close(handle)


def dead(entry: Entry, *, only_run_of: str | None = None, now: float | None = None) -> bool:
    """Whether a run that was never ended has nobody left who could end it.

    Args:
        entry: the run.
        only_run_of: a DAG that leads one run at a time, of which the caller is the one.
        now: seconds since 1970; None: the clock's.
    """
    folder = entry.folder
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
        facts = json.loads((folder / DRIVER).read_bytes())
    except FileNotFoundError:
        # Nobody has said yet that they work on it.
        return (time.time() if now is None else now) - folder.stat().st_mtime > QUIET_SECONDS
    try:
        if not try_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        quiet = (time.time() if now is None else now) - os.fstat(handle).st_mtime
    finally:
        os.close(handle)
    if quiet > QUIET_SECONDS:
        return True
    if facts["machine"] != machine():
        return False
    if facts["driver"] in {PROCESS, only_run_of}:
        return True
    return not _airflow_runs(facts["airflow_home"])


def machine() -> str:
    """Return what tells this machine, since it was last started, and this container from others; names nobody."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text(encoding="ascii") if boot.is_file() else str(psutil.boot_time())
    space = Path("/proc/self/ns/pid")
    names = (socket.gethostname(), started, str(space.readlink()) if space.is_symlink() else "")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _airflow_runs(airflow_home: str) -> bool:
    """Whether a process of that Airflow runs on this machine; without its folder nobody can tell, so it does."""
    if not airflow_home:
        return True
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("AIRFLOW_HOME") == airflow_home:
                return True
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return False


def _beat(path: Path, ended: threading.Event) -> None:
    while True:
        try:
            os.utime(path)
        except OSError:
            return
        if ended.wait(BEAT_SECONDS):
            return
