"""Two real training processes that share the work: the same losses as one, and one end for both."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.model.work_folder import WorkFolder
from tests.model.toy import Toy, make_work, train_here, untimed

WAIT_SECONDS = 120.0
pytestmark = pytest.mark.slow


def launch(work: WorkFolder, *, processes: int = 2) -> subprocess.Popen[bytes]:
    """Start processes as `accelerate launch` does, with no configuration of this machine's user."""
    config = work.root / "accelerate.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nmixed_precision: 'no'\n"
        f"num_processes: {processes}\nnum_machines: 1\nmachine_rank: 0\nuse_cpu: true\nmain_process_port: 0\n"
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += ["--num_cpu_threads_per_process", "1", "-m", "behavior_tasks.model.train_process", str(work.root)]
    environment = {**os.environ, HOME_VARIABLE: str(work.root)}
    with (work.root / "said.txt").open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)


def said(work: WorkFolder) -> str:
    return (work.root / "said.txt").read_text(errors="replace")


def children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == pid:
                found.append(int(folder.name))
    return sorted(found)


def test_two_processes_learn_what_one_learns(toy: Toy, tmp_path: Path) -> None:
    # 160 examples in batches of 31: the last batch has five, and shares are never equal.
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 31, "batch_tokens": 100, "negative_share": 0.8}
    one, two = (make_work(tmp_path / name, toy, model={"dropout": 0.0}, **settings) for name in ("one", "two"))
    assert train_here(one) == 0
    assert launch(two).wait(timeout=WAIT_SECONDS) == 0, said(two)
    for ours, theirs in zip(untimed(two.metrics), untimed(one.metrics), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    weights = load_file(one.bundle / "model.safetensors")
    for name, tensor in load_file(two.bundle / "model.safetensors").items():
        np.testing.assert_allclose(tensor, weights[name], atol=1e-4, err_msg=name)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
def test_a_stop_of_one_process_stops_both_at_the_same_step(toy: Toy, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=1000, patience=100, batch_size=2)
    launcher = launch(work)
    deadline = time.monotonic() + WAIT_SECONDS
    while work.read_heartbeat() is None:
        assert launcher.poll() is None, said(work)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    beat = work.read_heartbeat()
    assert beat is not None
    (other,) = [pid for pid in children(launcher.pid) if pid != beat.pid]
    os.kill(other, signal.SIGTERM)
    launcher.wait(timeout=WAIT_SECONDS)
    outcome = work.read_outcome()
    assert outcome is not None, said(work)
    assert outcome.status == "stopped"
    assert "75" in said(work)
    assert work.last.is_file()
    # Both stopped after the same step, or one would still wait for the other.
    assert children(launcher.pid) == []
