"""The search: ids planted in every kind of place are found, and what only looks like one is not."""

import gzip
import io
import json
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import NullPool, create_engine, text

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.privacy.search import Found
from behavior_tasks.pipeline.privacy.search_all import Elsewhere, search_everything
from behavior_tasks.pipeline.privacy.search_words import EMAIL, PSEUDONYM, RAW_ID, SECRET, want
from behavior_tasks.registry import store
from tests.postgres_server import USER, private_postgres

ID, SHORT, MAIL, KEY, NAME = "Kunde-4711x", "17850", "anna.berg@shop.example", "ab" * 32, "0a1b2c3d4e5f60718293"
WORDS = {RAW_ID: [ID, SHORT, "85123", "guest", "7"], EMAIL: [MAIL], SECRET: [KEY], PSEUDONYM: [NAME]}
OTHERWISE = pa.array([b"85123"], pa.large_binary())


def look(root: Path, **elsewhere: object) -> Found:
    wanted = want(WORDS, used_otherwise=OTHERWISE, person_columns=["Karte"])
    return search_everything(Home(root), wanted, Elsewhere(**elsewhere))  # type: ignore[arg-type]


def told(found: Found) -> list[tuple[str, str, int]]:
    return [(hit.column, hit.what, hit.count) for hit in found.hits]


def write(root: Path, name: str, content: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), sink)
    return sink.getvalue()


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return sink.getvalue()


def png(text: bytes) -> bytes:
    content = b"Comment\0\0" + zlib.compress(text)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + b"\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk


def safetensors(about: str) -> bytes:
    header = json.dumps({"__metadata__": {"about": about}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


def sqlite(value: object) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE xcom (key TEXT, value BLOB)")
            connection.execute("INSERT INTO xcom VALUES ('a', ?), ('b', 'nothing')", [value])
        connection.close()

    return make


def zst(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("artifacts/clean/k/events/0000.parquet", parquet(shopper=[ID, ID, "x"]), ("shopper", RAW_ID, 2)),
        ("artifacts/x/k/a.parquet", parquet(shopper=["7", "8"]), ("shopper", RAW_ID, 1)),
        ("artifacts/x/k/a.parquet", parquet(example=[SHORT, "17851"]), ("example", RAW_ID, 1)),
        ("artifacts/x/k/a.parquet", parquet(user_id=["85123"]), ("user_id", RAW_ID, 1)),
        ("artifacts/x/k/a.parquet", parquet(CustomerID=[17850, 7, 8]), ("CustomerID", RAW_ID, 2)),
        ("artifacts/x/k/a.parquet", parquet(Karte=["85123"]), ("Karte", RAW_ID, 1)),
        ("artifacts/x/k/a.parquet", parquet(parts=[["likes", f"said {MAIL}."]]), ("parts", EMAIL, 1)),
        ("artifacts/x/k/a.parquet", parquet(found=["guest", "no"]), ("found", RAW_ID, 1)),
        ("cache/a.parquet", parquet(inner=[{"who": f"of {ID}"}]), ("inner.who", RAW_ID, 1)),
        ("artifacts/x/k/a.csv", f"place,shopper\n1,{SHORT}\n2,{SHORT}\n".encode(), ("shopper", RAW_ID, 2)),
        ("artifacts/x/k/names.npy", npy(np.array([ID, "other"])), ("", RAW_ID, 1)),
        ("artifacts/x/k/names.npz", zipped("a.json", f'"{NAME}"'.encode()), ("", PSEUDONYM, 1)),
        ("artifacts/x/k/model.safetensors", safetensors(ID), ("", RAW_ID, 1)),
        ("artifacts/x/k/plot.png", png(f"made for {MAIL}".encode()), ("", EMAIL, 1)),
        ("runs/r/error.json", json.dumps({"message": f"row of user_id {SHORT} is bad"}).encode(), ("", RAW_ID, 1)),
        ("runs/r/run.json", b'{"shopper": "7", "n": 7}', ("", RAW_ID, 1)),
        ("registry/exports.jsonl", f'{{"id": "{ID}"}}\n'.encode(), ("", RAW_ID, 1)),
        ("airflow/logs/a.log", f"INFO key={KEY.upper()} ok\n".encode(), ("", SECRET, 1)),
        ("services/a.log.gz", gzip.compress(f"hello {ID} {ID}\n".encode()), ("", RAW_ID, 2)),
        ("services/a.log.zst", zst(f"购买{ID}，谢谢\n".encode()), ("", RAW_ID, 1)),
        ("served/page.html", f"<td>{ID.lower()}</td>".encode(), ("", RAW_ID, 1)),
        ("work/state.bin", b"\0\1" + ID.encode() + b"\0", ("", RAW_ID, 1)),
        (f"exports/{ID}.csv", b"a,b\n1,2\n", ("(name)", RAW_ID, 1)),
        ("mlflow/mlflow.db", sqlite(f'{{"user": "{SHORT}"}}'), ("value", RAW_ID, 1)),
        ("airflow/airflow.db", sqlite(zlib.compress(ID.encode())), ("value", RAW_ID, 1)),
        ("tuning/study.db", sqlite(ID), ("value", RAW_ID, 1)),
    ],
    # What is packed holds the second in which it was: workers that collect at different ones must agree on names.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_planted_word_is_found(
    tmp_path: Path, name: str, content: bytes | Callable[[Path], None], expected: tuple[str, str, int]
) -> None:
    path = write(tmp_path, name, content if isinstance(content, bytes) else b"")
    if not isinstance(content, bytes):
        content(path)
    found = look(tmp_path)
    assert told(found) == [expected]
    assert found.hits[0].place.startswith(name)
    assert found.searched[found.hits[0].kind].places == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("artifacts/x/k/a.parquet", parquet(product_id=["85123", "1"], version=["7", "70"], buyers=[17850, 7])),
        ("artifacts/x/k/a.parquet", parquet(query=["Kunde 4711x", "kunde-4711xy", "a 17850 b", "guest room"])),
        ("artifacts/x/k/metrics.json", b'{"rows": 17850, "share": 0.17850, "shopper_count": 12, "user": "other"}'),
        ("artifacts/x/k/tokens.npy", npy(np.array([17850, 7]))),
        ("airflow/logs/a.log", b"user\n7 rows, 17850 events, see guest.py; 17850.0\n"),
        ("served/page.html", f"<img src='data:image/png;base64,AA/{NAME}/AA=='>".encode()),
        ("secrets/identity.key", KEY.encode()),
        ("raw/0123.csv", f"user_id\n{ID}\n".encode()),
    ],
)
def test_what_only_looks_like_an_id_is_not_found(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path, name, content)
    assert told(look(tmp_path)) == []


