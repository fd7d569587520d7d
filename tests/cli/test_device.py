"""`behavior doctor --device`: what a training would run on, without a log and without a trace in the state folder."""

import json
from pathlib import Path

import pytest
import torch

from behavior_tasks.base.home import HOME_VARIABLE
from tests.cli.typing_in import exit_code


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "home"


def test_it_needs_no_log_and_leaves_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("doctor", "--device", "--set", "train.device=cpu") == 0
    said = capsys.readouterr().out
    assert "train.device=cpu: cpu" in said
    assert said.strip().endswith("Trainable.")
    assert not home.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_cannot_be_had_ends_with_2_also_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("doctor", "--device", "--set", "train.device=cuda", "--json") == 2
    findings = json.loads(capsys.readouterr().out)
    assert [finding["what"] for finding in findings if finding["level"] == "fail"] == ["training"]
