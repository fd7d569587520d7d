"""Two real training processes that share the work: the same losses as one, and one end for both."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from behavior_tasks.model.launch import launch_command, launch_environment
from behavior_tasks.model.work_folder import WorkFolder
from tests.model.toy import Toy, make_work, train_here, untimed

WAIT_SECONDS = 120.0
pytestmark = pytest.mark.slow


def launch(work: WorkFolder) -> subprocess.Popen[bytes]:
    with (work.root / "said.txt").open("wb") as stream:
        return subprocess.Popen(
            launch_command(work, work.read_job().train),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=launch_environment(),
            start_new_session=True,
        )


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
    one, two = (
        make_work(tmp_path / str(count), toy, model={"dropout": 0.0}, processes=count, **settings) for count in (1, 2)
    )
    assert train_here(one) == 0
    with launch(two) as launcher:
        assert launcher.wait(timeout=WAIT_SECONDS) == 0, said(two)
    assert "2 processes" in said(two)
    for ours, theirs in zip(untimed(two.metrics), untimed(one.metrics), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    weights = load_file(one.bundle / "model.safetensors")
    for name, tensor in load_file(two.bundle / "model.safetensors").items():
        np.testing.assert_allclose(tensor, weights[name], atol=1e-4, err_msg=name)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
def test_a_stop_of_one_process_stops_both_at_the_same_step(toy: Toy, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=1000, patience=100, batch_size=2, processes=2)
    # Leaving the block closes the processes' standard input, which stops them whatever happens here.
    with launch(work) as launcher:
        deadline = time.monotonic() + WAIT_SECONDS
        while (beat := work.read_heartbeat()) is None:
            assert launcher.poll() is None, said(work)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (other,) = [pid for pid in children(launcher.pid) if pid != beat.pid]
        os.kill(other, signal.SIGTERM)
        launcher.wait(timeout=WAIT_SECONDS)
    # Both stopped after the same step, or one would have waited for the other and never have come to its end.
    outcome = work.read_outcome()
    assert outcome is not None, said(work)
    assert outcome.status == "stopped"
    assert "exitcode  : 75" in said(work)
    assert work.last.is_file()
