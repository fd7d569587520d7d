"""`behavior audit-leakage` as a person types it: its words, its JSON, its exit codes."""

import json
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.examples import feature_table
from behavior_tasks.examples.feature_sql import Feature
from tests.cli.typing_in import exit_code
from tests.pipeline.test_audit import LITTLE, TEST, TRAIN, VALIDATION

SET = [word for key, value in LITTLE.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.slow
def test_a_feature_that_peeks_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Time from the cart to the purchase of its product, wherever that lies: a mistake easily made."""
    peek = Feature(name="peek", description="", sql="CAST(min(bought_after) AS DOUBLE)")
    monkeypatch.setattr(feature_table, "FEATURES", (*feature_table.FEATURES, peek))
    # With a checkpoint's own vocabulary there is none to fit, so the texts are not encoded.
    assert exit_code("audit-leakage", "--json", *SET, "--set", "model.checkpoint=gpt2") == 2
    told = json.loads(capsys.readouterr().out)
    found = [check for check in told["checks"] if check["differing"] or check["void"]]
    assert [(check["where"], check["what"]) for check in found] == [(w, "features") for w in (TEST, VALIDATION, TRAIN)]
    assert all(check["names"] == ["peek"] for check in found)
    assert all(check["example"].startswith("peek of ") and "→" in check["example"] for check in found)
    assert not told["clean"]


@pytest.mark.slow
def test_a_clean_audit_on_one_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("audit-leakage", *SET) == 0
    out = capsys.readouterr().out
    for expected in ("Does anything in the simulated shop see the future?", TEST, "vocabulary", "same", "No."):
        assert expected in out
    assert "LEAK" not in out


def test_a_log_too_short_for_windows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "five-rows.csv"
    log.write_text("user_id,action,product_id,timestamp\n1,browse,1001,1628751662\n1,purchase,1002,1628751790\n")
    assert exit_code("audit-leakage", "--input", str(log)) == 2
    assert "Missing: 22 days of history" in capsys.readouterr().err
