"""`behavior sources`: what a person sees, and that what it writes can be used at once."""

from pathlib import Path

import pytest

from behavior_tasks.base.config import load_config, presets
from behavior_tasks.base.home import HOME_VARIABLE
from tests.cli.typing_in import exit_code
from tests.data.stages import run_to


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def write_shop(folder: Path) -> None:
    rows = [
        f"c{n % 30:03d};{'view' if n % 4 else 'order'};s{n % 20};2026-03-{1 + n % 28:02d} 10:00:00" for n in range(400)
    ]
    (folder / "shop.csv").write_text("\n".join(["customer_no;event;sku;created_at", *rows]) + "\n", encoding="utf-8")


def test_every_preset_is_listed_with_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("sources") == 0
    shown = capsys.readouterr().out
    for name in presets():
        assert name in shown
    for said in ("REES46 Open CDP", "visitorid, timestamp, event, itemid", "unix_milliseconds", "--sniff"):
        assert said in shown


def test_a_proposal_is_shown_written_and_reads_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shop(tmp_path)
    assert exit_code("sources", "--sniff", "shop.csv", "--out", "mine.yaml") == 0
    shown = capsys.readouterr().out
    for said in (
        "delimiter  ';'",
        "user_id: customer_no",
        "400 events from all 400 rows, 2026-03-01 10:00 to 2026-03-28 10:00 UTC",
        "actions: browse 300, purchase 100",
        "to quarantine: none",
        "shopper 1",
        "Next: behavior doctor --input shop.csv --config mine.yaml",
    ):
        assert said in shown
    assert "c001" not in shown
    source = load_config(file=Path("mine.yaml")).source.model_dump(mode="json")
    settings = {f"source.{key}": value for key, value in source.items()}
    assert run_to("ingest", Path("shop.csv"), tmp_path / "home", overrides=settings).manifest.rows.rows_out == 400
    assert exit_code("sources", "--sniff", "shop.csv", "--out", "mine.yaml") == 2
    assert "There is a file mine.yaml already" in capsys.readouterr().err


def test_a_folder_is_told_from_its_first_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    write_shop(tmp_path / "logs")
    (tmp_path / "logs" / "tomorrow.csv").write_text(
        "customer_no;event;sku;created_at\nc1;view;s1;2026-03-29 10:00:00\n"
    )
    assert exit_code("sources", "--sniff", "logs") == 0
    assert "logs/shop.csv, the first of 2 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sniff", "nowhere.csv"), "There is no file nowhere.csv"),
        (("--out", "mine.yaml"), "--out needs a log"),
        (
            ("--sniff", "postgresql://anna:s3cr3t@db/shop"),
            "There is no query for the database postgresql://anna@db/shop",
        ),
    ],
)
def test_mistakes(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("sources", *words) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "s3cr3t" not in message
