"""History, rollback, promote, compare and gc as a person types them, with their exit codes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.registry import ledger, store
from tests.cli.typing_in import exit_code
from tests.pipeline.records import LABELS, make_artifact, make_run, measured
from tests.registry.titles import aliases, make_versions, promote


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A state folder in which version 2 followed version 1, and 3 challenges; made once."""
    home = Home(tmp_path_factory.mktemp("made") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        with store.connect(home):
            pass
        make_versions(home, 1)
        promote(home, "1", None)
        make_versions(home, 1)
        promote(home, "2", "1")
        make_versions(home, 1)
        for number, answers in ((1, [0.8] * len(LABELS)), (2, [0.9 if label else 0.1 for label in LABELS])):
            evaluated = measured(home, f"night-{number}", answers)
            make_run(home, f"night-{number}", {"evaluate": evaluated}, train={"seed": number})
        yield home


@pytest.fixture
def home(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    shutil.copytree(made.root, tmp_path / "home")
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    return Home(tmp_path / "home")


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code(*words) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.out + captured.err


def test_history_lists_and_verifies(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "history")
    for expected in ("none → 1", "1 → 2", "nightly", "promotion, test set abc", "promote: it is better"):
        assert expected in listed
    assert [line["version"] for line in json.loads(said(capsys, "history", "--json"))] == ["1", "2"]
    verified = said(capsys, "history", "--verify")
    assert "2 lines, 2 with hashes" in verified
    assert "The last line that MLflow remembers is there." in verified
    assert "No champion yet" in said(capsys, "history", "--model", "another")
    assert "belong to --repair" in said(capsys, "history", "--who", "ann", code=2)
    assert "Champion: version 2 since 2026-11-23" in said(capsys, "status")


def test_a_damaged_ledger_is_shown_refused_and_repaired(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = ledger.ledger_path(home)
    path.write_bytes(path.read_bytes().replace(b"it is better", b"it is worse!", 1))
    for words in (["history"], ["history", "--verify"], ["rollback", "--reason", "x"], ["gc", "--delete"]):
        assert "Line 1 of the promotion ledger was changed" in said(capsys, *words, code=2)
    found = json.loads(said(capsys, "history", "--verify", "--json", code=2))
    assert "Line 1" in found["damage"]
    assert "Champion: not shown. Line 1" in said(capsys, "status")
    assert "--who is empty" in said(capsys, "history", "--repair", "--reason", "x", code=2)
    assert "A new ledger begins" in said(capsys, "history", "--repair", "--who", "ann", "--reason", "disk")
    assert "Set aside by a repair: registry/ledger-damaged-" in said(capsys, "history", "--verify")
    assert "nothing to repair" in said(capsys, "history", "--repair", "--who", "ann", "--reason", "disk", code=2)


def test_what_can_not_be_done_changes_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    before = (aliases(home), ledger.ledger_path(home).read_bytes())
    # These versions have no files.
    assert "Version 1 of behavior can't serve" in said(capsys, "rollback", "--reason", "x", code=2)
    three = ("promote", "--version", "3", "--reason", "x")
    assert "Version 3 of behavior can't serve" in said(capsys, *three, "--who", "ann", code=2)
    assert "--who" in said(capsys, *three, code=2)
    assert "--who is empty" in said(capsys, *three, "--who", " ", code=2)
    assert "--reason" in said(capsys, "rollback", code=2)
    assert "There is no version 9" in said(capsys, "rollback", "--to", "9", "--reason", "x", code=2)
    assert (aliases(home), ledger.ledger_path(home).read_bytes()) == before


def test_compare_shows_only_what_differs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "compare", "previous", "champion")
    assert "version 1 (previous)" in shown
    assert "train.seed" in shown
    assert "train.epochs" not in shown
    assert "F1: B − A = +0.333" in shown
    told = json.loads(said(capsys, "compare", "1", "2", "--json"))
    assert told["comparable"] is True
    assert [row["name"] for row in told["settings"]] == ["train.seed"]
    assert told["differences"]["f1"]["difference"] == pytest.approx(1 / 3)
    assert "names no version and no run" in said(capsys, "compare", "1", "nobody", code=2)


def test_gc_deletes_only_when_asked_to(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_artifact(home, "clean", "old")
    policy = ("--set", "registry.keep_days=0", "--set", "registry.keep_versions=0")
    assert "Nothing may go" in said(capsys, "gc")
    shown = said(capsys, "gc", *policy)
    assert old.key in shown
    assert "Next: the same with --delete" in shown
    assert old.path.exists()
    told = json.loads(said(capsys, "gc", *policy, "--delete", "--json"))
    assert told["deleted"] is True
    assert [(item["kind"], item["name"]) for item in told["items"]] == [("artifact", f"clean/{old.key}")]
    assert told["bytes"] == sum(item["bytes"] for item in told["items"]) > 0
    assert not old.path.exists()
    assert aliases(home) == {"champion": "2", "previous": "1", "challenger": "3"}
