"""Side tables: they fill what events lack, and never tell an event what was known only later."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.tables import connect
from behavior_tasks.data.side_tables import (
    LoadedTable,
    check_side_tables,
    fill_sql,
    load_side_tables,
    register_side_tables,
    side_files,
)
from behavior_tasks.data.sources import hash_raw_files

COLUMNS = tuple(c.name for c in EVENT_COLUMNS)
LOG = "log.csv"


def settings(**source: object) -> Config:
    return load_config(overrides={f"source.{key}": value for key, value in source.items()})


def load(tmp_path: Path, config: Config) -> dict[str, LoadedTable]:
    (tmp_path / LOG).write_text("user_id,action,product_id,timestamp\n", encoding="utf-8")
    files = side_files(str(tmp_path / LOG), config, Home(tmp_path / "home"))
    return load_side_tables(files, config.source)


def filled(tables: dict[str, LoadedTable], rows: list[dict[str, object]], columns: str) -> list[tuple[object, ...]]:
    """Fill events and return some of their columns, in the order of the events' times."""
    with connect() as connection:
        fields = ", ".join(f"{c.name} {c.type}" for c in EVENT_COLUMNS)
        connection.execute(f"CREATE TABLE log ({fields})")
        for row in rows:
            connection.execute(
                f"INSERT INTO log ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
        register_side_tables(connection, tables)
        query = fill_sql("log", COLUMNS, tables)
        assert [d[0] for d in connection.execute(query).description or ()] == list(COLUMNS)
        return connection.execute(f"SELECT {columns} FROM ({query}) ORDER BY timestamp").fetchall()


def event(day: int, **more: object) -> dict[str, object]:
    return {"user_id": "u1", "action": "browse", "product_id": "p1", "timestamp": f"2026-03-{day:02d}", **more}


def test_an_event_keeps_what_it_has_and_gets_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("id,years,sex\nu1,33,F\nu2,44,m\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text("product_id,category,brand,price\np1,toys,Acme,2.5\n", encoding="utf-8")
    config = settings(
        users={"path": "users.csv", "columns": {"user_id": "id", "age": "years", "gender": "sex"}},
        products={"path": "products.csv"},
        gender_codes={"f": "female", "m": "male"},
    )
    tables = load(tmp_path, config)
    rows = [event(1), event(2, price=9.0, age=50), event(3, user_id="u2"), event(4, user_id="u3", product_id="p2")]
    assert filled(tables, rows, "age, gender, category, brand, price") == [
        (33, "female", "toys", "Acme", 2.5),
        (50, "female", "toys", "Acme", 9.0),
        (44, "male", "toys", "Acme", 2.5),
        (None, None, None, None, None),
    ]


def test_a_later_price_reaches_no_earlier_event(tmp_path: Path) -> None:
    dated = "product_id,price,brand,since\np1,3,,2026-03-10\np1,2,Acme,2026-03-05\np2,7,Bolt,2026-03-01\n"
    (tmp_path / "products.csv").write_text(dated, encoding="utf-8")
    table = {"path": "products.csv", "columns": {"valid_from": "since"}}
    tables = load(tmp_path, settings(products=table))
    rows = [event(day) for day in (4, 5, 9, 10, 28)]
    assert filled(tables, rows, "price, brand") == [
        (None, None),
        (2.0, "Acme"),
        (2.0, "Acme"),
        (3.0, "Acme"),
        (3.0, "Acme"),
    ]
    assert check_side_tables(
        side_files(str(tmp_path / LOG), settings(products=table), Home(tmp_path / "home")),
        settings(products=table).source,
    )["products"]["dated"]


def test_valid_from_is_read_in_the_shops_zone(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,price,valid_from\np1,2,2026-03-05 00:00:00\n", encoding="utf-8")
    tables = load(tmp_path, settings(products={"path": "products.csv"}, timezone="Asia/Shanghai"))
    rows = [event(4, timestamp="2026-03-04 15:59:59"), event(4, timestamp="2026-03-04 16:00:00")]
    assert filled(tables, rows, "price") == [(None,), (2.0,)]


def test_rows_that_cannot_be_used_are_counted_and_their_order_plays_no_part(tmp_path: Path) -> None:
    rows = ["u1,33", "u1,33", "u2,20", "u2,21", ",5", "u3,200", "u4,abc", "u5,", *(f"v{n},40" for n in range(40))]
    hashes = []
    for seed in (0, 1):
        random.Random(seed).shuffle(rows)
        (tmp_path / "users.csv").write_text("\n".join(["user_id,age", *rows]), encoding="utf-8")
        users = load(tmp_path, settings(users={"path": "users.csv"}))["users"]
        hashes.append(users.rows.to_pylist())
    assert hashes[0] == hashes[1]
    counted = {"rows": 48, "missing_key": 1, "odd_age": 2, "repeated": 2, "disagreeing": 1, "kept": 45, "keys": 45}
    assert users.facts == {**counted, "dated": False}
    held = {row["user_id"]: row["age"] for row in users.rows.to_pylist()}
    assert (held["u1"], held["u2"], held["u3"]) == (33, None, None)


def test_too_many_ids_that_disagree_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,age\nanna,1\nanna,2\nbert,3\n", encoding="utf-8")
    with pytest.raises(UserError, match="1 of 2 ids have rows that disagree") as caught:
        load(tmp_path, settings(users={"path": "users.csv"}))
    assert "valid_from" in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv.gz", "csv", "jsonl.zst"])
def test_other_formats(kind: str, tmp_path: Path) -> None:
    rows = [{"user_id": 17850, "age": 30}, {"user_id": 5, "age": None}]
    path = tmp_path / f"users.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "jsonl.zst":
        path.write_bytes(pa.compress("\n".join(map(json.dumps, rows)).encode(), codec="zstd", asbytes=True))
    else:
        # Compressed whatever its name says: the bytes tell.
        path.write_bytes(gzip.compress(b"user_id,age\n17850.0,30\n5,\n"))
    tables = load(tmp_path, settings(users={"path": path.name}))
    assert filled(tables, [event(1, user_id="17850"), event(2, user_id="5")], "age") == [(30,), (None,)]


def test_other_delimiter_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_bytes("product_id;product_name\np1;Café\n".encode("latin-1"))
    table = {"path": "products.csv", "delimiter": ";", "encoding": "latin-1"}
    assert filled(load(tmp_path, settings(products=table)), [event(1)], "product_name") == [("Café",)]


def test_the_tables_are_part_of_the_key_and_no_part_of_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / LOG).write_text("user_id,action,product_id,timestamp\nu1,buy,p1,1700000000\n", encoding="utf-8")
    (folder / "more.csv").write_text("user_id,action,product_id,timestamp\nu2,buy,p1,1700000000\n", encoding="utf-8")
    users = folder / "users.csv"
    users.write_text("user_id,age\nu1,33\n", encoding="utf-8")
    config, home = settings(users={"path": "users.csv"}), Home(tmp_path / "home")
    before = hash_raw_files(folder, config, home)
    assert set(before) == {LOG, "more.csv", "users: users.csv"}
    users.write_text("user_id,age\nu1,34\n", encoding="utf-8")
    after = hash_raw_files(folder, config, home)
    assert {name for name in before if before[name] != after[name]} == {"users: users.csv"}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"path": "nowhere.csv"}, "There is no file nowhere.csv"),
        ({"path": "users.csv", "columns": {"age": "years"}}, r"lacks years \(the age\)"),
        ({"path": "users.csv", "columns": {"user_id": "uid"}}, r"lacks uid \(the user_id\)"),
        ({"path": "empty.csv"}, "is empty"),
        ({"path": "ids.csv"}, "lacks anything but its ids"),
        ({"path": "dated.csv"}, "has no usable row"),
    ],
)
def test_mistakes(table: dict[str, object], problem: str, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,age\nu1,33\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    (tmp_path / "ids.csv").write_text("user_id,shoe\nu1,3\n", encoding="utf-8")
    (tmp_path / "dated.csv").write_text("user_id,age,valid_from\nu1,3,soon\n", encoding="utf-8")
    with pytest.raises(UserError, match=problem) as caught:
        load(tmp_path, settings(users=table))
    assert caught.value.next_step
