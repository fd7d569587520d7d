"""The ledger: appended to, never rewritten, whoever writes at the same time and whatever crashes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger


def entry(version: str = "1", **changes: object) -> dict[str, object]:
    line = {
        "when": "2026-11-23T02:00:00+00:00",
        "who": "nightly",
        "why": "promote: F1 0.431 läuft",
        "version": version,
        "from_version": None,
        "verdict": "promote",
        "test_hash": "abc",
        "run_id": "run-1",
    }
    return line | changes


def test_an_empty_ledger_is_an_empty_list(home: Home) -> None:
    assert ledger.read(home) == []
    assert not home.registry.exists()


def test_lines_stay_in_order_and_earlier_bytes_never_change(home: Home) -> None:
    assert ledger.append(home, entry("1"))
    before = ledger.ledger_path(home).read_bytes()
    assert ledger.append(home, entry("2", from_version="1"))
    assert ledger.ledger_path(home).read_bytes().startswith(before)
    assert ledger.read(home) == [entry("1"), entry("2", from_version="1")]


def test_a_line_that_is_there_is_not_written_again(home: Home) -> None:
    ledger.append(home, entry("1"))
    assert not ledger.append(home, entry("1", who="retry"), unless=lambda known: known["version"] == "1")
    assert ledger.append(home, entry("2"), unless=lambda known: known["version"] == "2")
    assert [line["version"] for line in ledger.read(home)] == ["1", "2"]


@pytest.mark.parametrize("wrong", [{"extra": 1}, None])
def test_a_line_holds_exactly_the_fields(wrong: dict[str, object] | None, home: Home) -> None:
    line = entry() | wrong if wrong else {key: value for key, value in entry().items() if key != "why"}
    with pytest.raises(ValueError, match="a ledger line holds"):
        ledger.append(home, line)
    assert ledger.read(home) == []


def test_half_a_line_of_a_crash_is_not_read_and_is_cut_off_by_the_next(home: Home) -> None:
    ledger.append(home, entry("1"))
    with ledger.ledger_path(home).open("ab") as stream:
        stream.write(json.dumps(entry("2")).encode()[:40])
    assert [line["version"] for line in ledger.read(home)] == ["1"]
    ledger.append(home, entry("3"))
    assert [line["version"] for line in ledger.read(home)] == ["1", "3"]


def test_a_damaged_line_is_named(home: Home) -> None:
    ledger.append(home, entry("1"))
    with ledger.ledger_path(home).open("ab") as stream:
        stream.write(b"not json\n")
    with pytest.raises(UserError, match="Line 2 of the promotion ledger"):
        ledger.read(home)
    before = ledger.ledger_path(home).read_bytes()
    with pytest.raises(UserError):
        ledger.append(home, entry("3"))
    assert ledger.ledger_path(home).read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger
home, who = Home(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    line = dict.fromkeys(ledger.FIELDS, "x" * 2000) | {"who": who, "version": str(number)}
    ledger.append(home, line)
"""


def test_two_processes_at_once_lose_no_line(home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(home.root)]
    writers = [subprocess.Popen([*command, who]) for who in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    lines = ledger.read(home)
    for who in ("a", "b"):
        assert [line["version"] for line in lines if line["who"] == who] == [str(n) for n in range(40)]
