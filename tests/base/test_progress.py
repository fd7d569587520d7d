"""Progress: lines with a rate and the time left, also within a long item; none once the work is over."""

import io
import logging
import sys
import threading
import time

import pytest

from behavior_tasks.base import progress
from behavior_tasks.base.progress import measure, track


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.1)
    caplog.set_level(logging.INFO, logger="behavior")


def test_a_long_item_is_told_of_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    said = []
    for item in track([1, 2], what="texts", total=2):
        time.sleep(0.25)
        said.append((item, len(caplog.messages)))
    assert said[0][0] == 1
    assert said[0][1] >= 1
    assert caplog.messages[0].startswith("texts: 0 of 2 after ")
    assert caplog.messages[-1].startswith("texts: 1 of 2, ")


def test_the_rate_and_the_time_left_go_by_the_amounts(caplog: pytest.LogCaptureFixture) -> None:
    # The first item is nine tenths of the work, so little is left after it, though it is one of two items.
    for number in track(range(2), what="ingest", total=2, unit="rows", amounts=[9_000_000, 1_000_000]):
        time.sleep(0.9 if number == 0 else 0.15)
    line = caplog.messages[-1]
    assert line.startswith("ingest: 1 of 2, ")
    rest = line[len("ingest: 1 of 2, ") :]
    per_second = float(rest.partition(" rows/s")[0].replace(",", ""))
    assert 5e6 < per_second < 1e7
    assert rest.endswith("about 0 s left")


def test_quick_work_says_nothing_and_leaves_no_clock_behind(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    assert list(track("abc", what="letters", total=3)) == ["a", "b", "c"]
    assert threading.active_count() == before
    time.sleep(0.25)
    assert caplog.messages == []


def test_work_that_fails_or_is_left_ends_the_clock() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="bad"), measure(what="work", total=2):
        raise ValueError("bad")
    left = iter(track([1, 2], what="work", total=2))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_terminal_gets_a_bar_with_rate_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for _ in track(range(2), what="ingest", total=2, unit="rows", amounts=[3_000_000, 1_000_000]):
        time.sleep(0.25)
    shown = screen.getvalue()
    assert "ingest" in shown
    assert "1/2" in shown
    assert " rows/s" in shown
    assert caplog.messages == []
