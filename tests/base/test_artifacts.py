"""Artifacts: made once, never half, found again by what they were made from."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import ArtifactStore, Built, Output, Rows
from behavior_tasks.base.errors import UserError

EVEN = Rows(unit_in="rows", unit_out="rows", rows_in=3, rows_out=2, removed={"duplicate": 1})


def build(
    store: ArtifactStore, *, settings: dict[str, object] | None = None, rows: Rows = EVEN, text: str = "x"
) -> Built:
    calls.append(1)

    def work(out: Path, key: str) -> Output:
        (out / "part").mkdir()
        (out / "part" / "data.txt").write_text(text)
        worked.append(key)
        return Output(rows=rows, facts={"first": "2026-01-01"})

    return store.build(
        stage="clean", code="c1", settings=settings or {}, inputs={"ingest": "artifact://ingest/a"}, work=work
    )


calls: list[int] = []
worked: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()
    worked.clear()


def test_the_second_build_is_the_first_one_and_does_no_work(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    first, second = build(store), build(store)
    assert (first.reused, second.reused) == (False, True)
    assert first.artifact.uri == second.artifact.uri
    assert len(worked) == 1
    assert store.open(first.artifact.uri).facts == {"first": "2026-01-01"}
    assert set(first.artifact.manifest.files) == {"part/data.txt"}


def test_another_setting_is_another_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert build(store).artifact.key != build(store, settings={"a": 1}).artifact.key


def test_a_lost_row_stops_the_stage_and_leaves_nothing(tmp_path: Path) -> None:
    lost = Rows(unit_in="rows", unit_out="rows", rows_in=3, rows_out=1, removed={"duplicate": 1})
    with pytest.raises(AssertionError, match="lost rows"):
        build(ArtifactStore(tmp_path), rows=lost)
    assert list((tmp_path / "clean").iterdir()) == []


def test_work_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def broken(out: Path, key: str) -> Output:
        (out / "half.txt").write_text("half")
        raise RuntimeError(key)

    with pytest.raises(RuntimeError):
        store.build(stage="clean", code="c1", settings={}, inputs={}, work=broken)
    assert list((tmp_path / "clean").iterdir()) == []
    assert build(store).reused is False


KILLED = """
import os, signal, sys
from pathlib import Path
from behavior_tasks.base.artifacts import ArtifactStore

def die(out, key):
    (out / "half.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

ArtifactStore(Path(sys.argv[1])).build(stage="clean", code="c1", settings={}, inputs={}, work=die)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "clean").iterdir()
    assert (left / "half.txt").is_file()
    other = tmp_path / "clean" / ".keep"
    other.mkdir()
    store = ArtifactStore(tmp_path)

    def work(out: Path, key: str) -> Output:
        (out / "mine.txt").write_text("mine")
        assert not build(store, settings={"another": 1}).reused
        return Output(rows=EVEN)

    made = store.build(stage="clean", code="c2", settings={}, inputs={}, work=work).artifact
    assert set(made.manifest.files) == {"mine.txt"}
    assert {path.name for path in (tmp_path / "clean").iterdir()} == {made.key, *worked, ".keep"}


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest"])
def test_damage_is_seen_when_an_artifact_is_opened(tmp_path: Path, harm: str) -> None:
    store = ArtifactStore(tmp_path)
    artifact = build(store).artifact
    file = artifact.path / "part" / "data.txt"
    if harm == "truncate":
        file.write_text("")
    elif harm == "remove":
        shutil.rmtree(artifact.path / "part")
    else:
        (artifact.path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        store.open(artifact.uri)


def test_a_nearly_full_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, min_free_disk_mb=10**9)
    with pytest.raises(UserError, match="nearly full"):
        build(store)
    assert worked == []
    assert list((tmp_path / "clean").iterdir()) == []


@pytest.mark.parametrize("uri", ["artifact://clean/0", "run://x", "clean/0", "artifact://clean"])
def test_a_uri_that_names_nothing_is_a_clear_error(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="no artifact"):
        ArtifactStore(tmp_path).open(uri)
