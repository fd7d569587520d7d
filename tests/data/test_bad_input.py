"""Bad input: one screen that names the file and what to type, and nothing half-written."""

import errno
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Output
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, write_parquet
from behavior_tasks.data.clean import clean_stage
from behavior_tasks.data.ingest import ingest_stage
from tests.data.stages import HEADER, run_to, seconds, write_log

NOON = seconds("2026-03-01T12:00:00")
SCREEN_LINES, SCREEN_COLUMNS = 24, 220
Maker = Callable[[Path], object]


def many(action: str = "browse", time: object = NOON, extra: str = "") -> list[str]:
    return [f"u{n},{action},p{n},{time}{extra}" for n in range(40)]


def semicolons(log: Path) -> None:
    write_log(log, [row.replace(",", ";") for row in many()], HEADER.replace(",", ";"))


def tabs(log: Path) -> None:
    write_log(log, [row.replace(",", "\t") for row in many()], HEADER.replace(",", "\t"))


def chinese(log: Path) -> None:
    rows = [f"u{n},search,,{NOON},连衣裙" for n in range(40)]
    log.write_bytes("\n".join([f"{HEADER},query", *rows]).encode("gbk"))


def half_chinese(log: Path) -> None:
    rows = [f"u{n},search,,{NOON},{'连衣裙' if n % 50 == 0 else 'dress'}" for n in range(2000)]
    log.write_bytes("\n".join([f"{HEADER},query", *rows]).encode("gbk"))


def truncated(log: Path) -> None:
    text = "\n".join([HEADER, *(f"u{n},browse,p{n * 7919 % 1000},{NOON + n}" for n in range(3000))])
    log.write_bytes(gzip.compress(text.encode())[:-1000])


