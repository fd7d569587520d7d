"""Consent: whoever did not agree is a number at most, and a changed list of consent makes the day new."""

import json
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.sources import hash_raw_files
from tests.data.stages import HEADER, events, run_to, seconds, table, write_log

DAYS = [seconds(f"2026-03-{day:02d}T12:00:00") for day in range(1, 11)]
ROWS = [f"u{n},browse,p1,{day}" for n in range(4) for day in DAYS]
LENIENT: dict[str, object] = {"source.max_bad_fraction": 1, "source.consent": {"path": "consent.csv"}}


def ingest(tmp_path: Path, consent: str, rows: list[str] = ROWS, **overrides: object) -> Artifact:
    log = write_log(tmp_path / "log.csv", rows)
    (tmp_path / "consent.csv").write_text(consent, encoding="utf-8")
    return run_to("ingest", log, tmp_path / "home", overrides={**LENIENT, **overrides})


def kept(ingested: Artifact) -> dict[object, int]:
    rows = [row[0] for row in events(ingested, "user_id")]
    return {user: rows.count(user) for user in dict.fromkeys(rows)}


def test_only_shoppers_who_said_yes_are_kept_and_the_others_are_a_number(tmp_path: Path) -> None:
    rows = [*ROWS, f"u1,jump,p1,{DAYS[0]}", f"u3,jump,p1,{DAYS[0]}", f"u0,jump,p1,{DAYS[0]}"]
    ingested = ingest(tmp_path, "user_id,consent\nu0,Yes\nu1,no\nu2, GRANTED \n", rows)
    assert kept(ingested) == {"u0": 10, "u2": 10}
    counted = ingested.manifest.rows
    assert counted.removed == {"no_consent": 22, "unknown_action": 1}
    assert counted.rows_in == counted.rows_out + 23
    # Neither a line nor a pseudonym of theirs stands anywhere.
    assert [(row[1], row[2]) for row in table(ingested, "quarantine.parquet")] == [(44, "unknown_action")]
    assert (ingested.facts["consent_unknown"]) == 0


def test_consent_holds_from_its_instant_on_and_a_last_no_ends_it_all(tmp_path: Path) -> None:
    consent = (
        "user_id,consent,valid_from\n"
        "u0,yes,2026-03-05T12:00:00Z\n"
        "u1,yes,2026-03-01\nu1,no,2026-03-04\nu1,yes,2026-03-08\n"
        "u2,yes,2026-03-01\nu2,no,2026-03-09\n"
        "u3,yes,2026-03-01\nu3,no,2026-03-01\n"
    )
    rows = [*ROWS, "u0,browse,p1,never", "u2,browse,p1,never"]
    ingested = ingest(tmp_path, consent, rows)
    assert kept(ingested) == {"u0": 6, "u1": 6}
    assert ingested.manifest.rows.removed["no_consent"] == 40 - 12 + 1
    assert ingested.manifest.rows.removed["bad_timestamp"] == 1


def test_a_column_of_the_log_speaks_for_its_own_row(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "log.csv",
        [f"u{n},browse,p1,{DAYS[n]},{word}" for n, word in enumerate(["1", "0", "", "ja", "TRUE"])],
        f"{HEADER},agreed",
    )
    columns: dict[str, object] = {"source.columns": {"consent": "agreed"}, "source.max_bad_fraction": 1}
    ingested = run_to("ingest", log, tmp_path / "home", overrides=columns)
    assert set(kept(ingested)) == {"u0", "u4"}
    assert ingested.manifest.rows.removed == {"no_consent": 3}
    german = {**columns, "source.consent": {"yes": ["ja"], "no": ["nein"]}}
    assert set(kept(run_to("ingest", log, tmp_path / "home", overrides=german))) == {"u3"}
    missing = {**columns, "source.columns": {"consent": "opt"}}
    with pytest.raises(UserError, match=r"lacks a column: opt \(the consent\)"):
        run_to("ingest", log, tmp_path / "home", overrides=missing)


def test_unknown_ids_are_a_warning_with_their_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ingested = ingest(tmp_path, "user_id,consent\nu0,yes\nghost-1,yes\nghost-2,yes\nghost-3,no\nu1,perhaps\n")
    assert ingested.facts["consent_unknown"] == 2
    assert "2 of 3 ids that consent (source.consent) have no event in the log" in caplog.text
    assert "1 rows of" in caplog.text
    assert "ghost" not in caplog.text
    written = b"".join(f.read_bytes() for f in (tmp_path / "home" / "artifacts").rglob("*") if f.is_file())
    assert b"ghost" not in written


@pytest.mark.parametrize(
    ("consent", "problem"),
    [
        ("user_id,agreed\nu0,yes\n", "lacks a column that says who consents|lacks anything but its ids"),
        ("user_id,consent\nu0,maybe\nu1,possibly\n", "says of nobody"),
        ("user_id,consent\n,yes\n", "says of nobody"),
    ],
)
def test_a_list_that_says_nothing_is_refused(consent: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        ingest(tmp_path, consent)


def test_nobody_consents_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No event is left") as caught:
        ingest(tmp_path, "user_id,consent\nu0,no\n")
    assert "no_consent" in str(caught.value)


def test_a_changed_list_is_part_of_the_logs_hash(tmp_path: Path) -> None:
    one = kept(ingest(tmp_path, "user_id,consent\nu0,yes\nu1,yes\n"))
    config = load_config("canonical", overrides=LENIENT)
    home = Home(tmp_path / "home")
    before = hash_raw_files(str(tmp_path / "log.csv"), config, home)
    other = kept(ingest(tmp_path, "user_id,consent\nu0,yes\nu1,no\n"))
    after = hash_raw_files(str(tmp_path / "log.csv"), config, home)
    assert before != after
    assert json.dumps(before) != json.dumps(after)
    assert (set(one), set(other)) == ({"u0", "u1"}, {"u0"})
