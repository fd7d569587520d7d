"""A log in Postgres, on a real server of our own: streamed once, equal bytes for an equal result, no password shown."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from behavior_tasks.base.addresses import hide_secrets
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.inputs import find_inputs, resolve_inputs
from behavior_tasks.data.sources import hash_raw_files
from tests.data.stages import events, run_to
from tests.postgres_server import private_postgres

PASSWORD = "s3cr3t/p@ss"
QUERY = (
    "SELECT shopper AS user_id, what AS action, item AS product_id, at AS timestamp, note AS product_name"
    " FROM log ORDER BY at"
)
SETTINGS: dict[str, object] = {"source.query": QUERY, "source.time_format": "iso"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a private server on a free port of this machine; return the address without a password."""
    with private_postgres(PASSWORD) as place:
        yield f"{place}/postgres"


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a few awkward rows; the password comes from the environment."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    address = f"postgresql://anna@{server}"
    with psycopg.connect(address) as connection:
        connection.execute("DROP TABLE IF EXISTS log")
        connection.execute("CREATE TABLE log (shopper bigint, what text, item text, at timestamptz, note text)")
        connection.execute(
            """INSERT INTO log VALUES (1, 'browse', 'p1', '2026-03-01 12:00:00+08', 'a "quoted", 100%'),
            (2, 'search', NULL, '2026-03-02 12:00:00+00', E'two\\nlines'),
            (3, 'buy', 'p3', '2026-03-03 00:00:00.5+00', NULL),
            (4, 'buy', '007', '2026-03-04', '连衣裙')"""
        )
    return address


def config(**more: object) -> Config:
    return load_config(overrides={**SETTINGS, **{f"source.{key}": value for key, value in more.items()}})


def test_the_query_becomes_events(address: str, tmp_path: Path) -> None:
    ingested = run_to("ingest", address, tmp_path, overrides=SETTINGS)  # type: ignore[arg-type]
    assert events(ingested, "CAST(timestamp AS VARCHAR), action, product_id, product_name", "timestamp") == [
        ("2026-03-01 04:00:00", "browse", "p1", 'a "quoted", 100%'),
        ("2026-03-02 12:00:00", "search", None, "two\nlines"),
        ("2026-03-03 00:00:00.5", "purchase", "p3", None),
        ("2026-03-04 00:00:00", "purchase", "007", "连衣裙"),
    ]


def test_an_equal_result_is_the_same_file(address: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, again = (hash_raw_files(address, config(), home) for _ in range(2))
    assert first == again
    assert list(first) == ["postgres-query.csv"]
    assert len(list(home.raw.glob("*.csv"))) == 1
    with psycopg.connect(address) as connection:
        connection.execute("INSERT INTO log VALUES (5, 'buy', 'p5', '2026-03-05', '')")
    # The run that has fixed its copy is not asked to read the new row.
    (kept,) = find_inputs(address, config(), home, known=first).files
    assert kept.sha256 == first["postgres-query.csv"]
    assert hash_raw_files(address, config(), home) != first


def test_the_query_can_change_nothing_and_may_end_as_people_end_it(address: str, tmp_path: Path) -> None:
    (file,) = resolve_inputs(address, config(query="SELECT 1 AS n -- a remark\n ; "), Home(tmp_path))
    assert file.path.read_text() == "n\n1\n"
    with pytest.raises(UserError, match=r"query on .* failed") as caught:
        resolve_inputs(address, config(query="DELETE FROM log RETURNING shopper"), Home(tmp_path))
    assert "read-only" in str(caught.value)


@pytest.mark.parametrize(
    ("query", "problem", "found"),
    [
        ("", "There is no query", "source.query"),
        ("SELECT nothing FROM log", "The query on", 'column "nothing" does not exist'),
        ("SELEKT", "The query on", "syntax error"),
    ],
)
def test_a_wrong_query(query: str, problem: str, found: str, address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        resolve_inputs(address, config(query=query), Home(tmp_path))
    assert found in str(caught.value)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_password_is_nowhere_in_clear(
    server: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    home = Home(tmp_path)
    full = f"postgresql://anna:s3cr3t%2Fp%40ss@{server}"
    with caplog.at_level("DEBUG"):
        shown = hide_secrets(full, home)
        assert shown == address
        run_to("source", shown, tmp_path, overrides=SETTINGS)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="can't be read") as caught:
            resolve_inputs(full.replace("anna:", "bert:"), config(), home)
    for text in (str(caught.value), caplog.text):
        assert "s3cr3t" not in text
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.parent != home.secrets:
            assert b"s3cr3t" not in path.read_bytes(), path


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"database postgresql://anna@127\.0\.0\.1:9/shop can't be read") as caught:
        resolve_inputs("postgresql://anna:s3cr3t@127.0.0.1:9/shop", config(), Home(tmp_path))
    assert "PGPASSWORD" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
