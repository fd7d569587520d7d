"""`behavior quarantine` and `behavior report`: what stands aside, where, how to mend it, and where the report is."""

import gzip
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.cli.options import parse_settings
from tests.cli.typing_in import exit_code
from tests.data.stages import real_log
from tests.shop import run_until

LOG = """user_id,action,product_id,timestamp
ann,browse,p1,1628751662
SECRET-1,jump,p1,1628751663
SECRET-2,jump,p1,1628751664
SECRET-3,hop,p1,1628751665
,browse,p1,1628751666
bob,browse,p1,12/13/2021
bob,browse,p1,1628751667
"""
LENIENT = {"source.max_bad_fraction": 0.9, "source.actions": {"pv": "browse"}}


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("quarantine") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        patch.setenv("COLUMNS", "100")
        yield path


@pytest.fixture(scope="module")
def log(home: Path) -> Path:
    path = home.parent / "my log.csv"
    path.write_text(LOG, encoding="utf-8")
    run_until("ingest", "first", log=path, overrides=LENIENT)
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert exit_code(*words) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(said(capsys, "quarantine", *words, "--json"))
    return loaded


def test_reasons_come_with_counts_places_and_what_was_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = as_json(capsys, "first", "--limit", "2")
    assert (told["run"], told["rows_in"], told["refused"]) == ("first", 7, False)
    by_reason = {one["reason"]: one for one in told["reasons"]}
    assert list(by_reason) == ["unknown_action", "bad_timestamp", "missing_user_id"]
    unknown = by_reason["unknown_action"]
    assert (unknown["rows"], unknown["share"]) == (3, pytest.approx(3 / 7))
    assert unknown["files"] == [{"file": "my log.csv", "rows": 3}]
    assert [(one["file"], one["line"], one["found"], one["text"]) for one in unknown["samples"]] == [
        ("my log.csv", 3, "jump", None),
        ("my log.csv", 4, "jump", None),
    ]
    assert by_reason["bad_timestamp"]["samples"][0]["found"] == "12/13/2021"


def test_the_command_that_mends_is_one_that_can_be_typed(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = {one["reason"]: shlex.split(one["command"]) for one in as_json(capsys, "first")["reasons"]}
    start = ["behavior", "run", "--input", str(log), "--preset", "canonical", "--set"]
    assert all(command[: len(start)] == start for command in commands.values())
    settings = {reason: parse_settings([command[-1]]) for reason, command in commands.items()}
    # What the log's own words mean already must survive, for a table that is set replaces the one before.
    assert settings["unknown_action"] == {"source.actions": {"pv": "browse", "jump": "browse", "hop": "browse"}}
    assert settings["missing_user_id"] == {"source.expected_reasons": ["missing_user_id"]}
    mended = {**LENIENT, **settings["unknown_action"]}
    run_until("ingest", "mended", log=log, overrides=mended)
    assert [one["reason"] for one in as_json(capsys, "latest")["reasons"]] == ["bad_timestamp", "missing_user_id"]


def test_the_original_rows_are_shown_only_when_asked_for(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aside.csv"
    told = said(capsys, "quarantine", "first", "--csv", str(out))
    assert "SECRET" not in told + out.read_text(encoding="utf-8")
    assert "my log.csv:3  found 'jump'" in told
    assert "5 of 7 rows (71.4%)" in told
    assert f"5 rows in {out}" in told
    assert out.read_text(encoding="utf-8").splitlines()[:2] == [
        "file,line,reason,found",
        "my log.csv,3,unknown_action,jump",
    ]
    told = said(capsys, "quarantine", "first", "--csv", str(out), "--reason", "unknown_action", "--show-text")
    assert "SECRET-1,jump,p1,1628751663" in told
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert lines[1].endswith('"SECRET-1,jump,p1,1628751663"')


def test_a_log_that_is_gone_or_changed_has_no_rows_to_show(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = log.read_bytes()
    moved = tmp_path / "kept elsewhere.csv"
    moved.write_bytes(content)
    try:
        log.write_bytes(content.replace(b"SECRET-1", b"SECRET-9"))
        told = said(capsys, "quarantine", "first", "--show-text", code=2)
        assert "the log has changed since it was read" in told
        assert "SECRET" not in told
        log.unlink()
        told = said(capsys, "quarantine", "first", "--show-text", code=2)
        assert "that can't be read any more" in told
        assert "SECRET-1,jump" in said(capsys, "quarantine", "first", "--show-text", "--input", str(moved))
    finally:
        log.write_bytes(content)
    assert "SECRET-1,jump" in said(capsys, "quarantine", "first", "--show-text")


def test_unknown_actions_that_are_no_words_show_their_shape(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home.parent / "shifted.csv"
    rows = [f"x,id-{n:04d},p1,1628751662" for n in range(30)]
    path.write_text("\n".join([*LOG.splitlines()[:2], *rows]) + "\n", encoding="utf-8")
    run_until("ingest", "shifted", log=path, overrides={**LENIENT, "source.max_bad_fraction": 1})
    told = as_json(capsys, "shifted")["reasons"][0]
    assert {one["found"] for one in told["samples"]} == {"aa-9999"}
    assert (told["words"], told["command"]) == ([], None)


def test_a_run_that_refused_its_log_shows_what_it_kept(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_until("source", "unread", log=log, overrides=LENIENT)
    assert "has read no rows" in said(capsys, "quarantine", "unread", code=2)
    with pytest.raises(UserError, match="5 of 7 rows"):
        run_until("ingest", "refused", log=log, overrides={**LENIENT, "source.max_bad_fraction": 0.5})
    told = as_json(capsys)
    assert (told["run"], told["rows_in"], told["refused"]) == ("refused", None, True)
    assert next((one["reason"], one["share"]) for one in told["reasons"]) == ("unknown_action", 0.6)
    assert "5 rows, in a log that was refused" in said(capsys, "quarantine", "refused")


def test_mistakes_are_answered_with_what_to_type(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--reason bad_timestamp" in said(capsys, "quarantine", "first", "--reason", "bad_timestmp", code=2)
    assert "no run nowhere" in said(capsys, "quarantine", "nowhere", code=2)
    assert "mkdir -p none/there" in said(capsys, "quarantine", "first", "--csv", "none/there/out.csv", code=2)


def test_the_report_is_found_by_run_or_as_the_newest(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No run has a data report yet" in said(capsys, "report", code=2)
    run = run_until("report", "reported", overrides={"simulate.shoppers": 60, "simulate.days": 40})
    artifact = run.artifact("report")
    assert artifact is not None
    assert (
        said(capsys, "report").strip()
        == str(artifact.path / "report.html")
        == said(capsys, "report", "reported").strip()
    )
    assert "The run first has no data report" in said(capsys, "report", "first", code=2)


def test_the_last_row_of_a_real_log_that_was_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    path = real_log("rees46_2019_oct_17k.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        *_, last = enumerate(stream, start=1)
    overrides: dict[str, object] = {
        "source.columns": {"action": "event_type", "timestamp": "event_time", "category": "category_code"},
        "source.time_format": "%Y-%m-%d %H:%M:%S UTC",
    }
    run_until("ingest", "rees46", log=path, overrides=overrides)
    told = as_json(capsys, "rees46", "--show-text")
    assert told["rows_in"] == last[0] - 1
    (one,) = told["reasons"]
    assert (one["reason"], one["rows"], one["command"]) == ("wrong_column_count", 1, None)
    assert [(sample["line"], sample["text"]) for sample in one["samples"]] == [last]
