"""Readers of CSV: whatever the bytes, the pieces and the blocks, the same records as `read_records` finds."""

import gzip
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.config import load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.bytesource import LONGEST_LINE, ByteSource
from behavior_tasks.data.layout import Layout, read_layout
from behavior_tasks.data.pieces import Piece, PieceEnd, detect, plan_pieces
from behavior_tasks.data.rawfile import check_file
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.records import LONGEST_CELL
from tests.data.raw_rows import Row, fast_rows, layout_of, open_text, rows_of_pieces_side_by_side, slow_rows
from tests.data.stages import real_log

ORDINARY = [b"a", b"b c", b"1,2,3\r\n", b"x,y,z\n", b",", b",", b",", b"\n", b"\n", b"\r\n"]
QUOTED = [b'"', b'"', b'""', b'","', b'"q","r ""s""",t\n', b'u,"two\nlines",v\n', b"w,'\"',x\n"]
STRANGE = [b"\r", b"\0", b"\xff", b"\xc3", b"\xa9", "é".encode(), "连".encode(), b"\xef\xbb\xbf", b"  \n", b"1,2\n"]
SPACES = [b" ", b"\t", "\u00a0".encode(), "\u3000".encode(), b"NULL", b"nan", b"\\N", b",NaN,none\n", b"n"]
MESS = st.lists(st.sampled_from([*ORDINARY, *ORDINARY, *QUOTED, *STRANGE, *SPACES]), max_size=60).map(b"".join)
ANY_EXAMPLES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@given(
    mess=MESS,
    piece_bytes=st.sampled_from([1, 2, 3, 5, 7, 11, 20, 50, 1000]),
    block_bytes=st.sampled_from([1, 2, 3, 8, 16, 40, 1000]),
    has_header=st.booleans(),
    delimiter=st.sampled_from([",", ",", ",", "\t", " ", "é", "x"]),
)
@settings(ANY_EXAMPLES, max_examples=400)
@example(mess=b"\xef\xbb\xbf\n1,2,3\n", piece_bytes=1, block_bytes=1, has_header=True, delimiter=",")
@example(mess=b"a\0\n\xef\xbb\xbf1,2,3", piece_bytes=50, block_bytes=50, has_header=False, delimiter=",")
@example(mess=b'1,2,"3\n4,5,6\n7,8,9', piece_bytes=7, block_bytes=7, has_header=False, delimiter=",")
@example(mess=b'1,2,"3\n4,5,"\n7,8,9', piece_bytes=7, block_bytes=7, has_header=False, delimiter=",")
@example(mess=b"1,2,3\r\n\r\r\n4,5,6\r7,8,9\r", piece_bytes=1000, block_bytes=6, has_header=False, delimiter=",")
@example(mess=b'a,"b,c\nx,1","2\n', piece_bytes=99, block_bytes=99, has_header=False, delimiter=",")
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
    slow = slow_rows(path, layout, delimiter=delimiter)
    sizes = {"piece_bytes": piece_bytes, "block_bytes": block_bytes}
    assert fast_rows(path, layout, delimiter=delimiter, **sizes) == slow
    assert rows_of_pieces_side_by_side(path, layout, delimiter=delimiter, **sizes) == slow


@given(mess=MESS, chunk=st.integers(1, 9), size=st.integers(1, 30))
@settings(ANY_EXAMPLES, max_examples=200)
@example(mess=b"a\r\nb", chunk=1, size=2)
@example(mess=b"a\r\rb\r", chunk=1, size=2)
def test_lines_are_cut_alike_wherever_reading_pauses(mess: bytes, chunk: int, size: int) -> None:
    lines = list(TextIOWrapper(BytesIO(mess), "utf-8", "surrogateescape", newline=""))

    def source() -> ByteSource:
        stream = BytesIO(mess)
        return ByteSource(lambda most: stream.read(min(most, chunk)), offset=0, errors="surrogateescape")

    ahead = source()
    ahead.hold(size)
    assert list(ahead.lines(0)) == lines
    blocks, whole = [], source()
    while end := whole.cut(size):
        blocks.append(whole.held[:end].decode("utf-8", "surrogateescape"))
        whole.drop(end)
    assert [line for block in blocks for line in block_lines(block)] == lines
    skipped, sizes = source(), []
    while skipped.held or not skipped.ended:
        sizes.append(skipped.skip_line())
    assert sizes[: len(lines)] == [len(line.rstrip("\r\n").encode("utf-8", "surrogateescape")) for line in lines]


