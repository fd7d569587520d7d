"""A disk that fills up in the middle, or may not be written to: one message, and nothing half-written.

The disk is a real one, a few MB in memory that the super-user mounts; without that right these tests are skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.tables import connect, write_parquet
from behavior_tasks.data.sources import hash_raw_files
from tests.data.raw_files import random_rows, raw, write_rows
from tests.data.stages import run_to
from tests.data.test_odd_input import write_one_shopper
from tests.data.walk import WALK, walk

NOBODY = 65_534


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk in memory")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def nearly_full(disk: Path, left_kb: int) -> Iterator[None]:
    """Fill a disk up to so many KB."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free - left_kb * 1024)
        yield
    finally:
        ballast.unlink()


def written(home: Path) -> set[str]:
    """Return all files below the artifacts, unfinished ones included."""
    return {str(file) for file in (home / "artifacts").rglob("*") if file.is_file()}


def test_a_full_disk_is_told_with_the_stage_and_leaves_nothing(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = disk / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    log = str(write_rows(tmp_path / "log.csv", random_rows(4, 20_000, shoppers=1500, days=60)))
    full = {"ingest": "ingest-part", "clean": "clean-part", "cutoffs": "cutoffs", "features": "features"}
    assert tuple(full) == WALK[1:]
    for before, stage in zip(WALK, full, strict=False):
        walk(log, before, 1)
        held = written(home)
        with (
            nearly_full(disk, 48),
            pytest.raises(UserError, match=f"filled up during the stage {full[stage]};") as told,
        ):
            walk(log, stage, 1)
        assert "free some space" in str(told.value)
        assert written(home) == held
        assert list((home / "artifacts").glob("*/.*")) == []
    assert walk(log, WALK[-1], 1).artifact("features") is not None


def test_not_even_a_runs_record_fits(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = disk / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    log = str(write_rows(tmp_path / "log.csv", random_rows(4, 100)))
    record = walk(log, "source", 1).folder / "run.json"
    held = record.read_bytes()
    with nearly_full(disk, 0), pytest.raises(UserError, match=r"is full: run\.json can't be written") as told:
        walk(log, "source", 1)
    assert "BEHAVIOR_HOME" in str(told.value)
    assert record.read_bytes() == held
    assert list(record.parent.glob(".*")) == []


@pytest.mark.slow
def test_what_exceeds_the_memory_may_not_fit_onto_the_disk_either(disk: Path, tmp_path: Path) -> None:
    log = write_one_shopper(tmp_path / "log.csv", 2_500_000)
    little = {"engine.memory_mb": 256}
    with pytest.raises(UserError, match="filled up during the stage ingest-part"):
        run_to("ingest", log, disk / "home", overrides=little)
    assert list((disk / "home" / "artifacts" / "ingest-part").iterdir()) == []


def test_too_little_memory_is_told_with_the_setting(tmp_path: Path) -> None:
    with connect(memory_mb=16) as connection, pytest.raises(UserError, match="needs more memory") as told:
        write_parquet(connection, "SELECT list(range || repeat('x', 99)) FROM range(1000000)", tmp_path / "x.parquet")
    assert "engine.memory_mb" in str(told.value)


def test_a_state_folder_on_a_read_only_disk(disk: Path, tmp_path: Path) -> None:
    log = write_rows(tmp_path / "log.csv", [raw()])
    home = disk / "home"
    run_to("ingest", log, home)
    held = written(home)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    # What is finished can still be read.
    assert run_to("ingest", log, home).manifest.rows.rows_out == 1
    with pytest.raises(UserError, match="source in the state folder may not be written to") as told:
        run_to("ingest", log, home, overrides={"source.max_bad_fraction": 0.5})
    assert "Read-only" in str(told.value)
    assert HOME_VARIABLE in str(told.value)
    with pytest.raises(UserError, match="clean can't be made in the state folder"):
        run_to("clean", log, home)
    assert written(home) == held


@pytest.mark.skipif(os.geteuid() != 0, reason="only the super-user can become somebody else")
def test_somebody_else_may_neither_read_the_log_nor_write_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        # What a tuning wrote there can't be listed, either; that is no reason to stop.
        (folder / "closed").mkdir(mode=0o700)
        monkeypatch.setenv(HOME_VARIABLE, str(folder / "closed" / "home"))
        open_log, closed_log = (write_rows(folder / f"{word}.csv", [raw(word)]) for word in ("open", "closed"))
        closed_log.chmod(0o600)
        run_to("ingest", open_log, folder / "home")
        os.seteuid(NOBODY)
        try:
            assert not os.access(closed_log, os.R_OK, effective_ids=True)
            with pytest.raises(UserError, match=r"closed\.csv may not be read by this user"):
                hash_raw_files(closed_log, Config(), Home(folder / "home"))
            with pytest.raises(UserError, match="source in the state folder may not be written to"):
                run_to("source", open_log, folder / "home", overrides={"source.max_bad_fraction": 0.5})
        finally:
            os.seteuid(0)