BAD_FILES: dict[str, tuple[Maker, str, tuple[str, ...]]] = {
    "missing": (lambda log: None, "There is no file", ("--input",)),
    "directory": (lambda log: log.mkdir(), "no log in the folder", ("nothing in it", ".csv.gz")),
    "empty": (lambda log: log.write_bytes(b""), "is empty", ("a header line and rows",)),
    "blank": (lambda log: log.write_bytes(b"\n \n\r\n"), "only blank lines", ()),
    "header only": (lambda log: write_log(log, []), "a header but no rows", (HEADER.replace(",", ", "),)),
    "semicolons": (semicolons, "not divided by ','", ("4 columns", "--set 'source.delimiter=\";\"'")),
    "tabs": (tabs, "not divided by ','", ("a tab", "--set 'source.delimiter=\"\\t\"'")),
    "one column": (lambda log: write_log(log, ["1"], "hello"), "is one column", (HEADER,)),
    "GBK": (chinese, "not written in utf-8", ("line 2 holds", "c1 ac", "40 of 41", "--set source.encoding=gb18030")),
    "some GBK": (half_chinese, "not written in utf-8", ("40 of 2,001", "--set source.encoding=gb18030")),
    "UTF-16": (
        lambda log: log.write_bytes("\n".join([HEADER, *many()]).encode("utf-16")),
        "not written in utf-8",
        ("--set source.encoding=utf-16",),
    ),
    "truncated gzip": (truncated, "is damaged", ("gzip --test",)),
    "workbook": (lambda log: log.write_bytes(b"PK\x03\x04..."), "an Excel workbook", ("export it as CSV",)),
    "unknown action": (
        lambda log: write_log(log, many("wishlist")),
        "40 of 40 rows",
        ("unknown_action", "2, 3, 4, …", "wishlist", "--set 'source.actions="),
    ),
    "milliseconds": (
        lambda log: write_log(log, many(time=f"{NOON}000")),
        "40 of 40 rows",
        ("milliseconds_for_seconds", "--set source.time_format=unix_milliseconds"),
    ),
    "future": (
        lambda log: write_log(log, many(time=seconds("2031-01-01T00:00:00"))),
        "40 of 40 rows",
        ("timestamp_in_future", "100.0%"),
    ),
    "text for time": (
        lambda log: write_log(log, many(time="2026-03-01 12:00:00")),
        "40 of 40 rows",
        ("bad_timestamp", "9999-99-99 99:99:99", "iso"),
    ),
    "negative amounts": (
        lambda log: write_log(log, [*many("buy", extra=",5"), *many("buy", extra=",-5")[:3]], f"{HEADER},amount"),
        "3 of 43 rows",
        ("negative_amount", "7.0%", "42, 43, 44", "the action return"),
    ),
    "absurd amounts": (
        lambda log: write_log(log, many("buy", extra=",1e9"), f"{HEADER},amount"),
        "40 of 40 rows",
        ("absurd_amount", "source.max_amount"),
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_each_is_one_screen_and_leaves_nothing(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, problem, hints = BAD_FILES[case]
    monkeypatch.chdir(tmp_path)
    log = Path("my log.csv")
    make(log)
    with pytest.raises(UserError) as caught:
        run_to("ingest", log, tmp_path / "home")
    message = str(caught.value)
    assert problem in caught.value.problem
    assert "my log.csv" in caught.value.problem
    for hint in hints:
        assert hint in message
    assert str(tmp_path) not in message
    assert "u7" not in message
    lines = message.splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    # A file that was read to its end stays, so that another try with other settings need not read it again.
    finished = {"source", "ingest-part"}
    artifacts = tmp_path / "home" / "artifacts"
    assert {p.name for p in artifacts.glob("*") if any(p.iterdir())} <= finished
    assert all((p / "manifest.json").is_file() for p in artifacts.glob("*/*"))


def test_a_few_bad_rows_pass_and_one_more_does_not(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [*many()[:38], *many("wishlist")[:2]])
    assert run_to("ingest", log, tmp_path / "home").manifest.rows.removed == {"unknown_action": 2}
    log = write_log(tmp_path / "log.csv", [*many()[:37], *many("wishlist")[:2]])
    with pytest.raises(UserError, match="2 of 39 rows"):
        run_to("ingest", log, tmp_path / "home")
    expected = {"source.expected_reasons": ["unknown_action"]}
    assert run_to("ingest", log, tmp_path / "home", overrides=expected).manifest.rows.rows_out == 37


def test_no_event_left_is_an_error_even_when_every_reason_is_expected(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", many("wishlist"))
    with pytest.raises(UserError, match="No event is left of the 40 rows"):
        run_to("ingest", log, tmp_path / "home", overrides={"source.expected_reasons": ["unknown_action"]})


def test_words_that_may_be_ids_are_not_shown(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [f"browse,{name},p,alice-1990" for name in map(chr, range(65, 91))])
    with pytest.raises(UserError) as caught:
        run_to("ingest", log, tmp_path / "home")
    assert "alice" not in str(caught.value)
    assert "B, C" not in str(caught.value).upper()


def test_a_nearly_full_disk_stops_before_anything_is_written(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", many())
    with pytest.raises(UserError, match="nearly full") as caught:
        run_to("ingest", log, tmp_path / "home", min_free_disk_mb=10**9)
    assert "engine.min_free_disk_mb" in str(caught.value)
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file()]


@pytest.mark.parametrize(("stage", "file"), [("ingest", "quarantine.parquet"), ("clean", "replaced.parquet")])
def test_a_disk_that_fills_up_leaves_nothing_half_written(stage: str, file: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", many())
    function = {"ingest": ingest_stage, "clean": clean_stage}[stage]

    def work_on_a_full_device(job: Job) -> Output:
        (job.out / file).symlink_to("/dev/full")
        return function(job)

    with pytest.raises(UserError, match=f"filled up during the stage {stage}"):
        run_to(stage, log, tmp_path / "home", work=work_on_a_full_device)
    assert list((tmp_path / "home" / "artifacts" / stage).iterdir()) == []


def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_parquet(connect(), "SELECT range FROM range(10)", Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC
