"""Readers of Parquet and of JSON lines: the same cells as CSV gives, and one message for a damaged file."""

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import connect
from behavior_tasks.data.json_block import object_keys
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.pieces import detect, parquet_schema, plan_pieces
from behavior_tasks.data.records import LONGEST_CELL
from tests.data.raw_rows import Row, fast_rows, layout_of, rows_of_pieces_side_by_side

EXAMPLES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def write_parquet(path: Path, columns: dict[str, object], row_group_size: int = 10) -> Layout:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    assert detect(path) == ("parquet", "none")
    return layout_of(parquet_schema(path, path.name).names)


def cells(rows: Sequence[Row]) -> list[tuple[str | None, ...] | None]:
    return [row[2] for row in rows]


TABLE: dict[str, list[object]] = {
    "user": ["007", " u 2 ", "连", 'a "b"', None],
    "count": [1, -2, 9_007_199_254_740_993, None, 0],
    "price": [1.5, 17850.0, None, 0.1, 1234567.25],
    "gift": [True, False, None, True, False],
    "note": ["two\nlines", "", "NULL", "a,b", "\\N"],
}


def test_one_table_in_all_formats_gives_the_same_cells(tmp_path: Path) -> None:
    rows = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
    paths = [tmp_path / name for name in ("t.csv", "t.parquet", "t.jsonl", "u.jsonl.gz")]
    with paths[0].open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        plain = {True: "true", False: "false"}
        writer.writerows(
            [list(TABLE), *([plain.get(v, v) if isinstance(v, bool) else v for v in r.values()] for r in rows)]
        )
    layout = write_parquet(paths[1], dict(TABLE), row_group_size=2)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    paths[2].write_text(lines, encoding="utf-8")
    paths[3].write_bytes(gzip.compress(lines.encode()))
    assert layout.names == tuple(TABLE)
    layouts = [layout_of(list(TABLE), has_header=True), layout, layout, layout]
    found = [cells(fast_rows(path, layout)) for path, layout in zip(paths, layouts, strict=True)]
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][1] == (" u 2 ", "-2", "17850.0", "false", None)


def test_parquet_values_are_written_as_an_exporter_would(tmp_path: Path) -> None:
    noon = datetime(2026, 3, 1, 12, 0, 0, 250_000)
    layout = write_parquet(
        path := tmp_path / "log.parquet",
        {
            "zoned": pa.array([noon], pa.timestamp("ms", "Asia/Shanghai")),
            "naive": pa.array([noon], pa.timestamp("us")),
            "day": [date(2026, 3, 1)],
            "paid": [Decimal("12.30")],
            "float": pa.array([1.1], pa.float32()),
            "large": [1e20],
            "nan": [float("nan")],
            "bytes": ["连".encode()],
            "word": pa.array(["b"]).dictionary_encode(),
            "list": [[1, None]],
            "object": [{"a": "连", "b": b"x"}],
            "nothing": pa.nulls(1),
        },
    )
    (row,) = fast_rows(path, layout)
    assert row[2] == (
        "2026-03-01 12:00:00.250Z",
        "2026-03-01 12:00:00.250000",
        "2026-03-01",
        "12.30",
        "1.1",
        "1e+20",
        "nan",
        "连",
        "b",
        "[1,null]",
        '{"a":"连","b":"x"}',
        None,
    )
    assert list(json.loads(row[1])) == list(layout.names)
    assert '"list":[1,null]' in row[1]
    times = (
        connect()
        .execute("SET TimeZone = 'UTC'")
        .execute(
            "SELECT timezone('UTC', try_cast(? AS TIMESTAMPTZ)), timezone('UTC', try_cast(? AS TIMESTAMPTZ))",
            row[2][:2],
        )
    )
    assert times.fetchall() == [(noon, noon)]


