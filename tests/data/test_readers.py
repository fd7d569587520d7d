"""Readers: whatever the bytes, the pieces and the blocks, the same records as `read_records` finds line by line."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.config import load_config
from behavior_tasks.data.layout import Layout, read_layout
from behavior_tasks.data.rawfile import open_log
from behavior_tasks.data.readers import read_file
from behavior_tasks.data.records import read_records
from tests.data.stages import real_log

Row = tuple[int, str, tuple[str | None, ...] | None, str | None, str]
NAMES = ("user_id", "action", "product_id")


def layout_of(names: Sequence[str] = NAMES, *, has_header: bool = False) -> Layout:
    return Layout(names=tuple(names), places={name: n for n, name in enumerate(names)}, has_header=has_header)


def slow_rows(path: Path, layout: Layout, *, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    with open_log(path, encoding=encoding, shown=str(path)) as text:
        records = read_records(text, delimiter=delimiter, width=layout.width)
        return [
            (line, shown, tuple(cells[p] or None for p in layout.places.values()) if cells else None, problem, found)
            for line, shown, cells, problem, found in islice(records, int(layout.has_header), None)
        ]


def fast_rows(path: Path, layout: Layout, **options: object) -> list[Row]:
    given = {"delimiter": ",", "encoding": "utf-8", **options}
    rows: list[Row] = []
    for block in read_file(path, layout, **given):  # type: ignore[arg-type]
        held = block.cells.to_pydict()
        assert held["position"] == list(range(block.cells.num_rows))
        texts = block.texts(held["position"])
        cells = list(zip(*(held[f"raw_{name}"] for name in layout.places), strict=True))
        for line, text, row, problem, found in zip(
            held["line"], texts, cells, held["problem"], held["problem_found"], strict=True
        ):
            assert problem is None or set(row) == {None}
            rows.append((line, text, None if problem else row, problem, found or ""))
    return rows


PARTS = [
    b"a",
    b"b c",
    b" ",
    b",",
    b",",
    b",",
    b",",
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r\n",
    b"\r",
    b'"',
    b'"',
    b'""',
    b'","',
]
PARTS += [
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xa9",
    "é".encode(),
    "连".encode(),
    b"\xef\xbb\xbf",
    b"\t",
    b"x,y,z\n",
    b"1,2,3\r\n",
]
PARTS += [b'"q","r ""s""",t\n', b'u,"two\nlines",v\n', b"NULL", b"\\N", b"  \n", b"1,2\n", b"1,2,3,4\n"]
MESS = st.lists(st.sampled_from(PARTS), max_size=60).map(b"".join)


@given(
    mess=MESS,
    piece_bytes=st.sampled_from([1, 2, 3, 5, 7, 11, 20, 50, 1000]),
    block_bytes=st.sampled_from([1, 2, 3, 8, 16, 40, 1000]),
    has_header=st.booleans(),
    delimiter=st.sampled_from([",", ",", ",", "\t", " ", "é", "x"]),
)
@settings(max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@example(mess=b"\xef\xbb\xbf\n1,2,3\n", piece_bytes=1, block_bytes=1, has_header=True, delimiter=",")
@example(mess=b'1,2,"3\n4,5,6\n7,8,9', piece_bytes=7, block_bytes=7, has_header=False, delimiter=",")
@example(mess=b'1,2,"3\n4,5,"\n7,8,9', piece_bytes=7, block_bytes=7, has_header=False, delimiter=",")
@example(mess=b"1,2,3\r\n\r\r\n4,5,6\r7,8,9\r", piece_bytes=1000, block_bytes=6, has_header=False, delimiter=",")
def test_any_bytes_in_any_pieces_are_the_same_records(
    mess: bytes,
    piece_bytes: int,
    block_bytes: int,
    has_header: bool,
    delimiter: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "mess.csv"
    path.write_bytes(mess)
    layout = layout_of(has_header=has_header)
    fast = fast_rows(path, layout, delimiter=delimiter, piece_bytes=piece_bytes, block_bytes=block_bytes)
    assert fast == slow_rows(path, layout, delimiter=delimiter)


REAL = {
    "taobao_userbehavior_100k.csv.gz": "taobao",
    "uci_online_retail.csv.gz": "online_retail",
}


@pytest.mark.parametrize("name", REAL)
def test_real_logs(name: str) -> None:
    path = real_log(name)
    config = load_config(REAL[name]).source
    with open_log(path, encoding="utf-8", shown=name) as text:
        layout = read_layout(next(text).rstrip("\r\n"), config, shown=name)
    assert fast_rows(path, layout) == slow_rows(path, layout)