def block_lines(block: str) -> list[str]:
    return list(StringIO(block, newline=""))


ENCODINGS = ["gb18030", "cp1252", "utf-16", "utf-8-sig", "ascii", "shift_jis"]


@given(mess=MESS, encoding=st.sampled_from(ENCODINGS), block_bytes=st.sampled_from([1, 7, 40]))
@settings(ANY_EXAMPLES, max_examples=150)
def test_other_encodings_are_the_same_records(
    mess: bytes, encoding: str, block_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "encoded.csv"
    # Of UTF-16, which can't be read past a broken pair, only whole text is written.
    path.write_bytes(mess.decode("utf-8", "replace").encode("utf-16") if encoding == "utf-16" else mess)
    slow = slow_rows(path, layout_of(), encoding=encoding)
    assert fast_rows(path, layout_of(), encoding=encoding, piece_bytes=5, block_bytes=block_bytes) == slow


def real_layout(path: Path, preset: str) -> Layout:
    with open_text(path) as text:
        first = next(text).rstrip("\r\n")
    if preset:
        return read_layout(first, load_config(preset).source, shown=path.name)
    return layout_of(first.split(","), has_header=True)


REAL_LOGS = [
    ("taobao_userbehavior_100k.csv.gz", "taobao", 1 << 20),
    ("retailrocket_sample_events.csv.gz", "", 1 << 20),
    ("rees46_2019_oct_17k.csv.gz", "", 1 << 20),
    ("uci_online_retail.csv.gz", "online_retail", 4 << 20),
]
"""File, preset and the bytes that are read by default."""


def read_three_ways(name: str, preset: str, most: int | None, folder: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the rows of a real log read one by one, in blocks, and in pieces side by side."""
    packed = real_log(name)
    layout = real_layout(packed, preset)
    content = gzip.decompress(packed.read_bytes())[:most]
    plain, cut = folder / "log.csv", folder / "log.csv.gz"
    plain.write_bytes(content)
    cut.write_bytes(gzip.compress(content, 1))
    pieces = rows_of_pieces_side_by_side(plain, layout, piece_bytes=500_000, block_bytes=200_000)
    return slow_rows(plain, layout), fast_rows(cut, layout), pieces


@pytest.mark.parametrize(("name", "preset", "most"), REAL_LOGS)
def test_real_logs(name: str, preset: str, most: int, tmp_path: Path) -> None:
    slow, blocks, pieces = read_three_ways(name, preset, most, tmp_path)
    assert len(slow) > 7000
    assert blocks == slow
    assert pieces == slow


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset", "most"), REAL_LOGS)
def test_every_row_of_the_real_logs(name: str, preset: str, most: int, tmp_path: Path) -> None:
    slow, blocks, pieces = read_three_ways(name, preset, None, tmp_path)
    assert len(slow) > 7000
    assert blocks == slow
    assert pieces == slow


LINES = [b"1,2,3\n", b'"4","5\n5",6\n', b"7,8\n", b"", b"9,10,11"]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_compressed_files_of_many_members_are_read_whole(pack: object, tmp_path: Path) -> None:
    assert callable(pack)
    plain, packed = tmp_path / "plain.csv", tmp_path / "packed"
    plain.write_bytes(b"".join(LINES))
    packed.write_bytes(b"".join(map(pack, LINES)))
    assert detect(packed) == ("csv", "gzip" if pack is gzip.compress else "zstd")
    assert fast_rows(packed, layout_of(), block_bytes=4) == slow_rows(plain, layout_of())
    latin = tmp_path / "latin"
    latin.write_bytes(pack("é,b,c\n".encode("cp1252")))
    assert fast_rows(latin, layout_of(), encoding="cp1252") == [(1, "é,b,c", ("é", "b", "c"), None, "")]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_compressed_file_cut_short_is_one_message(pack: object, encoding: str, tmp_path: Path) -> None:
    assert callable(pack)
    path = tmp_path / "log.csv.packed"
    path.write_bytes(pack(b"".join(b"%d,b,%d\n" % (n, n * 7919 % 10_007) for n in range(20_000)))[:-1000])
    with pytest.raises(UserError, match=r"log\.csv\.packed is damaged") as caught:
        fast_rows(path, layout_of(), encoding=encoding)
    assert "--test" in str(caught.value)


def test_a_record_over_the_cut_belongs_to_the_piece_in_which_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b'a,b,c\n"1\n2\n3",b,c\nd,e,f\n')
    pieces = plan_pieces(path, "log", format="csv", compression="none", encoding="utf-8", piece_bytes=8)
    assert [(p.start, p.end) for p in pieces] == [(0, 8), (8, 16), (16, 24)]
    assert read_end(pieces[0]) == PieceEnd(start=0, next_start=18, lines=4)
    assert read_end(pieces[1]).start == 9
    assert read_end(pieces[1], start=18) == PieceEnd(start=18, next_start=18, lines=0)
    assert read_end(pieces[2], start=18) == PieceEnd(start=18, next_start=24, lines=1)


def read_end(piece: Piece, start: int | None = None) -> PieceEnd:
    *_, end = read_piece(piece, layout_of(), delimiter=",", encoding="utf-8", is_first=piece.start == 0, start=start)
    assert isinstance(end, PieceEnd)
    return end


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("size", [LONGEST_CELL, LONGEST_CELL + 1, 10_000_000])
def test_long_cells(size: int, quoted: bool, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    cell = "é" + "x" * (size - 1)
    path.write_text(
        f'1,2,3\n4,{f"{cell[:-1]}," if not quoted else f""" "{cell}" """.strip()},6\n7,8,9', encoding="utf-8"
    )
    assert fast_rows(path, layout_of(), block_bytes=1000) == slow_rows(path, layout_of())


def test_a_line_too_long_to_be_held_stands_aside_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("wb") as stream:
        stream.write(b'1,2,3\n4,"5\n')
        for _ in range(2 * LONGEST_LINE // 1_000_000 + 1):
            stream.write(b"x" * 1_000_000)
        stream.write(b"\r\n7,8,9\n")
    rows = fast_rows(path, layout_of(), piece_bytes=LONGEST_LINE // 2)
    assert [(line, problem) for line, _, _, problem, _ in rows] == [
        (1, None),
        (2, "broken_quotes"),
        (3, "cell_too_long"),
        (4, None),
    ]
    assert rows[2][4] == "a line of 68,000,000 bytes, more than 33,554,432"
    assert len(rows[2][1]) == LONGEST_CELL


def test_a_file_without_its_outer_quotes_takes_no_longer_than_others(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b'1","2","3\n' * 30_000)
    rows = fast_rows(path, layout_of())
    assert [(line, problem) for line, _, _, problem, _ in rows] == [(n, "broken_quotes") for n in range(1, 30_001)]


def test_a_record_of_many_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    long = "line\n" * 20_000
    path.write_text(f'1,2,"{long}"\n4,"{long}","{long}"\n7,8,9\n', encoding="utf-8")
    rows = fast_rows(path, layout_of(), block_bytes=1000)
    assert [(row[0], row[2]) for row in rows] == [
        (1, ("1", "2", long)),
        (20_002, ("4", long, long)),
        (60_003, ("7", "8", "9")),
    ]


def test_many_wrong_widths_in_one_block(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [("1,2,3", "1,2", "", '"1","2","3","4"', '1,"2",3')[n * 7 % 5] for n in range(50_000)]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert fast_rows(path, layout_of()) == slow_rows(path, layout_of())


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"PK\x03\x04...", "an Excel workbook"), (b"BZh9...", "a bzip2 file"), (b"\xfd7zXZ...", "an xz file")],
)
def test_kinds_that_cannot_be_read(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"my log is .*{problem}"):
        check_file(path, "my log")
