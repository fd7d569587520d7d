"""Parquet rows as text cells, so that the same query reads them as those of any other log.

In comes a range of row groups; out come blocks whose cells are the text that an exporter would have written. The one
thing to know: times with a zone are written in UTC with a Z, times without one stay as they are, in the shop's zone.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.base.errors import UserError
from behavior_tasks.data.blocks import Block, make_block, problem_columns
from behavior_tasks.data.bytesource import damage, damaged
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.pieces import Piece, PieceEnd, open_parquet, parquet_schema
from behavior_tasks.data.rawfile import printable
from behavior_tasks.data.records import LONGEST_CELL

BATCH_ROWS = 65_536
WHOLE = r"^-?\d+$"


def read_row_groups(piece: Piece, layout: Layout) -> Iterator[Block | PieceEnd]:
    """Yield the blocks of a range of row groups and, last, their end.

    Raises:
        UserError: when the file is damaged, or has other columns than the layout.
    """
    with open_parquet(piece.path, piece.shown) as file:
        _check_columns(file.schema_arrow.names, layout, piece.shown)
        end = file.metadata.num_row_groups if piece.end is None else piece.end
        groups = range(piece.start, end)
        lines = 0
        for batch in _batches(file, groups, piece.shown):
            yield read_batch(batch, layout, lines_before=lines)
            lines += batch.num_rows
        promised = sum(file.metadata.row_group(n).num_rows for n in groups)
    if lines != promised:
        found = f"{promised:,} rows are promised, {lines:,} lie in row groups {piece.start} to {end - 1}"
        raise damage(piece.shown, "Parquet file", found)
    yield PieceEnd(start=piece.start, next_start=end, lines=lines)


def writes_iso_times(piece: Piece, layout: Layout) -> bool:
    """Whether a piece's timestamps are instants or days by their type, so that their cells are ISO texts."""
    if piece.format != "parquet":
        return False
    kind = parquet_schema(piece.path, piece.shown).field(layout.places["timestamp"]).type
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _check_columns(names: list[str], layout: Layout, shown: str) -> None:
    if [name.strip() for name in names] != [name.strip() for name in layout.names]:
        raise UserError(
            f"{shown} has other columns than expected.",
            found=", ".join(names),
            expected=", ".join(layout.names),
            next_step="check whether the export has changed since the file was first looked at",
        )


def _batches(file: pq.ParquetFile, groups: range, shown: str) -> Iterator[pa.RecordBatch]:
    with damaged(shown, "Parquet file"):
        batches = file.iter_batches(batch_size=BATCH_ROWS, row_groups=list(groups), use_threads=False)
    while True:
        with damaged(shown, "Parquet file"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def read_batch(batch: pa.RecordBatch, layout: Layout, *, lines_before: int = 0) -> Block:
    """Return rows of any types as a block of text cells."""
    problems: dict[int, tuple[str, str]] = {}
    texts = {name: _as_text(batch.column(place), problems) for name, place in layout.places.items()}
    bad = np.zeros(batch.num_rows, np.bool_)
    bad[list(problems)] = True
    columns = {f"raw_{name}": _without(text, bad) for name, text in texts.items()}
    columns |= problem_columns(problems, batch.num_rows)
    lines = np.arange(lines_before + 1, lines_before + 1 + batch.num_rows)
    return make_block(columns, lines, lambda position: _row_text(batch, position))


def _without(text: pa.Array, bad: Any) -> pa.Array:
    """Return a column with nothing in its empty cells and in bad rows."""
    gone = pc.or_(pc.fill_null(pc.equal(text, ""), False), pa.array(bad))
    return pc.if_else(gone, pa.scalar(None, pa.string()), text) if pc.any(gone).as_py() else text


def _as_text(column: pa.Array, problems: dict[int, tuple[str, str]]) -> pa.Array:
    """Write a column as text; note in `problems` which rows hold what can't be a cell."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_nested(kind):
        values = [None if value is None else _compact(value) for value in column.to_pylist()]
        return _checked(pa.array(values, pa.string()), problems)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_floating(kind):
        text = column.cast(pa.string())
        return pc.if_else(pc.match_substring_regex(text, WHOLE), pc.binary_join_element_wise(text, ".0", ""), text)
    if _is_bytes(kind):
        return _checked(_decode(column.cast(pa.binary()), problems), problems)
    return column.cast(pa.string())


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary)
    more = (pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in (*tests, *more))


def _decode(column: pa.Array, problems: dict[int, tuple[str, str]]) -> pa.Array:
    """Read bytes as UTF-8; a text column in a file may lie about its own bytes, so it comes here too."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        values: list[str | None] = []
        for row, value in enumerate(column.to_pylist()):
            text = value.decode("utf-8", "surrogateescape") if value is not None else None
            if text is not None and not text.isascii() and (bad := _first_bad(text)):
                problems.setdefault(row, ("bad_encoding", f"the byte {printable(bad)}"))
                text = None
            values.append(text)
        return pa.array(values, pa.string())


def _first_bad(text: str) -> str:
    return next((character for character in text if "\udc80" <= character <= "\udcff"), "")


def _checked(text: pa.Array, problems: dict[int, tuple[str, str]]) -> pa.Array:
    """Note the rows with a NUL byte or too many characters."""
    for row in np.flatnonzero(pc.fill_null(pc.match_substring(text, "\0"), False).to_numpy(zero_copy_only=False)):
        problems.setdefault(int(row), ("bad_encoding", "a NUL byte"))
    if (pc.max(pc.binary_length(text)).as_py() or 0) > LONGEST_CELL:
        for row in np.flatnonzero(pc.fill_null(pc.utf8_length(text), 0).to_numpy(zero_copy_only=False) > LONGEST_CELL):
            size = len(text[int(row)].as_py())
            problems.setdefault(int(row), ("cell_too_long", f"{size} characters in one cell"))
    return text


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _row_text(batch: pa.RecordBatch, position: int) -> str:
    """Return a row as compact JSON."""
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cell = column[position]
        raw = cell.cast(pa.binary()) if _is_bytes(column.type) else cell
        value = raw.as_py()
        values[name] = _plain(value) if isinstance(value, bytes) else value
    return printable(_compact(values))
