"""What leaves: no list of a few people, no two lists that tell a few people apart, and a line of every one."""

import json
import stat
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.config import changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.export import read_exports
from behavior_tasks.pipeline.lift import shown_lift
from behavior_tasks.pipeline.privacy.small_groups import least_group, nearly_taken, set_hash
from behavior_tasks.pipeline.runs import keep_run
from behavior_tasks.pipeline.take_away import take_away
from behavior_tasks.serve.audiences_lists import ChosenList
from behavior_tasks.serve.audiences_small import shown_audience
from behavior_tasks.serve.audiences_taken import Taker, every_taken, taken_lists
from tests.pipeline.records import make_run

DAY, WHEN = date(2026, 3, 1), datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ANNA = Taker(who="anna", when=WHEN)
FIFTY = [f"s{number:03}" for number in range(50)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def chosen(
    people: Iterable[str], *, name: str = "spring", day: date = DAY, key: str = "k", contact: bool = True
) -> ChosenList:
    """Return a list whose first two shoppers are the control, unless all are to be left alone."""
    shoppers = list(people)
    group = ["control"] * 2 + ["contact"] * (len(shoppers) - 2) if contact else ["leave"] * len(shoppers)
    members = pd.DataFrame(
        {"audience": name, "campaign": name, "place": range(1, len(shoppers) + 1), "group": group, "shopper": shoppers}
    )
    told = {"name": name, "campaign": name, "contact": contact, "contacts": group.count("contact"), "control": 2}
    facts = {"cutoff": f"{day}T00:00:00", "end": "2026-03-08T00:00:00", "horizon_days": 7, "identity_key": key}
    return ChosenList(as_of=day, artifact="artifact://audiences/abc", facts=facts, told=told, members=members)


def take(home: Home, folder: Path, one: ChosenList, taker: Taker = ANNA) -> Path:
    out = folder / f"{one.name}-{one.as_of}.csv"
    take_away(home, one, out, taker)
    return out


def test_a_list_of_too_few_people_is_not_given_and_neither_is_its_control(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few people") as refused:
        take(home, tmp_path, chosen(FIFTY[:21]))
    assert "privacy.min_group" in str(refused.value)
    assert "19" not in str(refused.value)
    assert list(tmp_path.glob("*.csv")) == []
    assert list(every_taken(home)) == read_exports(home) == []
    out = take(home, tmp_path, chosen(FIFTY[:22]))
    assert len(pd.read_csv(out)) == 20
    assert len(pd.read_csv(out.with_name(f"{out.stem}.control.csv"))) == 2


def test_the_newest_scoring_says_how_few_are_too_few(home: Home, tmp_path: Path) -> None:
    assert least_group(home) == 20
    run = make_run(home, "night", {})
    few = changed(run.record.config, {"privacy.min_group": 5})
    keep_run(home, run.record.model_copy(update={"run_id": "score", "trigger": "scoring", "config": few}))
    assert least_group(home) == 5
    assert len(pd.read_csv(take(home, tmp_path, chosen(FIFTY[:8])))) == 6


def test_two_lists_that_differ_by_a_few_people_are_not_both_given(home: Home, tmp_path: Path) -> None:
    first = chosen(FIFTY)
    take(home, tmp_path, first)
    others = [f"t{number:03}" for number in range(20)]
    near = {
        "one more": chosen([*FIFTY, "zoe"], name="one-more"),
        "one less, of another date": chosen(FIFTY[:-1], name="less", day=date(2026, 3, 9)),
        "nine others": chosen([*FIFTY[:41], *others[:9]], name="others"),
        "19 more, to be left alone": chosen([*FIFTY, *others[:19]], name="alone", contact=False),
    }
    for one in near.values():
        with pytest.raises(UserError, match="differs by fewer than 20 people") as refused:
            take(home, tmp_path, one)
        assert "behavior audiences spring --taken --as-of 2026-03-01" in str(refused.value)
        assert not any(person in str(refused.value) for person in (*FIFTY, "zoe"))
    assert len(list(every_taken(home))) == 1
    assert len(read_exports(home)) == 1
    # The same people, or enough others, or other people altogether, tell nobody apart.
    for one in (
        chosen(reversed(FIFTY), name="same"),
        chosen([*FIFTY[:40], *others[:10]], name="ten-others"),
        chosen([f"u{n}" for n in range(25)], name="disjoint"),
        chosen([*FIFTY, "zoe"], name="other-key", key="another"),
    ):
        take(home, tmp_path, one)


def test_who_answers_for_it_may_take_it_and_the_log_says_who_and_why(home: Home, tmp_path: Path) -> None:
    take(home, tmp_path, chosen(FIFTY))
    second = chosen([*FIFTY, "zoe"], name="again")
    out = take(home, tmp_path, second, Taker(who="dora", when=WHEN, reason="the shop asked for it"))
    assert len(pd.read_csv(out)) == 49
    line = read_exports(home)[-1]
    assert (line["who"], line["reason"]) == ("dora", "the shop asked for it")
    assert line["differs_by_a_few_from"] == "spring/date=2026-03-01/spring.1"


def test_every_list_leaves_a_chained_line_without_an_id(home: Home, tmp_path: Path) -> None:
    take(home, tmp_path, chosen(FIFTY))
    take(home, tmp_path, chosen([f"a{n}" for n in range(30)], name="alone", contact=False))
    first, second = read_exports(home)
    assert {name: first[name] for name in ("who", "audience", "as_of", "shoppers", "ids", "set")} == {
        **{"who": "anna", "audience": "spring", "as_of": "2026-03-01", "shoppers": 50, "ids": "pseudonyms"},
        "set": set_hash(FIFTY),
    }
    assert second["audience"] == "alone"
    path = home.registry / "exports.jsonl"
    content = path.read_text(encoding="utf-8")
    assert not any(person in content for person in FIFTY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # What is to be left alone is no campaign, but later lists are held against it.
    assert [one.record.audience for one in taken_lists(home)] == ["spring"]
    assert nearly_taken(home, chosen([f"a{n}" for n in range(31)], name="b"), 20) is not None
    path.write_text(content.replace("anna", "anne", 1), encoding="utf-8")
    with pytest.raises(UserError, match="Line 2 of the log of exports"):
        read_exports(home)


def test_lines_of_before_the_chain_are_read_but_none_can_be_put_in_behind_it(home: Home, tmp_path: Path) -> None:
    home.registry.mkdir(parents=True)
    path = home.registry / "exports.jsonl"
    old = json.dumps({"when": "2026-01-01T00:00:00+00:00", "who": "old", "audience": "x"})
    path.write_text(f"{old}\n", encoding="utf-8")
    take(home, tmp_path, chosen(FIFTY))
    assert [line["who"] for line in read_exports(home)] == ["old", "anna"]
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{old}\n")
    with pytest.raises(UserError, match="Line 3"):
        read_exports(home)


def test_of_a_small_audience_nothing_is_shown_but_that_it_is_small() -> None:
    told: dict[str, Any] = {
        **{"name": "carts", "contacts": 19, "control": 3, "fit": 22, "elsewhere": 2, "members": 22},
        **{"buyers": {"expected": 2.0}, "amount": {"expected": 9.0}, "profit": None, "checked": {"shoppers": 21}},
        **{"first": [{"shopper": "a"}], "curve": {"of": "buyers", "contacts": [1], "values": [0.1]}, "set_right": None},
    }
    small = shown_audience(told, 20)
    assert small["is_small"]
    assert all(small[name] is None for name in ("contacts", "control", "fit", "elsewhere", "buyers", "amount"))
    assert not small["first"]
    assert not small["curve"]["contacts"]
    large = shown_audience({**told, "contacts": 20}, 20)
    assert (large["is_small"], large["contacts"], large["control"]) == (False, 20, None)
    assert shown_audience({**told, "contacts": 0}, 20)["contacts"] == 0
    assert shown_audience(told, 1) == {**told, "is_small": False}


def test_a_lift_tells_nothing_of_a_group_of_a_few() -> None:
    group = {"shoppers": 400, "buyers": 40, "rate": 0.1, "expected_rate": 0.1, "amount": 900.0}
    more = {"rate": {"found": 0.1, "lower": 0.0, "upper": 0.2}, "amount": None}
    lift = {
        "contact": group,
        "control": {**group, "shoppers": 19},
        "more": more,
        "gone": 3,
        "enough": True,
        "why": None,
    }
    told = shown_lift({**lift, "needed_control": 5}, 20)
    assert told["contact"] == group
    assert set(told["control"].values()) == {None}
    assert set(told["more"].values()) == {None}
    assert (told["gone"], told["enough"], told["needed_control"]) == (None, False, None)
    assert "fewer than 20 people" in told["why"]
    assert shown_lift(told, 20) == told
    assert shown_lift({**lift, "needed_control": 5}, 1)["more"] == more
