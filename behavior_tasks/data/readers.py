"""Readers: any piece of a log becomes blocks of raw text cells with lines, problems and original texts.

In comes a `Piece` with the layout of its file; out come its blocks and, last, a `PieceEnd`. The one thing to know: a
piece counts its lines from its own beginning, so whoever reads several adds the lines of those before.
"""

import codecs
from collections.abc import Callable, Generator, Iterator

from behavior_tasks.data.blocks import Block, problem_block, without_first
from behavior_tasks.data.bytesource import LONGEST_LINE, ByteSource, open_source
from behavior_tasks.data.csv_block import CsvShape, read_csv_block
from behavior_tasks.data.json_block import read_json_block
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.parquet_rows import read_row_groups
from behavior_tasks.data.pieces import Piece, PieceEnd, line_start_after, nominal_start
from behavior_tasks.data.rawfile import printable
from behavior_tasks.data.records import LONGEST_CELL

Parse = Callable[[ByteSource, int, int], tuple[Block, int, int]]
"""Reads the records of so many held bytes, told how many lines came before; see `read_csv_block`."""


def read_piece(
    piece: Piece, layout: Layout, *, delimiter: str, encoding: str, is_first: bool, start: int | None = None
) -> Iterator[Block | PieceEnd]:
    """Yield the blocks of a piece and, last, where its reading began and ended.

    Args:
        is_first: whether this is the file's first piece, which has the header; it is read up to and including that.
        start: where the last record of the piece before ended, when that is not `nominal_start(piece)`.

    Raises:
        UserError: when the file as a whole can't be read.
    """
    if piece.format == "parquet":
        yield from read_row_groups(piece, layout)
        return
    begin = nominal_start(piece) if start is None else start
    with open_source(piece.path, piece.compression, encoding=encoding, shown=piece.shown, start=begin) as source:
        if piece.end is not None:
            source.stop = max(line_start_after(piece.path, piece.end), begin)
        if is_first:
            source.skip(codecs.BOM_UTF8)
        has_header = is_first and layout.has_header and piece.format == "csv"
        parse = _parser(piece, layout, delimiter)
        lines = yield from _blocks(source, parse, layout, piece.block_bytes, has_header)
        yield PieceEnd(start=begin, next_start=source.offset, lines=lines)


def _parser(piece: Piece, layout: Layout, delimiter: str) -> Parse:
    if piece.format == "csv":
        shape = CsvShape(delimiter=delimiter, width=layout.width, places=layout.places)
        return lambda source, size, lines: read_csv_block(source, size, shape, lines_before=lines)
    keys = {name: layout.names[place] for name, place in layout.places.items()}
    return lambda source, size, lines: read_json_block(source, size, keys, lines_before=lines)


def _blocks(
    source: ByteSource, parse: Parse, layout: Layout, block_bytes: int, has_header: bool
) -> Generator[Block, None, int]:
    """Yield every block that has records, without the header's; return the number of lines."""
    lines = 0
    while True:
        if source.at_stop and has_header:
            source.stop_after_next_line()
        if source.at_stop:
            return lines
        if size := source.cut(block_bytes):
            block, used, more = parse(source, size, lines)
            source.drop(used)
            lines += more
        elif source.held:
            lines += 1
            block = _giant_line(source, layout, line=lines)
        else:
            return lines
        if has_header and block.cells.num_rows:
            block, has_header = without_first(block), False
        if block.cells.num_rows:
            yield block


def _giant_line(source: ByteSource, layout: Layout, *, line: int) -> Block:
    """Set aside a line that is too long to be held; of its text only as much is kept as a cell may have."""
    beginning = source.held[: 4 * LONGEST_CELL].decode("utf-8", source.errors)[:LONGEST_CELL]
    size = source.skip_line()
    found = f"a line of {size:,} bytes, more than {LONGEST_LINE:,}"
    return problem_block(layout.places, line=line, problem=("cell_too_long", found), text=printable(beginning))
