"""A person changes the champion: back, or past the gate; and only to a version that can be served."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger, tracking, versions
from behavior_tasks.registry.overrule import Asked, override, roll_back
from behavior_tasks.registry.repair import check_up, repair
from tests.registry.conftest import adopt
from tests.registry.titles import CONFIG, WHEN, aliases, client, lines, make_versions, promote
from tests.verdict.world import World

ANN = Asked(who="ann", why="calls everybody a buyer", when=datetime(2026, 11, 24, 3, tzinfo=UTC))


@pytest.fixture
def served(home: Home, world: World) -> Home:
    """Three versions with real models: 1 was champion, 2 is, and the gate has kept 3 out."""
    tracking.start_tracking(home, CONFIG, run_id="night", name="night", tags={})
    was: str | None = None
    for seed in (1, 2, 3):
        model = adopt(world.model(seed), home)
        said = "promote" if seed < 3 else "keep"
        tags = {"verdict": said, "test_hash": f"hash-{seed}"}
        version = versions.register(home, CONFIG, run_id="night", model=model, tags=tags).version
        if said == "promote":
            verdict = {"decision": said, "reason": "better", "champion_version": was, "candidate": model.uri}
            told = verdict | {"test_hash": f"hash-{seed}"}
            versions.promote(home, CONFIG, version=version, verdict=told, run_id="night", who="nightly", when=WHEN)
            was = version
    return home


def files_of(home: Home, version: str) -> Path:
    place = client(home).get_model_version_download_uri("behavior", version)
    return Path(place.removeprefix("file://"))


def test_back_to_the_previous_and_past_the_gate(served: Home) -> None:
    assert aliases(served) == {"champion": "2", "previous": "1", "challenger": "3"}
    line = roll_back(served, CONFIG, ANN)
    assert {name: line[name] for name in ledger.FIELDS} == {
        "kind": "rollback",
        "model": "behavior",
        "when": "2026-11-24T03:00:00+00:00",
        "who": "ann",
        "why": "calls everybody a buyer",
        "verdict": "promote",
        "test_hash": "hash-1",
        "from_version": "2",
        "version": "1",
        "run_id": "night",
    }
    # Who was rolled back is not where the next rollback goes.
    assert aliases(served) == {"champion": "1", "challenger": "3"}
    with pytest.raises(UserError, match="no earlier champion of behavior"):
        roll_back(served, CONFIG, ANN)
    override(served, CONFIG, ANN, version="3")
    assert aliases(served) == {"champion": "3", "previous": "1"}
    line = ledger.read(served)[-1]
    assert (line["kind"], line["verdict"], line["version"]) == ("override", "keep", "3")
    assert client(served).get_model_version("behavior", "3").tags["verdict"] == "keep"
    roll_back(served, CONFIG, ANN, to="2")
    assert aliases(served)["champion"] == "2"


def no_files(home: Home) -> None:
    shutil.rmtree(files_of(home, "1"))


def damaged_weights(home: Home) -> None:
    (weights,) = files_of(home, "1").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])


def no_decision(home: Home) -> None:
    (decision,) = files_of(home, "1").rglob("decision.json")
    decision.unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_files, "its files are gone from MLflow"),
        (damaged_weights, "its model can't be loaded"),
        (no_decision, "its model can't be loaded"),
    ],
)
def test_a_version_that_can_not_serve_is_refused_and_nothing_changes(
    harm: Callable[[Home], None], said: str, served: Home
) -> None:
    harm(served)
    before = (aliases(served), ledger.ledger_path(served).read_bytes())
    with pytest.raises(UserError, match=said) as caught:
        roll_back(served, CONFIG, ANN)
    assert "Version 1 of behavior can't serve" in str(caught.value)
    assert str(served.root) not in str(caught.value)
    assert (aliases(served), ledger.ledger_path(served).read_bytes()) == before


def test_who_is_champion_or_nobody_is_refused(served: Home) -> None:
    for version, said in (("2", "Version 2 is the champion already"), ("9", "There is no version 9 of behavior")):
        with pytest.raises(UserError, match=said):
            override(served, CONFIG, ANN, version=version)
    client(served).delete_model_version("behavior", "1")
    with pytest.raises(UserError, match="There is no version 1 of behavior") as caught:
        roll_back(served, CONFIG, ANN, to="1")
    assert caught.value.expected == "one of 3, 2"


def test_a_previous_that_was_moved_by_hand_is_not_guessed_about(served: Home) -> None:
    client(served).set_registered_model_alias("behavior", "previous", "3")
    with pytest.raises(UserError, match="previous was moved in MLflow by hand") as caught:
        roll_back(served, CONFIG, ANN)
    assert caught.value.next_step == "behavior rollback --to 1 (or 3)"


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("ann", "  ")])
def test_a_change_without_a_name_or_a_reason_is_refused(who: str, why: str) -> None:
    with pytest.raises(UserError, match="is empty; the promotion ledger must say"):
        Asked(who=who, why=why, when=WHEN)


def test_a_damaged_ledger_refuses_until_a_repair_has_set_it_aside(home: Home) -> None:
    make_versions(home, 1)
    promote(home, "1", None)
    make_versions(home, 1)
    with pytest.raises(UserError, match="nothing to repair"):
        repair(home, CONFIG, ANN)
    path = ledger.ledger_path(home)
    damaged = path.read_bytes().replace(b"nightly", b"mallory")
    path.write_bytes(damaged)
    for change in (lambda: roll_back(home, CONFIG, ANN), lambda: override(home, CONFIG, ANN, version="2")):
        with pytest.raises(ledger.LedgerError, match="Line 1"):
            change()
    found = check_up(home, CONFIG)
    assert found.damage is not None
    assert "Line 1" in found.damage
    first = repair(home, CONFIG, ANN)
    assert first["previous_hash"] == ledger.digest(damaged)
    (kept,) = ledger.damaged_files(home)
    assert kept.read_bytes() == damaged
    assert kept.name.startswith("ledger-damaged-2026-11-24")
    assert lines(home) == [("repair", "1", "1")]
    sound = check_up(home, CONFIG)
    assert (sound.damage, sound.kept, sound.lost) == (None, (kept.name,), ())
    promote(home, "2", "1")
    assert lines(home) == [("repair", "1", "1"), ("promotion", "1", "2")]
    assert aliases(home) == {"champion": "2", "previous": "1"}
    kept.unlink()
    assert check_up(home, CONFIG).lost == (ledger.digest(damaged),)


def test_a_lost_ledger_begins_anew_with_who_is_champion(home: Home) -> None:
    make_versions(home, 1)
    promote(home, "1", None)
    ledger.ledger_path(home).unlink()
    assert "Lines at the end" in str(check_up(home, CONFIG).damage)
    repair(home, CONFIG, ANN)
    assert lines(home) == [("repair", None, "1")]
    assert check_up(home, CONFIG).damage is None
    assert json.loads(ledger.ledger_path(home).read_bytes())["who"] == "ann"
