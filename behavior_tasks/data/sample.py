"""A sample of a log that nobody has described yet: its encoding, delimiter, header, and first rows as text.

In comes a file of any known format; out come the names of its columns and up to `SAMPLE_ROWS` rows of text cells. The
one thing to know: nothing is assumed of the settings, everything is told from the bytes, each with its reason.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from behavior_tasks.base.errors import UserError
from behavior_tasks.data.blocks import Block
from behavior_tasks.data.bytesource import ByteSource
from behavior_tasks.data.formats import Head, read_head
from behavior_tasks.data.headscan import text_lines
from behavior_tasks.data.json_block import object_keys, read_json_block
from behavior_tasks.data.layout import DELIMITERS, Layout
from behavior_tasks.data.parquet_rows import read_row_groups
from behavior_tasks.data.pieces import Format, Piece, parquet_schema
from behavior_tasks.data.rawfile import BYTE_ORDER_MARK, SURROGATE, is_blank, likely_encoding

SAMPLE_BYTES = 8 << 20
SAMPLE_ROWS = 50_000
TRIED_LINES = 200
VALUE = re.compile(r"[-+]?[\d.,:/ TZ+-]*\d[\d.,:/ TZ+-]*(UTC)?")
"""A cell that is a number or a time, and so no column's name."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the start of a file holds."""

    format: Format
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    has_header: bool
    delimiter: str
    encoding: str
    complete: bool
    """Whether the rows are all there are."""
    skipped: int
    """Rows of another width, which are in no column."""
    reasons: tuple[tuple[str, str, str], ...]
    """(setting, value, why) of what was told from the bytes."""

    def column(self, place: int) -> list[str]:
        """The trimmed cells of a column that are not empty."""
        return [cell for row in self.rows if (cell := row[place].strip())]


def read_sample(path: Path, *, shown: str) -> Sample:
    """Read the start of a file.

    Args:
        shown: the file's name for messages.

    Raises:
        UserError: when it is damaged, or holds no table.
    """
    head = read_head(path, shown=shown, most=SAMPLE_BYTES)
    if head.format == "parquet":
        return _parquet(path, shown)
    encoding, why = _encoding(head)
    lines = [line for line in text_lines(head, encoding=encoding, shown=shown) if not is_blank(line)]
    if not lines:
        raise UserError(f"{shown} holds no line of text.", next_step="check the export that wrote it")
    lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
    reasons = [("encoding", encoding, why)]
    if head.format == "jsonl":
        return _json_lines(lines, encoding, head, reasons, shown)
    delimiter, why = _delimiter(lines[:TRIED_LINES], shown)
    reasons.append(("delimiter", delimiter, why))
    records = list(_records(lines, delimiter))
    first = [cell.strip() for cell in records[0]]
    has_header, why = _header(first)
    reasons.append(("header", "a header line" if has_header else "none", why))
    names = tuple(first) if has_header else tuple(f"column_{n + 1}" for n in range(len(first)))
    body = records[1:] if has_header else records
    rows = [tuple(record) for record in body[:SAMPLE_ROWS] if len(record) == len(names)]
    return Sample(
        format="csv",
        names=names,
        rows=tuple(rows),
        has_header=has_header,
        delimiter=delimiter,
        encoding=encoding,
        complete=head.complete and len(body) <= SAMPLE_ROWS,
        skipped=min(len(body), SAMPLE_ROWS) - len(rows),
        reasons=tuple(reasons),
    )


def _encoding(head: Head) -> tuple[str, str]:
    if head.content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", "it starts with the mark of UTF-16"
    lines = [line for line in head.content.splitlines() if not line.isascii()]
    if not lines:
        return "utf-8", "all characters looked at are ASCII"
    # The head may end within a character.
    whole = lines if head.complete else lines[:-1]
    bad = [line for line in whole if SURROGATE.search(line.decode("utf-8", "surrogateescape"))]
    if 2 * len(bad) < max(len(whole), 1):
        return "utf-8", f"{len(whole) - len(bad):,} of {len(whole):,} lines beyond ASCII are valid UTF-8"
    likely = likely_encoding(bad, "utf-8") or "latin-1"
    return likely, f"{len(bad):,} lines are no UTF-8, and all of them are valid {likely}"


def _delimiter(lines: Sequence[str], shown: str) -> tuple[str, str]:
    """Return the delimiter that divides most lines into the same number of columns."""
    scores = {}
    for delimiter in DELIMITERS:
        widths = Counter(len(record) for record in _records(lines, delimiter))
        width, lines_of_it = widths.most_common(1)[0]
        scores[delimiter] = (lines_of_it / sum(widths.values()) if width > 1 else 0.0, width)
    best = max(scores, key=lambda d: scores[d])
    share, width = scores[best]
    if share == 0:
        raise UserError(
            f"{shown} is no table: its lines are one column.",
            found=f"{len(lines[0])} characters without any of , ; | or a tab",
            next_step="check that this is the log",
        )
    return best, f"it divides {share:.0%} of the first lines into {width} columns"


def _records(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            # A NUL or a cell without an end: the row is none, the next may be.
            continue


def _header(first: list[str]) -> tuple[bool, str]:
    values = [cell for cell in first if VALUE.fullmatch(cell)]
    if values:
        return False, f"{len(values)} cells of the first line are numbers or times, not names"
    if len(set(first)) < len(first):
        return False, "cells of the first line repeat, so they are no names"
    return True, "no cell of the first line is a number or a time"


def _json_lines(lines: list[str], encoding: str, head: Head, reasons: list[tuple[str, str, str]], shown: str) -> Sample:
    taken = lines[:SAMPLE_ROWS]
    names = object_keys(taken, shown=shown)
    text = "".join(taken).encode("utf-8", "surrogatepass")
    source = ByteSource(io.BytesIO(text).read, offset=0, errors="surrogatepass")
    keys = {str(place): name for place, name in enumerate(names)}
    block, _, _ = read_json_block(source, source.cut(len(text)), keys, lines_before=0)
    rows = _cells(block, len(names))
    return Sample(
        format="jsonl",
        names=names,
        rows=tuple(rows),
        has_header=True,
        delimiter=",",
        encoding=encoding,
        complete=head.complete and len(lines) <= SAMPLE_ROWS,
        skipped=block.cells.num_rows - len(rows),
        reasons=(*reasons, ("format", "jsonl", "its lines are JSON objects")),
    )


def _cells(block: Block, width: int) -> list[tuple[str, ...]]:
    """Return the rows of a block that have no problem; its columns are called by their places."""
    good = block.cells.filter(pc.is_null(block.cells["problem"]))
    columns = [pc.fill_null(good[f"raw_{place}"], "").to_pylist() for place in range(width)]
    return list(zip(*columns, strict=True))


def _parquet(path: Path, shown: str) -> Sample:
    names = tuple(parquet_schema(path, shown).names)
    layout = Layout(names=names, places={str(n): n for n in range(len(names))}, has_header=False)
    whole = Piece(path=path, shown=shown, format="parquet", compression="none", start=0, end=None)
    rows: list[tuple[str, ...]] = []
    read = 0
    for block in read_row_groups(whole, layout):
        if isinstance(block, Block):
            read += block.cells.num_rows
            rows += _cells(block, len(names))
        if read > SAMPLE_ROWS:
            break
    return Sample(
        format="parquet",
        names=names,
        rows=tuple(rows[:SAMPLE_ROWS]),
        has_header=True,
        delimiter=",",
        encoding="utf-8",
        complete=read <= SAMPLE_ROWS,
        skipped=read - len(rows),
        reasons=(("format", "parquet", "its first bytes are PAR1"),),
    )
