"""The data report: figures that add up and agree with hand counts, a page that stands alone and names nobody."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.data.report import report_stage
from tests.data import stages
from tests.data.stages import HEADER, real_log, run_to, seconds, write_log

FULL = f"{HEADER},quantity,price,amount,category,age,gender"


@pytest.fixture(autouse=True, scope="module")
def _with_the_report() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stages.WORK, "report", report_stage)
        yield


def row(user: str, instant: str, action: str = "view", product: str = "p1", numbers: str = ",,") -> str:
    return f"{user},{action},{product},{seconds(instant)},{numbers},toys,,"


def figures(artifact: Artifact) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((artifact.path / "report.json").read_bytes())
    return loaded


LITTLE = [
    row("Ann", "2026-03-02T23:30"),
    row("Ann", "2026-03-02T23:30"),
    row("Ann", "2026-03-04T08:00", "buy", "p2", "2,3,"),
    row("Bob", "2026-03-04T09:10", "buy", "p1", ",,"),
    row("Bob", "2026-03-04T09:59", "click", "p1"),
    row("Ann", "2026-03-06T20:00"),
    row("Cid", "2026-03-04T09:59", "jump"),
    row("Cid", "2026-03-04T09:59", "zapped"),
    row("", "2026-03-04T09:59"),
]
SETTINGS: dict[str, object] = {
    "source.max_bad_fraction": 0.9,
    "source.timezone": "Asia/Shanghai",
    "source.expected_reasons": ["missing_user_id"],
}


def little(folder: Path, name: str = "log.csv", **overrides: object) -> Artifact:
    log = write_log(folder / name, LITTLE, FULL)
    return run_to("report", log, folder / "home", overrides={**SETTINGS, **overrides})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return little(tmp_path_factory.mktemp("little"))


def test_the_headline_adds_up_and_says_who_what_and_when(artifact: Artifact) -> None:
    headline = figures(artifact)["headline"]
    assert headline["parts"] == {"events": 5, "quarantined": 3, "duplicates": 1, "set apart": 0}
    assert headline["equation"] == "9 rows = 5 events + 3 quarantined + 1 duplicates + 0 set apart"
    assert (headline["first"], headline["last"]) == ("2026-03-03 07:30:00", "2026-03-07 04:00:00")
    assert (headline["shoppers"], headline["products"]) == (2, 2)
    assert (headline["sales"], headline["price_coverage"]) == (2, 0.5)
    assert headline["files"] == [{"name": "log.csv", "rows": 9, "events": 6}]


def test_days_and_hours_are_local_and_gaps_are_named(artifact: Artifact) -> None:
    found = figures(artifact)
    assert [(one["day"], one["events"]) for one in found["days"]] == [
        ("2026-03-03", 1),
        ("2026-03-04", 3),
        ("2026-03-05", 0),
        ("2026-03-06", 0),
        ("2026-03-07", 1),
    ]
    assert found["gaps"] == ["2026-03-05", "2026-03-06"]
    assert found["days"][1]["actions"] == {"click": 1, "purchase": 2}
    assert found["actions"] == {"browse": 2, "click": 1, "purchase": 2}
    hours = {(day, hour): n for day, line in enumerate(found["hours"]) for hour, n in enumerate(line) if n}
    # A Tuesday at 7, a Wednesday at 16 and twice at 17, a Saturday at 4.
    assert hours == {(1, 7): 1, (2, 16): 1, (2, 17): 2, (5, 4): 1}
    assert found["windows"] == []


def test_quarantine_is_told_by_reason_and_place_without_the_rows(artifact: Artifact) -> None:
    told = figures(artifact)["quarantine"]
    assert [(one["reason"], one["rows"], one["places"], one["expected"]) for one in told] == [
        ("unknown_action", 2, ["log.csv:8", "log.csv:9"], False),
        ("missing_user_id", 1, ["log.csv:10"], True),
    ]
    assert told[0]["share"] == pytest.approx(2 / 9)


def test_what_a_rule_drops_is_set_apart_and_counted_as_missing_before(tmp_path: Path) -> None:
    found = figures(little(tmp_path, **{"clean.missing": {"amount": {"rule": "drop"}}}))
    assert found["headline"]["parts"] == {"events": 4, "quarantined": 3, "duplicates": 1, "set apart": 1}
    assert found["headline"]["set_apart"] == {"missing_amount": 1}
    amount = next(one for one in found["missing"] if one["column"] == "amount")
    assert (amount["events_before"], amount["missing_before"]) == (2, 2)
    assert (amount["events_after"], amount["missing_after"]) == (1, 0)
    assert (amount["rule"], amount["filled"], amount["dropped"], amount["in_log"]) == ("drop", {"derived": 1}, 1, True)


def test_amounts_before_and_after_and_events_of_shoppers(tmp_path: Path) -> None:
    amounts = [*range(10, 50), 0, 90_000, 0.001]
    # One shopper with three sales, one with nine, thirty-one with one.
    users = [*["three"] * 3, *["nine"] * 9, *(f"u{n}" for n in range(31))]
    rows = [row(u, f"2026-03-01T10:{n:02d}", "buy", "p", f",,{amounts[n]}") for n, u in enumerate(users)]
    told = figures(run_to("report", write_log(tmp_path / "log.csv", rows, FULL), tmp_path / "home"))
    found = told["amounts"]
    bins = found["bins"]
    assert sum(one["before"] for one in bins) == sum(one["after"] for one in bins) == 42
    assert (bins[0]["before"], bins[0]["after"], bins[-1]["before"], bins[-1]["after"]) == (1, 0, 1, 0)
    assert bins[0]["low"] == pytest.approx(0.001)
    assert bins[-1]["low"] <= 90_000 < bins[-1]["high"]
    assert all(one["before"] == sum(one["low"] <= a < one["high"] for a in amounts) for one in bins[1:])
    median = next(one for one in bins if one["low"] <= 29.5 < one["high"])
    assert median["after"] == median["before"] + 2
    assert (found["free"], found["outliers"]["replaced"]) == (1, 2)
    assert found["outliers"]["whole_log"]["median"] == 29.5
    shoppers = told["shoppers"]
    assert [(one["low"], one["high"], one["shoppers"]) for one in shoppers["bins"]] == [
        *((1, 1, 31), (2, 3, 1), (4, 7, 0), (8, 15, 1)),
    ]
    assert shoppers["quantiles"] == {"median": 1, "90 %": 1, "99 %": 9, "most": 9}


class _Page(HTMLParser):
    """What a page loads, shows and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.sources += [str(named[name]) for name in ("src", "srcset", "href") if name in named]
        if tag == "img":
            self.alts.append(named.get("alt") or "")
        if tag not in {"img", "meta", "source", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_names_nobody(artifact: Artifact) -> None:
    text = (artifact.path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    plots = {path.stem for path in (artifact.path / "plots").glob("*.png")}
    assert plots == {"events_per_day", "actions", "missing", "amounts", "quarantine", "events_per_shopper", "hours"}
    assert len(page.alts) == len(plots)
    assert all(len(alt) > 20 for alt in page.alts)
    words = re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in words
    told = words + (artifact.path / "report.json").read_text(encoding="utf-8")
    for secret in ("Ann", "Bob", "Cid", "zapped", "p2"):
        assert secret not in told


def test_a_file_name_is_text_not_markup_and_buckets_change_no_byte(artifact: Artifact, tmp_path: Path) -> None:
    other = little(tmp_path, "<b>{{ 7 }} & co.csv", **{"engine.buckets": 5})
    text = (other.path / "report.html").read_text(encoding="utf-8")
    assert "<b>{{" not in text
    assert "&lt;b&gt;{{ 7 }} &amp; co.csv" in text
    plots = [
        {name: entry.sha256 for name, entry in one.manifest.files.items() if name.endswith(".png")}
        for one in (artifact, other)
    ]
    assert plots[0] == plots[1]
    assert figures(artifact)["days"] == figures(other)["days"]
    named = json.dumps(figures(artifact)).replace("log.csv", "<b>{{ 7 }} & co.csv")
    assert json.loads(named) == figures(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset", "equation"),
    [
        (
            "uci_online_retail.csv.gz",
            "online_retail",
            "541,909 rows = 401,564 events + 135,080 quarantined + 5,265 duplicates + 0 set apart",
        ),
        (
            "taobao_userbehavior_100k.csv.gz",
            "taobao",
            "100,001 rows = 99,957 events + 44 quarantined + 0 duplicates + 0 set apart",
        ),
    ],
)
def test_real_logs(name: str, preset: str, equation: str, tmp_path: Path) -> None:
    artifact = run_to("report", real_log(name), tmp_path, preset=preset)
    found = figures(artifact)
    assert found["headline"]["equation"] == equation
    assert {window["split"] for window in found["windows"]} == {"train", "validation", "test"}
    assert sum(map(sum, found["hours"])) == sum(one["events"] for one in found["days"])
    assert sum(one["shoppers"] for one in found["shoppers"]["bins"]) == found["headline"]["shoppers"]
