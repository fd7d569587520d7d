"""`behavior privacy budget` as a person types it: each training, all together, what is left, and a damaged ledger."""

from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.screen import console
from behavior_tasks.registry.budget import budget_path, reserve, settle
from tests.cli.typing_in import exit_code
from tests.pipeline.records import make_artifact
from tests.registry.test_budget import NOW, asked, cost


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr(console, "width", 100)
    return Home(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_code("privacy", "budget", *words) == 0
    return " ".join(capsys.readouterr().out.split())


def test_each_training_and_all_together_with_what_is_left(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing of a budget is spent" in said(capsys)
    make_artifact(home, "train", "one")
    reserve(home, asked("a", budget=10.0))
    settle(home, "a", steps=100, why="finished", when=NOW)
    reserve(home, asked("b", budget=10.0))
    reserve(home, asked("c", population="simulated"))
    told = said(capsys)
    assert f"2026-11-28 run-a {cost(1):.3f} 1e-05 5,000 abc 100 1 spent" in told
    assert f"All together: ε = {cost(2):.3f} at δ = 1e-05; {10 - cost(2):.3f} of the budget of 10 is left." in told
    assert "1 training(s) reserved theirs and have not ended" in told
    assert "Trainings on simulated shops when run ε δ shoppers which steps noise state 2026-11-28 run-c" in told
    assert "no budget is set" in told
    assert "1 language model(s) in the state folder were trained without differential privacy" in told
    assert f"past the budget of {cost(1):g}" in said(capsys, "--epsilon", f"{cost(1):g}")


def test_a_damaged_ledger_says_which_line_and_what_to_do(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    reserve(home, asked("a"))
    budget_path(home).write_bytes(budget_path(home).read_bytes().replace(b"5000", b"4000"))
    assert exit_code("privacy", "budget") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "Line 1 was changed after it was written" in told
    assert "backup" in told
