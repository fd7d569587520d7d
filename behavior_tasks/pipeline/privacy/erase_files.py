"""Files without some people: a table, a list or a page in, the same file without their rows, in its place, out.

In come a file, what kind of file it is, and who goes; out comes how many rows went. The one thing to know: a file is
looked at first, by Parquet's statistics where it has them, and only one that holds somebody is written anew; every
other row keeps its values, and of text its bytes.
"""

import csv
import io
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.data.identities import PSEUDONYM_LENGTH
from behavior_tasks.data.tombstones import Tombstones

How = Literal["keep", "rows", "lines", "page", "text", "told", "unnamed"]
"""What is done with a file: nothing, since it names nobody; Parquet rows go; CSV lines go; what a page tells of them
goes; their pseudonym is overwritten; what JSON tells of them goes; rows go and, of a table that names nobody, what was
found and the original text."""
COLUMNS = ("shopper", "example", "user_id")
"""Columns that tell whose a row is, the first that is there: a pseudonym, what begins with one, or a raw id."""
HELD_BACK = ("found", "text")
"""Columns of quarantined rows that may hold a raw id."""
PSEUDONYM = re.compile(rb"(?<![0-9a-f])[0-9a-f]{%d}(?![0-9a-f])" % PSEUDONYM_LENGTH)
TOLD = re.compile(
    rb"<tr(?:(?!</tr>).)*?<code>([0-9a-f]{20})</code>.*?</tr>\n?"
    rb"|<h3>[^<]*<code>([0-9a-f]{20})</code></h3>\s*<div.*?</div>\n?",
    re.DOTALL,
)
"""What a page tells of one shopper: a row of a table, or a heading with the table below it."""
GONE = b"erased"


@dataclass(frozen=True, kw_only=True)
class Whom:
    """Who goes."""

    pseudonyms: frozenset[str]
    tombstones: Tombstones
    _ordered: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ordered", sorted(self.pseudonyms))

    def any_between(self, least: str, most: str) -> bool:
        """Whether a pseudonym lies between two texts, both included."""
        place = bisect_left(self._ordered, least)
        return place < len(self._ordered) and self._ordered[place] <= most

    def mask(self, column: pa.ChunkedArray, name: str) -> pa.Array:
        """Return which rows are theirs, by the values of a column of COLUMNS."""
        if name == "user_id":
            return self.tombstones.mask(column.cast(pa.string()))
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        shoppers = pc.utf8_slice_codeunits(column, 0, PSEUDONYM_LENGTH) if name == "example" else column
        found = pc.is_in(shoppers, value_set=pa.array(self._ordered, column.type))
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def count_in(path: Path, how: How, whom: Whom) -> int:
    """Return how many rows (of text: mentions) of a file are theirs; nothing is written."""
    if how == "keep":
        return 0
    if how in {"rows", "unnamed"}:
        return _count_rows(path, whom, unnamed=how == "unnamed")
    if how == "lines":
        return sum(goes for _, goes in _records(path, whom))
    return mentions(path.read_bytes(), whom)


def mentions(content: bytes, whom: Whom) -> int:
    """Return how often a text names them."""
    return sum(found.decode() in whom.pseudonyms for found in PSEUDONYM.findall(content))


def told_without(value: Any, whom: Whom) -> Any:
    """Return JSON values without the objects of a list that are about them; elsewhere their name is overwritten."""
    if isinstance(value, dict):
        return {name: told_without(one, whom) for name, one in value.items() if name not in whom.pseudonyms}
    if isinstance(value, list):
        about = (one.get("shopper") if isinstance(one, dict) else one for one in value)
        pairs = zip(value, about, strict=True)
        return [told_without(one, whom) for one, who in pairs if not (isinstance(who, str) and who in whom.pseudonyms)]
    return GONE.decode() if isinstance(value, str) and value in whom.pseudonyms else value