def test_parquet_pieces_are_row_groups_and_count_their_rows(tmp_path: Path) -> None:
    layout = write_parquet(path := tmp_path / "log", {"n": list(range(95)), "text": ["x" * 100] * 95})
    pieces = plan_pieces(path, "log", format="parquet", compression="none", encoding="utf-8", piece_bytes=400)
    assert len(pieces) > 3
    assert [p.start for p in pieces[1:]] == [p.end for p in pieces[:-1]]
    rows = fast_rows(path, layout, piece_bytes=400)
    assert [(line, row[0] if row else None) for line, _, row, _, _ in rows] == [(n + 1, str(n)) for n in range(95)]
    assert fast_rows(path, layout) == rows


def test_parquet_texts_that_cannot_be_cells_stand_aside(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe", b"ok"]).buffers())
    long = pa.array(["a\0b", "é" * LONGEST_CELL])
    longer = pa.array(["x", "x" * (LONGEST_CELL + 1)])
    layout = write_parquet(path := tmp_path / "log.parquet", {"a": broken, "b": long})
    rows = fast_rows(path, layout)
    assert [row[2:] for row in rows] == [
        (None, "bad_encoding", r"the byte \xff"),
        (("ok", "é" * LONGEST_CELL), None, ""),
    ]
    assert json.loads(rows[0][1]) == {"a": r"\xff\xfe", "b": "a\0b"}
    layout = write_parquet(path, {"a": ["a\0b", "c"], "b": longer})
    assert [row[3:] for row in fast_rows(path, layout)] == [
        ("bad_encoding", "a NUL byte"),
        ("cell_too_long", f"{LONGEST_CELL + 1} characters in one cell"),
    ]


def test_a_parquet_file_with_any_byte_damaged_is_one_message_or_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    layout = write_parquet(path, {"a": ["x", "yy"] * 20, "b": list(range(40))}, row_group_size=20)
    content = path.read_bytes()
    messages = 0
    for place in range(4, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        message = ""
        try:
            assert len(fast_rows(path, layout)) == 40
        except UserError as error:
            message = str(error)
        assert not message or "damaged.parquet" in message
        messages += bool(message)
    assert messages > 100
    # The number of rows in a row group, and the field after it.
    rows, field = b"\x16\x28", b"\x26"
    assert content.count(rows + field) == 2
    for broken in (content[:-100], content.replace(rows + field, b"\x16\x00" + field, 1)):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"damaged\.parquet is damaged"):
            fast_rows(path, layout)


def test_parquet_checksums_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    table = pa.table({"a": ["first", "second"]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"second", b"sekond"))
    with pytest.raises(UserError, match=r"log\.parquet is damaged"):
        fast_rows(path, layout_of(["a"]))


def test_parquet_with_other_columns_than_the_layout(tmp_path: Path) -> None:
    write_parquet(path := tmp_path / "log.parquet", {"a": [1], "c": [2]})
    with pytest.raises(UserError, match="other columns than expected"):
        fast_rows(path, layout_of(["a", "b"]))


JSON_PARTS = ['{"a": 1}', '{"b": "x", "a": null}', '{"a": [1, {"b": 2.50}]}', '{"a": true, "b": ""}', "{", "}", '"a":']
JSON_PARTS += [
    "[1]",
    "null",
    ",",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    '{"a": "\\u0000"}',
    '{"a": "\\ud83d"}',
    "\ufeff",
]
JSON_PARTS += [
    '{"a": "\\ud83d\\ude00"}',
    '{"a": 1.10, "b": NaN}',
    '{"a": "连"}',
    "\0",
    "\udcff",
    '{"a": [1',
    "2]}",
    '{"a": 1},{"b": 2}',
]
JSON_PARTS += ["314159265358979323846264338327950288", "," + "314159265358979323846264338327950288" + ","]


@given(
    parts=st.lists(st.sampled_from(JSON_PARTS), max_size=30),
    piece_bytes=st.sampled_from([1, 5, 20, 1000]),
    block_bytes=st.sampled_from([1, 8, 40, 1000]),
)
@settings(EXAMPLES, max_examples=400)
@example(parts=['{"a": [1', "\n", "2,3", "\n", "4]},5,{},6,{}"], piece_bytes=99, block_bytes=99)
@example(parts=['{"a": [1', "\n", "2]}", "\n", '{"a": 1},{"b": 2}'], piece_bytes=99, block_bytes=99)
def test_any_lines_of_json(
    parts: list[str], piece_bytes: int, block_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "mess.jsonl"
    path.write_bytes("".join(['{"a": 0}\n', *parts]).encode("utf-8", "surrogateescape"))
    layout = layout_of(["a", "b"])
    rows = fast_rows(path, layout, piece_bytes=piece_bytes, block_bytes=block_bytes)
    assert [row[:4] for row in rows] == simple_rows(path)
    assert rows_of_pieces_side_by_side(path, layout, piece_bytes=piece_bytes, block_bytes=block_bytes) == rows


def simple_rows(path: Path) -> list[tuple[int, str, tuple[str | None, ...] | None, str | None]]:
    """Read a file of JSON lines in the plainest way."""
    rows: list[tuple[int, str, tuple[str | None, ...] | None, str | None]] = []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.rstrip("\r\n")
            if not text.strip(" \t"):
                continue
            shown = text.replace("\udcff", r"\xff").replace("\0", r"\x00")
            item = simple_object(text)
            problem: str | None = "broken_json" if item is None else None
            found = tuple(map(simple_cell, (item.get("a"), item.get("b")))) if item is not None else None
            if "\udcff" in text or "\0" in text or "\0" in repr_of(found) or "\ud83d" in repr_of(found):
                problem = "bad_encoding"
            rows.append((number, shown, None if problem else found, problem))
    return rows


def repr_of(found: tuple[str | None, ...] | None) -> str:
    return "".join(cell or "" for cell in found or ())


def simple_object(text: str) -> dict[str, object] | None:
    try:
        item = json.loads(text, parse_float=Decimal)
    except ValueError:
        return None
    return item if isinstance(item, dict) else None


def simple_cell(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return (
            '[1,{"b":2.5}]'
            if len(value) == 2 and isinstance(value[1], dict)
            else json.dumps(value, separators=(",", ":"))
        )
    return None if value is None or value == "" else {"nan": "NaN"}.get(str(value), str(value))


def test_the_keys_of_all_objects_are_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_bytes(b'\xef\xbb\xbf{"b": 1}\n\nbroken\n{"a": 2, "b": 3}\n')
    with path.open(encoding="utf-8") as stream:
        keys = object_keys(stream.readlines(), shown=path.name)
    assert keys == ("b", "a")
    assert cells(fast_rows(path, layout_of(keys))) == [("1", None), None, ("3", "2")]
    with pytest.raises(UserError, match=r"No line of log\.ndjson is a JSON object"):
        object_keys(["a,b\n", "1,2\n"], shown=path.name)


def test_kinds_are_told_by_bytes_before_endings(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    assert detect(path) == ("jsonl", "none")
    path.write_bytes(b"{a},b\n1,2\n")
    assert detect(path) == ("csv", "none")
    array = tmp_path / "log.json"
    array.write_bytes(b'[\n{"a": 1}]')
    with pytest.raises(UserError, match="one JSON array"):
        detect(array)
    array.write_bytes(b'{"a": 1}')
    assert detect(array) == ("jsonl", "none")
    no_parquet = tmp_path / "log.parquet"
    no_parquet.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UserError, match=r"The Parquet file .* is damaged"):
        detect(no_parquet)


def test_a_stated_kind_wins_between_texts_and_must_fit_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert detect(path, stated="csv") == ("csv", "gzip")
    assert detect(path, stated="jsonl") == ("jsonl", "gzip")
    with pytest.raises(UserError, match=r"log\.parquet doesn't have the format") as caught:
        detect(path, stated="parquet")
    assert caught.value.found == "no Parquet file"
    write_parquet(path, {"a": [1]})
    assert detect(path, stated="parquet") == ("parquet", "none")
    for stated in ("csv", "jsonl"):
        with pytest.raises(UserError, match=r"log\.parquet doesn't have the format") as caught:
            detect(path, stated=stated)  # type: ignore[arg-type]
        assert caught.value.found == "a Parquet file"