def test_words_across_chunks_and_many_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from behavior_tasks.pipeline.privacy import search, search_files

    monkeypatch.setattr(search_files, "CHUNK", 50)
    monkeypatch.setattr(search, "COLLECTED", 100)
    write(tmp_path, "services/a.log", (f"some words and {ID}\n" * 40).encode())
    pd.DataFrame({"shopper": [f"id{n:07d}" for n in range(3000)]}).to_parquet(tmp_path / "many.parquet")
    wanted = want({RAW_ID: [ID, *(f"id{n:07d}" for n in range(0, 6000, 2))]})
    found = search_everything(Home(tmp_path), wanted, Elsewhere())
    assert {hit.place: hit.count for hit in found.hits} == {"services/a.log": 40, "many.parquet": 1500}
    write(tmp_path, "cache/a.json", json.dumps([{"customer_id": 17850}] * 30).encode())
    found = search_everything(Home(tmp_path), want({RAW_ID: [SHORT]}), Elsewhere())
    assert {hit.place: hit.count for hit in found.hits} == {"cache/a.json": 30}


def test_a_database_elsewhere_is_read(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.db"
    sqlite(f"note for {MAIL}")(path)
    found = look(tmp_path / "home", metadata=f"sqlite:///{path}")
    assert [(hit.place, *one) for hit, one in zip(found.hits, told(found), strict=True)] == [
        ("Airflow's metadata database: xcom", "value", EMAIL, 1)
    ]


@pytest.mark.slow
def test_a_postgres_database_is_read(tmp_path: Path) -> None:
    with private_postgres("s3cret-word") as host:
        address = f"postgresql+psycopg2://{USER}:s3cret-word@{host}/postgres"
        with create_engine(address.replace("psycopg2", "psycopg"), poolclass=NullPool).begin() as connection:
            connection.execute(text("CREATE TABLE xcom (key varchar, value jsonb, blob bytea, n int)"))
            row = {"v": json.dumps({"who": ID}), "b": zlib.compress(MAIL.encode())}
            connection.execute(text("INSERT INTO xcom VALUES ('k', CAST(:v AS jsonb), :b, 7)"), row)
        found = look(tmp_path / "home", metadata=address)
        assert {(hit.column, hit.what) for hit in found.hits} == {("value", RAW_ID), ("blob", EMAIL)}
        assert found.searched["Airflow's metadata database"].rows == 1
        with pytest.raises(UserError, match="can't be read") as error:
            look(tmp_path / "home", metadata=address.replace("s3cret-word", "wrong-word-1"))
        assert "wrong-word-1" not in str(error.value)


@pytest.mark.slow
def test_an_mlflow_server_is_read_as_far_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    home = Home(tmp_path / "home")
    with store.connect(home) as client:
        experiment = client.create_experiment("shop", artifact_location=(tmp_path / "files").as_uri())
        run = client.create_run(experiment, tags={"note": f"asked by {MAIL}"})
        client.log_param(run.info.run_id, "who", ID)
        client.log_text(run.info.run_id, f"<p>{ID} {ID}</p>", "report.html")
    found = look(home.root, mlflow="http://elsewhere")
    theirs = {(hit.place.rpartition(": ")[2], hit.what, hit.count) for hit in found.hits if "server" in hit.kind}
    assert theirs == {("runs", EMAIL, 1), ("runs", RAW_ID, 1), ("artifacts/report.html", RAW_ID, 2)}
    assert any("interface" in one for one in found.unseen)


def test_deleted_rows_of_a_database_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (b TEXT)")
        connection.executemany("INSERT INTO a VALUES (?)", [["x" * 500]] * 100)
        connection.commit()
        connection.execute("DELETE FROM a")
    connection.close()
    assert any("VACUUM" in one for one in look(tmp_path).unseen)
