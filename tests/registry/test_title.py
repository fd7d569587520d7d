"""The title on a real store: moved whole or not at all, by one at a time, and never by hand without a line."""

import json
import shutil
from collections.abc import Callable

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger, title, versions
from tests.registry.titles import (
    CONFIG,
    PROCESSES,
    aliases,
    client,
    killed_at,
    lines,
    make_versions,
    promote,
    promote_when_told,
)


@pytest.fixture
def two(home: Home) -> Home:
    """Version 1 is champion, version 2 the challenger."""
    make_versions(home, 1)
    promote(home, "1", None)
    make_versions(home, 1)
    return home


def test_the_aliases_follow_from_one_champion_to_the_next(two: Home) -> None:
    assert aliases(two) == {"champion": "1", "challenger": "2"}
    promote(two, "2", "1")
    assert aliases(two) == {"champion": "2", "previous": "1"}
    make_versions(two, 2)
    assert aliases(two) == {"champion": "2", "previous": "1", "challenger": "4"}
    promote(two, "3", "2")
    assert aliases(two) == {"champion": "3", "previous": "2", "challenger": "4"}
    assert lines(two) == [("promotion", None, "1"), ("promotion", "1", "2"), ("promotion", "2", "3")]
    tags = client(two).get_model_version("behavior", "3").tags
    assert (tags["champion_since"], tags["verdict"], tags["test_hash"]) == (
        "2026-11-23T02:15:00+00:00",
        "promote",
        "abc",
    )


def test_mlflow_remembers_the_last_line(two: Home) -> None:
    promote(two, "2", "1")
    head = client(two).get_registered_model("behavior").tags["ledger_head"]
    assert head == ledger.read(two)[-1]["hash"]


def test_a_boosting_model_is_promoted_as_a_baseline(home: Home) -> None:
    make_versions(home, 1, kind="boosting")
    promote(home, "1", None)
    assert lines(home) == [("baseline_promotion", None, "1")]


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_the_old_champion_or_is_finished(two: Home) -> None:
    """Killed with SIGKILL before every lasting step; the next who asks finds it whole, and a retry promotes once."""
    old, new = [("promotion", None, "1")], [("promotion", None, "1"), ("promotion", "1", "2")]
    outcomes: list[str] = []
    while True:
        home = Home(two.root.with_name(f"killed-{len(outcomes)}"))
        shutil.copytree(two.root, home.root)
        if not killed_at(home, "2", "1", len(outcomes)):
            break
        found = versions.champion(home, CONFIG)
        assert found is not None
        outcomes.append(found.version)
        assert not title.intent_path(home).exists()
        if found.version == "1":
            assert (aliases(home), lines(home)) == ({"champion": "1", "challenger": "2"}, old)
        else:
            assert (aliases(home), lines(home)) == ({"champion": "2", "previous": "1"}, new)
        promote(home, "2", "1")
        assert (aliases(home), lines(home)) == ({"champion": "2", "previous": "1"}, new)
        assert client(home).get_registered_model("behavior").tags["ledger_head"] == ledger.read(home)[-1]["hash"]
    # Before the note and before each of three aliases: undone. Before a tag, the line, the head or the end: finished.
    assert outcomes == ["1"] * 4 + ["2"] * 6
    assert (aliases(home), lines(home)) == ({"champion": "2", "previous": "1"}, new)


def test_a_crash_is_told_to_who_asks_next(two: Home, caplog: pytest.LogCaptureFixture) -> None:
    assert killed_at(two, "2", "1", 2)
    assert title.intent_path(two).exists()
    versions.champion(two, CONFIG)
    assert "which a crash had interrupted, is undone" in caplog.text


def test_of_two_promotions_at_once_one_wins_and_the_other_says_why_not(two: Home) -> None:
    make_versions(two, 1)
    barrier, answers = PROCESSES.Barrier(2), PROCESSES.Queue()
    both = [
        PROCESSES.Process(target=promote_when_told, args=(str(two.root), version, "1", barrier, answers))
        for version in ("2", "3")
    ]
    for process in both:
        process.start()
    told = dict(answers.get(timeout=120) for _ in both)
    for process in both:
        process.join(60)
    winner, loser = sorted(told, key=lambda version: told[version] is not None)
    assert told[winner] is None
    assert f"version {loser} is not promoted" in told[loser]
    assert f"version {winner} is champion" in told[loser]
    assert aliases(two)["champion"] == winner
    assert lines(two) == [("promotion", None, "1"), ("promotion", "1", winner)]


def test_a_damaged_note_of_a_promotion_stops_the_next_and_says_what_to_do(two: Home) -> None:
    title.intent_path(two).write_text("{")
    with pytest.raises(UserError, match=r"registry/promotion\.json in the state folder, is damaged"):
        promote(two, "2", "1")
    assert aliases(two)["champion"] == "1"


def test_a_note_about_another_store_is_left_for_that_store(two: Home) -> None:
    assert killed_at(two, "2", "1", 2)
    note = json.loads(title.intent_path(two).read_bytes())
    title.intent_path(two).write_text(json.dumps(note | {"store": "http://mlflow:5000"}))
    with pytest.raises(UserError, match="unfinished in another MLflow store") as caught:
        promote(two, "2", "1")
    assert caught.value.expected == "http://mlflow:5000"
    assert title.intent_path(two).exists()


def move_by_hand(home: Home) -> None:
    client(home).set_registered_model_alias("behavior", "champion", "2")


