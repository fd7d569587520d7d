"""The ledger: appended to, never rewritten, whoever writes at the same time, whatever crashes and whoever edits it."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger

OLD = {
    "when": "2026-11-20T02:00:00+00:00",
    "who": "airflow",
    "why": "promote: first",
    "version": "1",
    "from_version": None,
    "verdict": "promote",
    "test_hash": "abc",
    "run_id": "run-0",
}
"""A line as version 0.3.0 wrote it."""


def entry(version: str | None = "1", **changes: object) -> dict[str, Any]:
    line = {
        "kind": "promotion",
        "model": "behavior",
        "when": "2026-11-23T02:00:00+00:00",
        "who": "nightly",
        "why": "promote: F1 0.431 läuft",
        "verdict": "promote",
        "test_hash": "abc",
        "from_version": None,
        "version": version,
        "run_id": "run-1",
    }
    return line | changes


def told(home: Home) -> list[dict[str, Any]]:
    return [{name: line[name] for name in ledger.FIELDS} for line in ledger.read(home)]


def write_three(home: Home) -> list[bytes]:
    """Write three lines and return them."""
    for version, was in (("1", None), ("2", "1"), ("3", "2")):
        ledger.append(home, entry(version, from_version=was))
    return ledger.ledger_path(home).read_bytes().splitlines(keepends=True)


def test_an_empty_ledger_is_an_empty_list(home: Home) -> None:
    assert ledger.read(home) == []
    assert not home.registry.exists()


def test_lines_stay_in_order_and_earlier_bytes_never_change(home: Home) -> None:
    assert ledger.append(home, entry("1"))
    before = ledger.ledger_path(home).read_bytes()
    assert ledger.append(home, entry("2", from_version="1"))
    assert ledger.ledger_path(home).read_bytes().startswith(before)
    assert told(home) == [entry("1"), entry("2", from_version="1")]


def test_each_line_holds_the_hash_of_the_one_before_and_its_own(home: Home) -> None:
    lines = [json.loads(line) for line in write_three(home)]
    assert lines[0]["previous_hash"] == hashlib.sha256(b"").hexdigest()
    for before, line in pairwise(lines):
        assert line["previous_hash"] == before["hash"]
    for line in lines:
        stated = line.pop("hash")
        canonical = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert stated == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("wrong", [{"extra": 1}, None])
def test_a_line_holds_exactly_the_fields(wrong: dict[str, object] | None, home: Home) -> None:
    line = entry() | wrong if wrong else {key: value for key, value in entry().items() if key != "why"}
    with pytest.raises(ValueError, match="a ledger line holds"):
        ledger.append(home, line)
    with pytest.raises(ValueError, match="a ledger line is one of"):
        ledger.append(home, entry(kind="coup"))
    assert ledger.read(home) == []


def test_half_a_line_of_a_crash_is_not_read_and_is_cut_off_by_the_next(home: Home) -> None:
    ledger.append(home, entry("1"))
    with ledger.ledger_path(home).open("ab") as stream:
        stream.write(json.dumps(entry("2")).encode()[:40])
    assert [line["version"] for line in ledger.read(home)] == ["1"]
    ledger.append(home, entry("3"))
    assert [line["version"] for line in ledger.read(home)] == ["1", "3"]


def edit_a_word(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"nightly", b"mallory"), lines[2]]


def edit_and_hash_again(lines: list[bytes]) -> list[bytes]:
    changed = json.loads(lines[1]) | {"who": "mallory"}
    again = ledger.chain({name: changed[name] for name in ledger.FIELDS}, changed["previous_hash"])
    return [lines[0], ledger.to_line(again), lines[2]]


def lose_one(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2]]


def lose_the_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def swap(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1]]


def take_the_hashes_off(lines: list[bytes]) -> list[bytes]:
    bare = {key: value for key, value in json.loads(lines[2]).items() if key not in ledger.CHAIN}
    return [*lines[:2], json.dumps(bare).encode() + b"\n"]


def put_rubbish_in(lines: list[bytes]) -> list[bytes]:
    return [lines[0], b"not json\n", *lines[1:]]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (edit_a_word, "Line 2 of the promotion ledger was changed"),
        (edit_and_hash_again, "Line 3 of the promotion ledger does not follow"),
        (lose_one, "Line 2 of the promotion ledger does not follow"),
        (lose_the_first, "Line 1 of the promotion ledger does not follow"),
        (swap, "Line 2 of the promotion ledger does not follow"),
        (take_the_hashes_off, "Line 3 of the promotion ledger is damaged"),
        (put_rubbish_in, "Line 2 of the promotion ledger is damaged"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_written_after_it(
    harm: Callable[[list[bytes]], list[bytes]], said: str, home: Home
) -> None:
    lines = write_three(home)
    ledger.ledger_path(home).write_bytes(b"".join(harm(lines)))
    before = ledger.ledger_path(home).read_bytes()
    with pytest.raises(ledger.LedgerError, match=said) as caught:
        ledger.read(home)
    assert caught.value.found
    assert caught.value.expected
    assert "behavior history --repair" in str(caught.value)
    with pytest.raises(UserError):
        ledger.append(home, entry("4"))
    assert ledger.ledger_path(home).read_bytes() == before


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_no_flipped_bit_of_a_line_goes_unnoticed(place: int, bit: int) -> None:
    first = ledger.chain(entry("1"), hashlib.sha256(b"").hexdigest())
    content = ledger.to_line(first) + ledger.to_line(ledger.chain(entry("2", from_version="1"), first["hash"]))
    place %= len(content)
    flipped = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
    try:
        read = ledger.check(flipped).entries
    except ledger.LedgerError:
        return
    # White space between the parts of a line carries nothing; the end of the last line makes it an unfinished one.
    assert read == ledger.check(content).entries[: len(read)]


def test_lines_of_the_older_format_come_first_and_the_next_line_vouches_for_their_bytes(home: Home) -> None:
    home.registry.mkdir(parents=True)
    old = json.dumps(OLD).encode() + b"\n" + json.dumps(OLD | {"version": "2", "from_version": "1"}).encode() + b"\n"
    ledger.ledger_path(home).write_bytes(old)
    assert [line["version"] for line in ledger.read(home)] == ["1", "2"]
    line = ledger.append(home, entry("3", from_version="2"))
    assert line["previous_hash"] == hashlib.sha256(old).hexdigest()
    assert [line["version"] for line in ledger.read(home)] == ["1", "2", "3"]
    changed = ledger.ledger_path(home).read_bytes().replace(b"airflow", b"mallory", 1)
    ledger.ledger_path(home).write_bytes(changed)
    with pytest.raises(ledger.LedgerError, match=r"Line 3 .* does not follow") as caught:
        ledger.read(home)
    assert "lines 1 to 2" in str(caught.value.found)


def test_a_line_of_the_older_format_that_lacks_a_field_is_damage(home: Home) -> None:
    home.registry.mkdir(parents=True)
    ledger.ledger_path(home).write_bytes(json.dumps({"version": "1"}).encode() + b"\n")
    with pytest.raises(ledger.LedgerError, match=r"Line 1 .* is damaged"):
        ledger.read(home)


WRITER = """
import sys
from pathlib import Path
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger
home, who = Home(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    line = dict.fromkeys(ledger.FIELDS, "x" * 2000) | {"kind": "promotion", "who": who, "version": str(number)}
    ledger.append(home, line)
"""


def test_two_processes_at_once_lose_no_line(home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(home.root)]
    writers = [subprocess.Popen([*command, who]) for who in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    lines = ledger.read(home)
    for who in ("a", "b"):
        assert [line["version"] for line in lines if line["who"] == who] == [str(n) for n in range(40)]
