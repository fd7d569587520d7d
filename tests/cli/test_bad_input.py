"""Bad input at the command line: one screen, exit code 2, no traceback, nothing half-written."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from tests.cli.typing_in import exit_code

HEADER = "user_id,action,product_id,timestamp,amount\n"
START = 1_767_600_000
SCREEN_LINES = 24


def rows(count: int, *, user: str = "u{n}", action: str = "browse", time: str = "{t}", amount: str = "") -> str:
    """Rows of `count` shoppers, an hour apart, within the bounds of a good log."""
    line = f"{user},{action},p1,{time},{amount}\n"
    return "".join(line.format(n=n, t=START + 3600 * n, ms=1000 * (START + 3600 * n)) for n in range(count))


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode(encoding))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda path: None, "log.csv"),
    "directory": (lambda path: path.mkdir(), "log.csv"),
    "empty file": (text(""), "empty"),
    "header only": (text(HEADER), "header"),
    "wrong delimiter": (text((HEADER + rows(5)).replace(",", ";")), 'source.delimiter=";"'),
    "wrong encoding": (text(HEADER + rows(9, action="浏览"), "gbk"), "gb18030"),
    "missing column": (text("user_id,action,timestamp\n1,browse,1767600000\n"), "product_id"),
    "unknown action": (text(HEADER + rows(50, action="teleport")), "teleport"),
    "milliseconds for seconds": (text(HEADER + rows(50, time="{ms}")), "unix_milliseconds"),
    "dates in the future": (text(HEADER + rows(50, time="4102444800")), "timestamp_in_future"),
    "negative amounts": (text(HEADER + rows(50, action="purchase", amount="-5")), "negative_amount"),
    "absurd amounts": (text(HEADER + rows(50, action="purchase", amount="1e12")), "absurd_amount"),
    "one shopper": (text(HEADER + rows(800, user="u1", action="purchase")), "single shopper"),
    "no purchases": (text(HEADER + rows(800)), "no purchases"),
    "cut-off gzip": (lambda path: path.write_bytes(gzip.compress(rows(500).encode())[:200]), "log.csv"),
}


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = exit_code(*words)
    return code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_ends_in_one_screen(
    case: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = CASES[case]
    name = "log.csv.gz" if case == "cut-off gzip" else "log.csv"
    make(tmp_path / name)
    code, message = said(capsys, "run", "--input", name)
    assert code == 2
    assert expected in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= SCREEN_LINES
    assert str(tmp_path) not in message
    unfinished = [path.name for path in (home / "artifacts").rglob(".*")]
    assert unfinished == []


def test_a_configuration_with_three_mistakes_names_all_three(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    wrong = ("train.epoch=3", "model.size=huge", "gate.confidence=2")
    code, message = said(capsys, "run", *(word for pair in wrong for word in ("--set", pair)))
    assert code == 2
    for named in ("train.epochs", "huge", "gate.confidence"):
        assert named in message
    assert not home.exists()


def test_a_nearly_full_disk_stops_before_anything_is_written(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, message = said(capsys, "run", "--set", "engine.min_free_disk_mb=1000000000")
    assert code == 2
    assert "nearly full" in message
    assert not [path for path in (home / "artifacts").rglob("*") if path.is_file()]


def test_a_set_without_a_value_says_what_it_expects(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = said(capsys, "doctor", "--set", "epochs")
    assert code == 2
    assert "key=value" in message
