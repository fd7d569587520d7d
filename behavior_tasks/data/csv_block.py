"""CSV, block by block: ordinary lines by Arrow's parser, every other line by `records`, together in file order.

In comes a stream of bytes; out come blocks that hold exactly the records that `records.read_records` finds. The one
thing to know: a line is ordinary when it is a whole record by itself, so only odd lines can take following ones.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from behavior_tasks.data.blocks import Block, Numbers, make_block, text_column
from behavior_tasks.data.bytesource import ByteSource
from behavior_tasks.data.lines import Lines, Mask, odd_lines, split_lines
from behavior_tasks.data.records import Record, read_records

UNFIT_FOR_ARROW = ' "\r\n\0'
"""Delimiters that leave all lines to `records`: a line of spaces, for one, would be blank and a row at once."""
LINE_END_TEXT = re.compile("\r\n?|\n")


@dataclass(frozen=True, kw_only=True)
class CsvShape:
    """What a row of the file looks like."""

    delimiter: str
    width: int
    places: Mapping[str, int]
    """Canonical column → place, from 0."""

    @property
    def is_fast(self) -> bool:
        """Whether Arrow's parser can read such rows exactly."""
        return self.width > 1 and self.delimiter.isascii() and self.delimiter not in UNFIT_FOR_ARROW


@dataclass(kw_only=True)
class _OddRows:
    """Records that were read one by one."""

    numbers: list[int]
    """The line in the block on which each starts."""
    records: list[Record]


def read_csv_block(source: ByteSource, size: int, shape: CsvShape, *, lines_before: int) -> tuple[Block, int, int]:
    """Read the records that start in the first `size` held bytes, which are whole lines.

    Returns:
        the block, how many bytes its records take (more than `size` when the last one runs on), and how many lines.
    """
    lines = split_lines(source.held[:size])
    delimiter = shape.delimiter.encode()
    odd = odd_lines(lines, delimiter) if shape.is_fast else np.ones(len(lines), np.bool_)
    odd &= lines.ends > lines.starts
    rows, reach = _read_odd(source, lines, odd, shape)
    fast, numbers, wrong = _read_ordinary(lines, odd, shape)
    for number in wrong:
        _read_one(source, lines, number, shape, rows)
    block = _merge(lines, fast, numbers, rows, shape=shape, lines_before=lines_before)
    beyond = max(reach - len(lines), 0)
    return block, source.end_of_lines(size, beyond), len(lines) + beyond


def _read_odd(source: ByteSource, lines: Lines, odd: Mask, shape: CsvShape) -> tuple[_OddRows, int]:
    """Read the odd lines, mark as odd what they take, and return the line after the last one taken."""
    rows, reach = _OddRows(numbers=[], records=[]), 0
    for number in np.flatnonzero(odd).tolist():
        if number >= reach:
            reach = number + _read_one(source, lines, number, shape, rows)
            odd[number:reach] = True
    return rows, reach


def _read_one(source: ByteSource, lines: Lines, number: int, shape: CsvShape, rows: _OddRows) -> int:
    """Read the record that starts on a line, unless the line is blank; return how many lines it takes."""
    if not lines.content(number).strip(b" "):
        return 1
    # A blank line before keeps `read_records` from taking this line for the first of the file.
    following = chain(("\n",), source.lines(int(lines.starts[number])))
    record = next(read_records(following, delimiter=shape.delimiter, width=shape.width))
    rows.numbers.append(number)
    rows.records.append(record)
    return 1 + len(LINE_END_TEXT.findall(record[1]))


def _read_ordinary(lines: Lines, odd: Mask, shape: CsvShape) -> tuple[pa.Table, Numbers, list[int]]:
    """Read all lines that are not odd.

    Returns:
        the cells, the line of each row, and the lines that have too many or too few cells.
    """
    ordinary = np.flatnonzero(~odd & (lines.ends > lines.starts))
    wrong: list[int] = []

    def note(row: Any) -> str:
        wrong.append(row.number - 1)
        return "skip"

    names = [str(place) for place in range(shape.width)]
    wanted = sorted({str(place) for place in shape.places.values()})
    if not len(ordinary):
        return pa.table({name: pa.array([], pa.string()) for name in wanted}), ordinary, []
    data = _without(lines, odd)
    if data.startswith(codecs.BOM_UTF8):
        # Arrow drops one mark, which only the first line of a file may lose.
        data = codecs.BOM_UTF8 + data
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
        parse_options=pa.csv.ParseOptions(
            delimiter=shape.delimiter,
            quote_char='"' if b'"' in data else False,
            newlines_in_values=False,
            invalid_row_handler=note,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            strings_can_be_null=True,
            null_values=[""],
            check_utf8=False,
        ),
    )
    numbers = np.delete(ordinary, wrong)
    assert len(numbers) == table.num_rows, f"{len(ordinary)} lines gave {table.num_rows} rows and {len(wrong)} others"
    return table, numbers, ordinary[wrong].tolist()


def _without(lines: Lines, odd: Mask) -> bytes:
    """Return the bytes of the block without its odd lines."""
    if not odd.any():
        return lines.data
    edges = np.flatnonzero(np.diff(odd, prepend=True, append=True))
    starts = np.append(lines.starts, len(lines.data))[edges].tolist()
    view = memoryview(lines.data)
    return b"".join(view[start:end] for start, end in zip(starts[::2], starts[1::2], strict=True))


def _merge(
    lines: Lines, fast: pa.Table, numbers: Numbers, rows: _OddRows, *, shape: CsvShape, lines_before: int
) -> Block:
    """Bring both kinds of rows into one block, in file order."""
    columns = {f"raw_{name}": _whole(fast[str(place)]) for name, place in shape.places.items()}
    problems = {name: pa.nulls(len(numbers), pa.string()) for name in ("problem", "problem_found")}
    texts: dict[int, str] = {}
    if rows.numbers:
        odd = {
            f"raw_{name}": text_column([record[2][place] if record[2] else None for record in rows.records])
            for name, place in shape.places.items()
        }
        odd["problem"] = pa.array([record[3] for record in rows.records], pa.string())
        odd["problem_found"] = text_column([record[4] for record in rows.records])
        numbers = np.concatenate([numbers, np.array(rows.numbers, np.int64)])
        order = np.argsort(numbers, kind="stable")
        columns, problems = (
            {name: pa.concat_arrays([column, odd[name]]).take(pa.array(order)) for name, column in some.items()}
            for some in (columns, problems)
        )
        numbers = numbers[order]
        texts = dict(zip(rows.numbers, (record[1] for record in rows.records), strict=True))

    def text_of(position: int) -> str:
        number = int(numbers[position])
        return texts[number] if number in texts else lines.content(number).decode("utf-8")

    return make_block({**problems, **columns}, numbers + (lines_before + 1), text_of)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], pa.string()), *column.chunks])