def take_away(home: Home) -> None:
    client(home).delete_registered_model_alias("behavior", "champion")


def delete_version(home: Home) -> None:
    client(home).delete_model_version("behavior", "1")


def delete_model(home: Home) -> None:
    for version in ("1", "2"):
        client(home).delete_model_version("behavior", version)
    client(home).delete_registered_model("behavior")


@pytest.mark.parametrize(
    ("by_hand", "now", "why"),
    [
        (move_by_hand, "2", "the alias champion was moved in MLflow from version 1 to version 2, past the gate"),
        (take_away, None, "the alias champion was taken from version 1 in MLflow"),
        (delete_version, None, "version 1, the champion, was deleted in MLflow"),
        (delete_model, None, "the registered model behavior, with its champion, version 1, is not in MLflow any more"),
    ],
)
def test_what_was_changed_by_hand_is_noticed_told_and_recorded_once(
    by_hand: Callable[[Home], None], now: str | None, why: str, two: Home, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand(two)
    for _ in range(2):
        found = versions.champion(two, CONFIG)
        assert (found.version if found else None) == now
    assert lines(two) == [("promotion", None, "1"), ("noticed", "1", now)]
    line = ledger.read(two)[-1]
    assert (line["why"], line["who"]) == (why, "somebody, by hand")
    assert caplog.text.count(why) == 1


def test_after_a_move_by_hand_the_gate_compares_with_what_the_alias_names(two: Home) -> None:
    move_by_hand(two)
    make_versions(two, 1)
    assert aliases(two) == {"champion": "2", "previous": "1", "challenger": "3"}
    with pytest.raises(versions.RefusedError, match="champion changed") as caught:
        promote(two, "3", "1")
    assert "version 2 is champion" in str(caught.value)
    promote(two, "3", "2")
    assert lines(two)[1:] == [("noticed", "1", "2"), ("promotion", "2", "3")]


def test_a_deleted_model_is_made_anew_and_its_first_version_can_win(two: Home) -> None:
    delete_model(two)
    make_versions(two, 1)
    promote(two, "1", None)
    assert aliases(two) == {"champion": "1"}
    assert lines(two) == [("promotion", None, "1"), ("noticed", "1", None), ("promotion", None, "1")]


def test_a_version_that_was_deleted_before_its_promotion_is_refused(two: Home) -> None:
    client(two).delete_model_version("behavior", "2")
    with pytest.raises(versions.RefusedError, match="Version 2 of behavior is gone"):
        promote(two, "2", "1")
    assert aliases(two)["champion"] == "1"


def test_a_ledger_of_0_3_0_goes_on_without_a_notice(home: Home) -> None:
    make_versions(home, 2)
    client(home).set_registered_model_alias("behavior", "champion", "1")
    old = {"when": "w", "who": "airflow", "why": "y", "version": "1", "from_version": None}
    home.registry.mkdir(parents=True, exist_ok=True)
    ledger.ledger_path(home).write_text(
        json.dumps(old | {"verdict": "promote", "test_hash": "abc", "run_id": "night-1"}) + "\n"
    )
    client(home).set_model_version_tag("behavior", "1", "verdict", "promote")
    promote(home, "1", None)
    assert len(ledger.read(home)) == 1
    promote(home, "2", "1")
    assert aliases(home) == {"champion": "2", "previous": "1"}
    assert [line["version"] for line in ledger.read(home)] == ["1", "2"]


def test_an_old_line_belongs_to_the_model_of_its_run(home: Home) -> None:
    make_versions(home, 1)
    client(home).set_registered_model_alias("behavior", "champion", "1")
    (home.runs / "taobao-9").mkdir(parents=True)
    run = {"config": {"registry": {"model_name": "behavior-taobao"}}}
    (home.runs / "taobao-9" / "run.json").write_text(json.dumps(run))
    old = {"when": "w", "who": "a", "why": "y", "from_version": None, "verdict": "promote", "test_hash": "abc"}
    home.registry.mkdir(parents=True, exist_ok=True)
    both = [old | {"version": "1", "run_id": "night-1"}, old | {"version": "5", "run_id": "taobao-9"}]
    ledger.ledger_path(home).write_text("".join(json.dumps(line) + "\n" for line in both))
    assert versions.champion(home, CONFIG) is not None
    assert len(ledger.read(home)) == 2


def damage(home: Home) -> None:
    path = ledger.ledger_path(home)
    path.write_bytes(path.read_bytes().replace(b"nightly", b"mallory", 1))


def cut_the_last_line(home: Home) -> None:
    path = ledger.ledger_path(home)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def remove_the_file(home: Home) -> None:
    ledger.ledger_path(home).unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage, "Line 1 of the promotion ledger was changed"),
        (cut_the_last_line, "Lines at the end of the promotion ledger are gone"),
        (remove_the_file, "Lines at the end of the promotion ledger are gone"),
    ],
)
def test_a_damaged_ledger_promotes_nothing_and_a_run_goes_on_with_the_champion(
    harm: Callable[[Home], None], said: str, two: Home, caplog: pytest.LogCaptureFixture
) -> None:
    promote(two, "2", "1")
    make_versions(two, 1)
    harm(two)
    with pytest.raises(ledger.LedgerError, match=said):
        promote(two, "3", "2")
    assert aliases(two) == {"champion": "2", "previous": "1", "challenger": "3"}
    found = versions.champion(two, CONFIG)
    assert found is not None
    assert found.version == "2"
    assert said in caplog.text
