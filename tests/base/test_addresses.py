"""Addresses: what is secret in them is kept in one closed file and shown nowhere."""

from pathlib import Path

import pytest

from behavior_tasks.base.addresses import full_address, hide_secrets, shown_address
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.pipeline import open_run, start_run
from tests.data.stages import TODAY


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("logs/a@b:c.csv", "logs/a@b:c.csv"),
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("postgresql://anna@db:5432/shop", "postgresql://anna@db:5432/shop"),
        ("postgresql://anna:pw@db:5432/shop", "postgresql://anna@db:5432/shop"),
        ("postgres://anna:p@w/x:y@db/shop", "postgres://anna@db/shop"),
        ("postgresql+psycopg://anna:pw@[::1]:5/shop", "postgresql+psycopg://anna@[::1]:5/shop"),
        ("postgresql://db/shop?user=anna&password=pw", "postgresql://db/shop?user=anna"),
        ("postgresql://:pw@db/shop", "postgresql://@db/shop"),
        ("s3://key:pw@bucket/a*.csv?", "s3://key@bucket/a*.csv?"),
        ("sftp://anna:pw@host/log.csv", "sftp://anna@host/log.csv"),
        ("https://host/a@b.csv", "https://host/a@b.csv"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert shown_address(text) == shown
    assert shown_address(shown) == shown


def test_two_signed_urls_stay_apart() -> None:
    one, two = shown_address("https://h/x?sig=pw1"), shown_address("https://h/x?sig=pw2")
    assert one != two
    assert "pw" not in one + two


def test_the_full_address_is_found_again_in_a_closed_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for text in ("postgresql://anna:pw@db/shop", "https://host/log.csv?sig=pw"):
        shown = hide_secrets(text, home)
        assert "pw" not in shown
        assert full_address(shown, home) == text
    assert full_address("postgresql://bert@db/shop", home) == "postgresql://bert@db/shop"
    assert hide_secrets("log.csv", home) == "log.csv"
    (kept,) = home.secrets.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert home.secrets.stat().st_mode & 0o777 == 0o700


def test_a_run_holds_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    uri = start_run("r", day=TODAY, trigger="manual", input_path="postgresql://anna:s3cr3t@db/shop")
    assert open_run(uri).record.input == "postgresql://anna@db/shop"
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
