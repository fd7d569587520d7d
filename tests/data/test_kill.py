"""Kill -9 in the middle of any step, and run again: the same artifacts, and nothing half-written left.

The whole process group is killed, workers included, at random instants of the stages' measured times.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.artifacts import MANIFEST, ArtifactStore, Manifest
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.events import hash_events, open_events
from tests.data.walk import WALK

ROOT = Path(__file__).resolve().parents[2]
ROWS, FILES, SHARED_ROWS = 200_000, 3, 500
SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A walk that nobody killed."""

    log: Path
    home: Path
    seconds: Mapping[str, float]
    """How long each stage took."""


def start(log: Path, home: Path, last: str, workers: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.data.walk", str(log), last, str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )


def finish(log: Path, home: Path, workers: int) -> dict[str, float]:
    """Walk to the end and return the seconds of each stage."""
    marks: dict[str, float] = {}
    with start(log, home, WALK[-1], workers) as process:
        assert process.stdout is not None
        for line in process.stdout:
            marks[line.strip()] = time.monotonic()
    assert (process.returncode, list(marks)) == (0, [*WALK, "done"])
    ends = [*list(marks.values())[1:]]
    return {name: end - begun for (name, begun), end in zip(marks.items(), ends, strict=False)}


def kill_in(stage: str, after_seconds: float, log: Path, home: Path, workers: int) -> bool:
    """Kill a walk so many seconds after a stage has begun; return whether it was still at work."""
    process = start(log, home, WALK[-1], workers)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == stage:
            break
    time.sleep(after_seconds)
    at_work = process.poll() is None
    # The session's leader was started here, so the group is this test's own.
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.wait(timeout=SECONDS) in {0, -signal.SIGKILL}
    return at_work


def artifacts(home: Path) -> dict[str, Any]:
    """Return what each artifact holds: rows, facts, hashes of its rows and of its files."""
    found = {}
    for file in sorted((home / "artifacts").glob(f"*/*/{MANIFEST}")):
        manifest = Manifest.model_validate_json(file.read_bytes())
        files = {name: entry.sha256 for name, entry in manifest.files.items()}
        found[str(file.parent.relative_to(home))] = (manifest.rows, manifest.facts, manifest.content_hash, files)
    return found


def hashed_events(home: Path) -> str:
    (clean,) = (home / "artifacts" / "clean").iterdir()
    artifact = ArtifactStore(home / "artifacts").open(f"artifact://clean/{clean.name}")
    return hash_events(open_events(artifact))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("kill")
    whole, log = folder / "whole.csv", folder / "log"
    command = [sys.executable, "benchmarks/big_log.py", "--rows", str(ROWS), "--out", str(whole)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=SECONDS)
    header, *lines = whole.read_text().splitlines(keepends=True)
    log.mkdir()
    for number in range(FILES):
        # Files share a few rows, so that cleaning one needs the others.
        begin = max(0, number * ROWS // FILES - SHARED_ROWS)
        (log / f"{number}.csv").write_text("".join([header, *lines[begin : (number + 1) * ROWS // FILES]]))
    return Undisturbed(log=log, home=folder / "home", seconds=finish(log, folder / "home", workers=1))


def kill_again_and_again(
    undisturbed: Undisturbed, home: Path, stages: tuple[str, ...], *, seed: int, workers: int
) -> int:
    """Kill a walk once in each stage, every time over what the last left; then finish it. Return the kills that hit."""
    chance = random.Random(seed)
    hits = 0
    for stage in stages:
        after = chance.uniform(0, undisturbed.seconds[stage])
        hits += kill_in(stage, after, undisturbed.log, home, workers)
    finish(undisturbed.log, home, workers)
    return hits


def test_killed_and_run_again_gives_the_same_artifacts(undisturbed: Undisturbed, tmp_path: Path) -> None:
    home = tmp_path / "home"
    hits = kill_again_and_again(undisturbed, home, ("ingest", "clean", "features"), seed=1, workers=1)
    assert hits >= 2
    expected = artifacts(undisturbed.home)
    assert len(expected) == len(WALK) + 2 * FILES
    assert artifacts(home) == expected
    assert hashed_events(home) == hashed_events(undisturbed.home)
    assert list((home / "artifacts").glob("*/.*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_killed_in_every_stage_with_its_workers(undisturbed: Undisturbed, seed: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    hits = kill_again_and_again(undisturbed, home, WALK, seed=seed, workers=2)
    assert hits >= len(WALK) - 2
    assert artifacts(home) == artifacts(undisturbed.home)
    assert hashed_events(home) == hashed_events(undisturbed.home)
    assert list((home / "artifacts").glob("*/.*")) == []
