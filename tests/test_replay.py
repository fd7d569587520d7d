"""The replay: what counts as noticed and as quiet, how candidates are told apart, and a short one that goes on."""

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
FIRST = date(2026, 3, 1)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def night(number: int, *alerts: str, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """A night with alerts `level code about since-night`."""
    told = [alert.split() for alert in alerts]
    return {
        "as_of": str(FIRST + timedelta(days=number)),
        "training": training,
        "banners": [],
        "alerts": [
            {
                "level": level,
                "code": code,
                "about": about,
                "words": f"{code} of {about}.",
                "training": False,
                "since": str(FIRST + timedelta(days=int(since))),
            }
            for level, code, about, since in told
        ],
        "problems": [],
    }


def change(first: int, last: int) -> dict[str, Any]:
    days = {"first": FIRST + timedelta(days=first), "last": FIRST + timedelta(days=last)}
    return {
        "kind": "outage",
        "words": "no event is written",
        **{end: f"{day}T00:00:00.000" for end, day in days.items()},
    }


def test_a_change_is_noticed_by_the_first_alert_that_may_be_about_it_and_is_new() -> None:
    from replay_report import notice

    nights = [
        night(0, "warning columns_moved price 0"),
        night(1, "warning columns_moved price 0"),
        night(2, "warning columns_moved price 0", "notice outage browse 2", "severe milliseconds timestamp 2"),
        night(3, "warning columns_moved price 0", "severe f1_fell shopper 3", "warning outage click 3"),
    ]
    # The change of day 1 stands in the log of night 2 for the first time.
    never, now = date.max, FIRST + timedelta(days=3)
    found = notice(change(1, 9), nights, never)
    assert found is not None
    assert found.nights == 1
    assert [alert["code"] for alert in found.alerts] == ["outage", "f1_fell"], "its own first; no notice, no other's"
    found = notice(change(1, 9), nights, now)
    assert found is not None
    assert [alert["code"] for alert in found.alerts] == ["outage"], "the next change may explain the rest"
    assert notice(change(3, 9), nights, never) is None, "an alert from before is none of its"
    assert notice(change(1, 9), nights[:3], never) is None


def test_a_night_is_quiet_two_weeks_after_a_change_has_ended_or_begun_to_stay() -> None:
    from replay_report import quiet_nights

    nights, last = [night(number) for number in range(40)], FIRST + timedelta(days=39)

    def quiet(*changes: dict[str, Any]) -> list[int]:
        return [(date.fromisoformat(n["as_of"]) - FIRST).days for n in quiet_nights(nights, list(changes), last)]

    assert quiet() == list(range(40))
    assert quiet(change(5, 7)) == [*range(6), *range(22, 40)]
    assert quiet(change(5, 60)) == [*range(6), *range(20, 40)], "what stays is news for two weeks"


def test_only_alerts_that_begin_on_quiet_nights_are_false_ones() -> None:
    from replay_report import as_markdown

    nights = [night(number) for number in range(30)]
    nights[3] = night(3, "warning volume all 3")
    nights[4] = night(4, "warning volume all 3")
    nights[21] = night(21, "severe outage click 21")
    text = as_markdown(nights, [change(20, 20)], {})
    assert "30 nights, 21 of them quiet." in text
    assert "| warning | 1 | 1.4 | 2026-03-04: volume of all. |" in text
    assert "| severe | 0 | 0.0 |  |" in text
    assert (
        "| outage: no event is written | 2026-03-21 | 2026-03-21 | the first night | severe: outage of click. |" in text
    )


def test_a_candidate_is_worse_only_where_the_interval_says_so() -> None:
    from replay_report import as_markdown
    from replay_truth import Met

    from behavior_tasks.verdict.metrics import Difference

    def training(version: str, *, promoted: bool) -> dict[str, Any]:
        return {
            "version": version,
            "kind": "language_model",
            "promoted": promoted,
            "by_hand": False,
            "champion": "artifact://train/0",
            "candidate": f"artifact://train/{version}",
        }

    def met(lower: float, upper: float) -> Met:
        difference = Difference(difference=(lower + upper) / 2, lower=lower, upper=upper)
        nothing = Difference(difference=0.0, lower=-0.1, upper=0.1)
        return Met(as_of=FIRST, examples=10, buyers=5, average_precision=difference, f1=nothing)

    nights = [night(number, training=training(str(number + 1), promoted=number < 2)) for number in range(4)]
    nights.append(night(4, training=training("0", promoted=False)))
    later = (met(-0.2, -0.1), met(-0.2, 0.1), met(0.1, 0.2), None, None)
    found = dict(zip((n["as_of"] for n in nights), later, strict=True))
    text = as_markdown(nights, [], found)
    assert "Promoted over a champion and measured afterwards: 2; shown worse: 1, shown better: 0." in text
    assert "Kept out and measured: 1; shown worse: 0, shown better: 1." in text
    assert "| -0.150 (-0.200 to -0.100) | +0.000 (-0.100 to +0.100) | worse |" in text
    assert "| 2026-03-04 | 4 | kept |  | days not over |  |  |" in text
    assert "| 2026-03-05 | 0 | kept |  | it is the champion |  |  |" in text


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_short_replay_lives_its_nights_once_and_tells_them_again(tmp_path: Path) -> None:
    def replay(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / "replay.py"), "--out", str(tmp_path), "--days", "2", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=1400, check=False)

    done = replay("--shoppers", "150")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "nights").iterdir())
    nights = [json.loads(file.read_bytes()) for file in files]
    assert [n["problems"] for n in nights] == [[], []]
    first, *others = nights
    assert first["training"]["version"] == "1"
    assert first["training"]["promoted"] or first["training"]["by_hand"]
    assert not any(n["training"] and n["training"]["champion"] is None for n in others)
    served = tmp_path / "state" / "served" / "shopper_scores"
    assert sorted(folder.name for folder in served.glob("date=*")) == [f"date={file.stem}" for file in files]
    days = sorted(file.stem for file in (tmp_path / "log").iterdir())
    assert days[-1] < files[-1].stem, "a night never sees its own day"
    assert "| outage: no event of add_to_cart is written |" in done.stdout
    again = replay("--shoppers", "150")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert not again.stderr.count("no alert")
    other = replay("--shoppers", "151")
    assert other.returncode == 1
    assert "holds another replay" in other.stderr
