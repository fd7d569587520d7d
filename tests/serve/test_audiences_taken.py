"""Lists that were taken away: kept once, whole, and never replaced."""

from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.serve.audiences_lists import ChosenList
from behavior_tasks.serve.audiences_taken import Taker, need_taken, take, taken_lists

DAY, WHEN = date(2026, 3, 1), datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ANNA = Taker(who="anna", when=WHEN)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def chosen(*shoppers: str, name: str = "spring", campaign: str = "spring", day: date = DAY) -> ChosenList:
    """Return a list whose last shopper is the control."""
    count = len(shoppers)
    members = pd.DataFrame(
        {
            "audience": name,
            "campaign": campaign,
            "place": range(1, count + 1),
            "group": ["contact"] * (count - 1) + ["control"],
            "shopper": shoppers,
            "probability": [0.5] * count,
            "reason": pd.Series([None] * count, dtype="string"),
        }
    )
    told = {"name": name, "campaign": campaign, "contact": True, "members": count, "curve": {"of": "buyers"}}
    facts = {"cutoff": f"{day}T00:00:00", "end": "2026-03-08T00:00:00", "horizon_days": 7}
    return ChosenList(as_of=day, artifact="artifact://audiences/abc", facts=facts, told=told, members=members)


def test_a_list_comes_back_as_it_was_taken(home: Home) -> None:
    wanted = chosen("b", "a", "c")
    kept, is_new = take(home, wanted, ANNA)
    assert is_new
    assert kept.words == "anna took on 2026-03-01 09:30 UTC"
    (found,) = taken_lists(home)
    assert found == kept
    back = found.load()
    pd.testing.assert_frame_equal(back.members, wanted.members)
    assert (back.facts, back.end) == (wanted.facts, datetime(2026, 3, 8))
    assert (back.told["contact"], "curve" in back.told) == (True, False)


def test_the_same_shoppers_in_the_same_groups_are_the_same_list(home: Home) -> None:
    first, _ = take(home, chosen("b", "a", "c"), ANNA)
    again, is_new = take(home, chosen("a", "b", "c"), Taker(who="ben", when=WHEN))
    assert (again, is_new) == (first, False)
    with pytest.raises(UserError, match="may have been sent") as refused:
        take(home, chosen("a", "c", "b"), Taker(who="ben", when=WHEN))
    assert "anna took on 2026-03-01" in str(refused.value)
    assert taken_lists(home) == [first]


def test_a_list_that_was_not_sent_stays_beside_the_one_in_its_place(home: Home) -> None:
    first, _ = take(home, chosen("a", "b"), ANNA)
    for number, last in enumerate("cdefghijkl", start=2):
        second, is_new = take(home, chosen("a", last), Taker(who="ben", when=WHEN, instead=True))
        assert (second.record.number, is_new) == (number, True)
    # Number 11 is newer than number 9, whatever the order of their names.
    assert taken_lists(home) == [second]
    assert first.load().members["shopper"].tolist() == ["a", "b"]


def test_campaigns_audiences_and_dates_are_kept_apart(home: Home) -> None:
    for one in (
        chosen("a", "b"),
        chosen("c", "d", name="vip"),
        chosen("a", "e", day=date(2026, 2, 1)),
        chosen("a", "f", name="other", campaign="other"),
    ):
        take(home, one, ANNA)
    assert [(str(of.record.as_of), of.record.audience) for of in taken_lists(home, "spring")] == [
        ("2026-02-01", "spring"),
        ("2026-03-01", "spring"),
        ("2026-03-01", "vip"),
    ]
    assert [of.record.audience for of in taken_lists(home, "vip")] == ["vip"]
    assert [of.record.audience for of in taken_lists(home, as_of=DAY)] == ["other", "spring", "vip"]
    assert need_taken(home, "vip").load().members["shopper"].tolist() == ["c", "d"]
    assert need_taken(home, "spring", date(2026, 2, 1)).record.as_of == date(2026, 2, 1)
    with pytest.raises(UserError, match="Several lists of the campaign spring"):
        need_taken(home, "spring")
    with pytest.raises(UserError, match="No list of vlp was taken away") as unknown:
        need_taken(home, "vlp")
    assert "behavior audiences vip --taken" in str(unknown.value)


def test_a_damaged_list_is_told_and_not_read(home: Home) -> None:
    kept, _ = take(home, chosen("a", "b"), ANNA)
    members = kept.folder / "members.parquet"
    other, _ = take(home, chosen("a", "b", name="vip"), ANNA)
    content = bytearray(members.read_bytes())
    content[len(content) // 2] ^= 1
    members.write_bytes(content)
    with pytest.raises(UserError, match=r"The list 1 of spring .* is damaged"):
        kept.load()
    (other.folder / "campaign.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"The list 1 of vip .* is damaged"):
        taken_lists(home)


def test_what_a_killed_process_left_is_no_list(home: Home) -> None:
    kept, _ = take(home, chosen("a", "b"), ANNA)
    left = kept.folder.parent / ".new.0123abcd"
    left.mkdir()
    (left / "members.parquet").write_bytes(b"half")
    assert taken_lists(home) == [kept]
    take(home, chosen("a", "c"), Taker(who="anna", when=WHEN, instead=True))
    assert not left.exists()
