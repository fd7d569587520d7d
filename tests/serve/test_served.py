"""What is handed out: whole or not at all, whoever is killed, and one at a time."""

import os
import shutil
import signal
from collections.abc import Callable
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.serve import served
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.served import find_served, need_served, old_dates, publish, served_artifacts, served_dates
from tests.dying import die_before_step

DAY = date(2026, 11, 23)
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def made(home: Home, words: str, *, files: int = 2) -> Artifact:
    """An artifact of the application `demand` with some files of some words."""

    def work(out: Path, key: str) -> Output:
        (out / "served" / "scores").mkdir(parents=True)
        for number in range(files):
            (out / "served" / "scores" / f"{number}.csv").write_text(words)
        (out / "of-no-interest.txt").write_text("x")
        return Output(rows=Rows(unit_in="rows", unit_out="rows", rows_in=1, rows_out=1), facts={"words": words})

    return (
        ArtifactStore(home.artifacts)
        .build(stage="demand", code="", settings={"words": words, "files": files}, inputs={}, work=work)
        .artifact
    )


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.csv")}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_date_holds_the_served_files_and_says_where_they_come_from(home: Home) -> None:
    artifact = made(home, "old")
    given = publish(home, artifact, DAY)
    assert given.folder == home.served / "demand" / "date=2026-11-23"
    assert files(given.folder) == {"scores/0.csv": "old", "scores/1.csv": "old"}
    found = need_served(home, "demand")
    assert found == given
    assert (found.artifact, found.facts) == (artifact.uri, {"words": "old", "banners": []})
    assert served_artifacts(home) == {artifact.uri}


def test_a_date_is_replaced_by_other_files_and_left_alone_by_the_same(home: Home) -> None:
    publish(home, made(home, "old", files=3), DAY)
    given = publish(home, made(home, "new"), DAY)
    assert files(given.folder) == {"scores/0.csv": "new", "scores/1.csv": "new"}
    written = (given.folder / "served.json").stat().st_mtime_ns
    publish(home, made(home, "new"), DAY)
    assert (given.folder / "served.json").stat().st_mtime_ns == written
    late = Banner(code="late_log", level="warning", words="It is late.", next_step="look")
    publish(home, made(home, "new"), DAY, [late])
    told = need_served(home, "demand")
    assert (told.banners, told.facts["words"], files(told.folder)) == ([late], "new", files(given.folder))
    assert publish(home, made(home, "new"), DAY).banners == []
    publish(home, made(home, "old"), date(2026, 11, 22))
    assert served_dates(home, "demand") == [date(2026, 11, 22), DAY]
    newest = find_served(home, "demand")
    assert newest is not None
    assert newest.as_of == DAY


def test_nothing_of_a_date_names_the_dates_that_there_are(home: Home) -> None:
    assert find_served(home, "demand") is None
    with pytest.raises(UserError, match=r"There are no demand yet\."):
        need_served(home, "demand")
    publish(home, made(home, "old"), DAY)
    with pytest.raises(UserError, match="There are no demand of 2026-11-24") as caught:
        need_served(home, "demand", date(2026, 11, 24))
    assert caught.value.found == "2026-11-23"
    (home.served / "demand" / "date=lost").mkdir()
    assert served_dates(home, "demand") == [DAY]


def cut(place: Path) -> None:
    (place / "served.json").write_text('{"as_of": "2026-11-2')


def empty(place: Path) -> None:
    (place / "scores" / "0.csv").write_text("")


def take_record(place: Path) -> None:
    (place / "served.json").unlink()


@pytest.mark.parametrize("damage", [cut, empty, take_record])
def test_what_is_damaged_is_said_and_handed_out_anew(home: Home, damage: Callable[[Path], None]) -> None:
    artifact = made(home, "old")
    damage(publish(home, artifact, DAY).folder)
    with pytest.raises(UserError, match=r"as demand of 2026-11-23 is damaged") as caught:
        find_served(home, "demand")
    assert "behavior score --as-of 2026-11-23" in str(caught.value)
    assert files(publish(home, artifact, DAY).folder) == {"scores/0.csv": "old", "scores/1.csv": "old"}
    assert find_served(home, "demand") is not None


STEPS: tuple[tuple[object, str], ...] = (
    (served, "sweep"),
    (shutil, "copytree"),
    (served, "flush"),
    (served, "write_durably"),
    (Path, "rename"),
    (shutil, "rmtree"),
)
"""Whatever of a hand-out lasts."""


def publish_and_die(root: str, survive: int) -> None:
    """Hand out in this process, which is killed before the step that follows `survive` others."""
    home = Home(Path(root))
    artifact = made(home, "new")
    die_before_step(STEPS, survive)
    publish(home, artifact, DAY)


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_both_whole(home: Home) -> None:
    publish(home, made(home, "old"), DAY)
    made(home, "new")
    outcomes: list[str] = []
    while True:
        copy = Home(home.root.with_name(f"killed-{len(outcomes)}"))
        shutil.copytree(home.root, copy.root)
        process = PROCESSES.Process(target=publish_and_die, args=(str(copy.root), len(outcomes)))
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        left = need_served(copy, "demand")
        words = left.facts["words"]
        outcomes.append(words)
        assert files(left.folder) == {"scores/0.csv": words, "scores/1.csv": words}
        given = publish(copy, made(copy, "new"), DAY)
        assert files(given.folder) == {"scores/0.csv": "new", "scores/1.csv": "new"}
        assert {path.name for path in given.folder.parent.iterdir()} <= {".lock", "date=2026-11-23"}
    assert outcomes == sorted(outcomes, reverse=True), "once it is the new, it stays the new"
    assert {"old", "new"} == set(outcomes)
    assert len(outcomes) >= 8


def publish_when_told(root: str, words: str, barrier: Any) -> None:
    home = Home(Path(root))
    artifact = made(home, words, files=30)
    barrier.wait(60)
    for _ in range(10):
        publish(home, artifact, DAY)


def test_two_who_hand_out_at_once_never_mix_and_readers_always_find_one(home: Home) -> None:
    publish(home, made(home, "a", files=30), DAY)
    barrier = PROCESSES.Barrier(3)
    both = [PROCESSES.Process(target=publish_when_told, args=(str(home.root), words, barrier)) for words in "ab"]
    for process in both:
        process.start()
    barrier.wait(60)
    seen = set()
    while any(process.is_alive() for process in both):
        found = find_served(home, "demand")
        assert found is not None
        seen.add(found.facts["words"])
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    last = need_served(home, "demand")
    assert set(files(last.folder).values()) == {last.facts["words"]}
    assert len(files(last.folder)) == 30
    assert seen <= {"a", "b"}


def test_old_dates_go_and_the_newest_stays(home: Home) -> None:
    for day in (21, 22, 23):
        folder = publish(home, made(home, f"day {day}"), date(2026, 11, day)).folder
        os.utime(folder, (day * 86_400, day * 86_400))
    assert old_dates(home, before=0) == []
    old = old_dates(home, before=22.5 * 86_400)
    assert [one.as_of.day for one in old] == [21, 22]
    assert [one.as_of.day for one in old_dates(home, before=1e12)] == [21, 22]
    served.withdraw(old[0])
    assert [day.day for day in served_dates(home, "demand")] == [22, 23]
