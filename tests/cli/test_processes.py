"""Processes are found again only while they are the same ones, and stopping leaves nobody behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from behavior_tasks.base.home import Home
from behavior_tasks.cli import processes
from behavior_tasks.cli.processes import Service

# A leader that ignores SIGTERM, whose child has a session of its own and a child that outlives it.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleeper, start_new_session=True)
print(child.pid, subprocess.Popen(sleeper).pid, flush=True)
time.sleep(600)
"""


def wait_for(text_of: Path) -> str:
    for _ in range(200):
        if text_of.is_file() and text_of.read_text().endswith("\n"):
            return text_of.read_text()
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def test_stop_ends_the_stubborn_and_those_in_other_sessions(tmp_path: Path) -> None:
    log = tmp_path / "log"
    leader = processes.start([sys.executable, "-c", STUBBORN], environment=os.environ, log=log, folder=tmp_path)
    below = [int(pid) for pid in wait_for(log).split()]
    family = [psutil.Process(pid) for pid in (leader.pid, *below)]
    processes.stop([leader.pid], seconds=0.5)
    leader.wait()
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def test_stop_waits_for_those_who_end_politely(tmp_path: Path) -> None:
    log = tmp_path / "log"
    polite = (
        "import signal, sys, time\n"
        "def leave(*_):\n    time.sleep(0.5)\n    print('saved', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    leader = processes.start([sys.executable, "-c", polite], environment=os.environ, log=log, folder=tmp_path)
    wait_for(log)
    processes.stop([leader.pid], seconds=10)
    leader.wait()
    assert log.read_text().split() == ["ready", "saved"]


def test_a_log_is_for_its_owner_only(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log"
    processes.start([sys.executable, "-c", "pass"], environment=os.environ, log=log, folder=tmp_path).wait()
    assert log.stat().st_mode & 0o777 == 0o600
    assert processes.last_lines(log) == "(nothing)"


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_only_the_very_same_process_counts_as_running(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    home = Home(tmp_path)
    assert processes.still_running(home) == []
    created = psutil.Process(sleeper.pid).create_time()
    same = Service(name="same", pid=sleeper.pid, created=created)
    # The id went to another process after a restart of the machine.
    stranger = Service(name="stranger", pid=sleeper.pid, created=created - 60)
    gone = Service(name="gone", pid=2**22 - 1, created=created)
    processes.write_down(home, [same, stranger, gone])
    assert processes.still_running(home) == [same]


def test_a_torn_list_names_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    processes.write_down(home, [])
    (home.services / "running.jsonl").write_text('{"name": "airf')
    assert processes.still_running(home) == []
