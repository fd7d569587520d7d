"""Raw rows as tests compare them: read in blocks and pieces, or one by one by `read_records`."""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow.compute as pc

from behavior_tasks.data.blocks import Block
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.parse import NULL_WORDS, WHITESPACE
from behavior_tasks.data.pieces import BLOCK_BYTES, PIECE_BYTES, PieceEnd, detect, plan_pieces
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.records import read_records

Row = tuple[int, str, tuple[str | None, ...] | None, str | None, str]
"""Line, original text, cells or None, reason or None, what was found."""
NAMES = ("user_id", "action", "product_id")


def layout_of(names: Sequence[str] = NAMES, *, has_header: bool = False) -> Layout:
    return Layout(names=tuple(names), places={name: n for n, name in enumerate(names)}, has_header=has_header)


def open_text(path: Path, *, encoding: str = "utf-8") -> IO[str]:
    """Open a file, plain or gzip, as text with its line ends kept, in the plainest way."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=encoding, errors="surrogateescape", newline="")
    return path.open(encoding=encoding, errors="surrogateescape", newline="")


def add_lines(block: Block, lines: int) -> Block:
    """Return a block with its lines counted from so many lines before."""
    place = block.cells.schema.get_field_index("line")
    return replace(block, cells=block.cells.set_column(place, "line", pc.add(block.cells["line"], lines)))


def slow_rows(path: Path, layout: Layout, *, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    with open_text(path, encoding=encoding) as text:
        records = read_records(text, delimiter=delimiter, width=layout.width)
        return [
            (line, shown, tuple(cells[p] or None for p in layout.places.values()) if cells else None, problem, found)
            for line, shown, cells, problem, found in islice(records, int(layout.has_header), None)
        ]


def fast_rows(
    path: Path,
    layout: Layout,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    piece_bytes: int = PIECE_BYTES,
    block_bytes: int = BLOCK_BYTES,
) -> list[Row]:
    """Read the pieces one after the other, each from where the one before ended."""
    kind, compression = detect(path)
    pieces = plan_pieces(
        path, str(path), format=kind, compression=compression, encoding=encoding, piece_bytes=piece_bytes
    )
    start, lines, blocks = None, 0, []
    for number, whole in enumerate(pieces):
        piece = replace(whole, block_bytes=block_bytes)
        items = read_piece(piece, layout, delimiter=delimiter, encoding=encoding, is_first=number == 0, start=start)
        for item in items:
            if isinstance(item, PieceEnd):
                start, lines = item.next_start, lines + item.lines
            else:
                blocks.append(add_lines(item, lines))
    return rows_of(blocks, layout)


def rows_of_pieces_side_by_side(
    path: Path, layout: Layout, *, delimiter: str = ",", piece_bytes: int, block_bytes: int
) -> list[Row]:
    """Read every piece from its own beginning, then those again that a record of the piece before runs into."""
    kind, compression = detect(path)
    pieces = plan_pieces(
        path, str(path), format=kind, compression=compression, encoding="utf-8", piece_bytes=piece_bytes
    )

    def read(number: int, start: int | None) -> tuple[list[Block], PieceEnd]:
        piece = replace(pieces[number], block_bytes=block_bytes)
        first = number == 0
        *blocks, end = read_piece(piece, layout, delimiter=delimiter, encoding="utf-8", is_first=first, start=start)
        assert isinstance(end, PieceEnd)
        return [block for block in blocks if isinstance(block, Block)], end

    results = [read(number, None) for number in range(len(pieces))]
    lines, start, blocks = 0, results[0][1].start, []
    for number, result in enumerate(results):
        held, end = result if result[1].start == start else read(number, start)
        assert end.start == start
        blocks += [add_lines(block, lines) for block in held]
        lines, start = lines + end.lines, end.next_start
    assert start == path.stat().st_size
    return rows_of(blocks, layout)


def rows_of(blocks: Iterable[Block], layout: Layout) -> list[Row]:
    """Return the rows of blocks, after checking what every block promises."""
    rows: list[Row] = []
    for block in blocks:
        held = block.cells.to_pydict()
        assert held["position"] == list(range(block.cells.num_rows))
        assert block.plain == {f"raw_{name}" for name in layout.places if is_plain(held[f"raw_{name}"])}
        texts = block.texts(held["position"])
        cells = zip(*(held[f"raw_{name}"] for name in layout.places), strict=True)
        columns = (held["line"], texts, cells, held["problem"], held["problem_found"])
        for line, text, row, problem, found in zip(*columns, strict=True):
            assert problem is None or set(row) == {None}
            assert "" not in row
            rows.append((line, text, None if problem else row, problem, found or ""))
    return rows


def is_plain(cells: Sequence[str | None]) -> bool:
    return all(cell is None or (cell == cell.strip(WHITESPACE) and cell.lower() not in NULL_WORDS) for cell in cells)