def take_out(path: Path, how: How, whom: Whom) -> None:
    """Write a file that holds somebody anew without them, in its place; another name for the old file keeps the old."""
    new = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        if how in {"rows", "unnamed"}:
            _write_rows(path, new, whom, unnamed=how == "unnamed")
        elif how == "lines":
            new.write_text("".join(text for text, goes in _records(path, whom) if not goes), "utf-8", newline="")
        elif how == "told":
            told = told_without(json.loads(path.read_bytes()), whom)
            new.write_text(json.dumps(told, indent=2, ensure_ascii=False), "utf-8")
        else:
            new.write_bytes(_without(path.read_bytes(), whom))
        new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def who_column(schema: pa.Schema) -> str | None:
    """Return the column that tells whose a row is; None: the table names nobody."""
    return next((name for name in COLUMNS if name in schema.names), None)


def _count_rows(path: Path, whom: Whom, *, unnamed: bool) -> int:
    with pq.ParquetFile(path) as file:
        name = who_column(file.schema_arrow)
        if name is None:
            return _held_back(file) if unnamed else 0
        groups = [n for n in range(file.num_row_groups) if _may_hold(file, n, name, whom)]
        if not groups:
            return 0
        table = file.read_row_groups(groups, columns=[name])
        return pc.sum(whom.mask(table[name], name)).as_py() or 0


def _may_hold(file: pq.ParquetFile, group: int, name: str, whom: Whom) -> bool:
    """Whether a row group may hold somebody, by its least and its greatest value."""
    if name == "user_id":
        return True
    held = file.metadata.row_group(group)
    place = file.schema_arrow.get_field_index(name)
    statistics = held.column(place).statistics if held.num_columns == len(file.schema_arrow) else None
    if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, str):
        return True
    # Writers may cut long texts, never below a pseudonym's length; of an example only that much is compared.
    return whom.any_between(statistics.min[:PSEUDONYM_LENGTH], statistics.max)


def _held_back(file: pq.ParquetFile) -> int:
    """Return how many rows of a table that names nobody still hold what may be somebody's id."""
    columns = [name for name in HELD_BACK if name in file.schema_arrow.names]
    table = file.read(columns=columns) if columns else None
    return 0 if table is None else max(len(table) - table[name].null_count for name in columns)


def _write_rows(path: Path, new: Path, whom: Whom, *, unnamed: bool) -> None:
    """Write a table row group by row group, as it was written, without the rows that go."""
    with pq.ParquetFile(path) as file:
        name, schema = who_column(file.schema_arrow), file.schema_arrow
        stored = b"ARROW:schema" in (file.metadata.metadata or {})
        packed = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "ZSTD"
        if name is None:  # a column that is emptied must be one that may be empty
            schema = pa.schema([one.with_nullable(True) for one in schema], schema.metadata)
        with pq.ParquetWriter(new, schema, compression=packed, store_schema=stored) as writer:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                if name is not None and _may_hold(file, number, name, whom):
                    table = table.filter(pc.invert(whom.mask(table[name], name)))
                elif name is None and unnamed:
                    table = _without_texts(table)
                writer.write_table(table, row_group_size=max(1, len(table)))


def _without_texts(table: pa.Table) -> pa.Table:
    for name in HELD_BACK:
        place = table.schema.get_field_index(name)
        if place >= 0:
            kind = table.schema.field(place).type
            table = table.set_column(place, name, pa.nulls(len(table), kind))
    return table.cast(pa.schema([one.with_nullable(True) for one in table.schema], table.schema.metadata))


def _records(path: Path, whom: Whom) -> Iterator[tuple[str, bool]]:
    """Yield the header and every record of a CSV as its text, and whether it goes."""
    taken: list[str] = []

    def noted(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    rows = csv.reader(noted(io.StringIO(path.read_text("utf-8"), newline="")))
    header = next(rows, [])
    yield "".join(taken), False
    taken.clear()
    name = next((name for name in COLUMNS if name in header), None)
    place = header.index(name) if name else None
    for row in rows:
        cell = row[place] if place is not None and place < len(row) else ""
        goes = whom.tombstones.hold(cell) if name == "user_id" else cell[:PSEUDONYM_LENGTH] in whom.pseudonyms
        yield "".join(taken), goes
        taken.clear()


def _without(content: bytes, whom: Whom) -> bytes:
    """Return a page or another text without what it tells of them; where that can't be told, without their name."""
    told = TOLD.sub(lambda m: b"" if (m[1] or m[2]).decode() in whom.pseudonyms else m[0], content)
    return PSEUDONYM.sub(lambda m: GONE if m[0].decode() in whom.pseudonyms else m[0], told)
