"""Raw rows: a copy of a log that this state folder holds in; the same file without the rows of some shoppers, out.

Rows are told by the same readers as an ingest, in any format and encoding; all other rows keep their bytes (of
Parquet: their values). The one thing to know: a row that is too broken to have cells goes, too, when any word of it is
the id of somebody who is erased.
"""

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.tables import connect
from behavior_tasks.base.workfolder import flush
from behavior_tasks.data.blocks import Block
from behavior_tasks.data.bytesource import Compression, open_bytes
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.parse import cell_sql, plain_user_sql
from behavior_tasks.data.pieces import Format, PieceEnd, whole_piece
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.tombstones import Tombstones

WORD = re.compile(r"[^\s,;|\"'\t]+")
WRITTEN_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Which lines of a file go."""

    starts: np.ndarray
    """Lines (rows of Parquet), from 1, on which a record begins that goes."""
    ends: np.ndarray
    """The line on which the next record begins, or one more than there are."""
    format: Format
    compression: Compression


def erase_raw_rows(path: Path, layout: Layout, config: SourceConfig, tombstones: Tombstones, *, shown: str) -> int:
    """Take the rows of erased shoppers out of a log's copy, in its place; return how many there were.

    Args:
        path: a file that `source` has read with these settings.
        layout: where its columns stand.
        config: how it is read.
        tombstones: who goes.
        shown: the file's name for messages.

    Raises:
        UserError: when the file can't be read.
    """
    found = _find(path, layout, config, tombstones, shown=shown)
    if not len(found.starts):
        return 0
    new = path.with_name(f".{path.name}.erasing")
    try:
        if found.format == "parquet":
            _write_parquet(path, new, found)
        else:
            encoding = config.encoding
            with open_bytes(path, found.compression, shown=shown) as source, _packing(new, found.compression) as out:
                _copy_lines(source, out, found, encoding=encoding)
        new.chmod(path.stat().st_mode & 0o777)
        flush(new)
        new.replace(path)
        flush(path.parent)
    finally:
        new.unlink(missing_ok=True)
    return len(found.starts)


def count_raw_rows(path: Path, layout: Layout, config: SourceConfig, tombstones: Tombstones, *, shown: str) -> int:
    """Return how many rows `erase_raw_rows` would take out; nothing is written."""
    return len(_find(path, layout, config, tombstones, shown=shown).starts)


def _find(path: Path, layout: Layout, config: SourceConfig, tombstones: Tombstones, *, shown: str) -> _Found:
    piece = whole_piece(path, shown, config)
    starts: list[int] = []
    ends: list[int] = []
    last_goes, lines = False, 0
    with connect() as connection:
        for block in read_piece(piece, layout, delimiter=config.delimiter, encoding=config.encoding, is_first=True):
            if isinstance(block, PieceEnd):
                lines = block.lines
                continue
            first = block.cells["line"].to_numpy()
            if last_goes:
                ends.append(int(first[0]))
            goes = np.flatnonzero(_erased(connection, block, tombstones))
            starts += first[goes].tolist()
            ends += first[goes[goes + 1 < len(first)] + 1].tolist()
            last_goes = bool(len(goes)) and goes[-1] == len(first) - 1
    if last_goes:
        ends.append(lines + 1)
    return _Found(starts=np.array(starts), ends=np.array(ends), format=piece.format, compression=piece.compression)


def _erased(connection: duckdb.DuckDBPyConnection, block: Block, tombstones: Tombstones) -> np.ndarray:
    """Return which records of a block go."""
    connection.register("batch", block.cells)
    user = plain_user_sql(cell_sql("raw_user_id", block.plain))
    told = connection.sql(
        f"SELECT {user} AS user_id, problem IS NOT NULL AS broken, position FROM batch"
    ).to_arrow_table()
    connection.unregister("batch")
    goes = tombstones.mask(told["user_id"]).to_numpy(zero_copy_only=False).copy()
    for row in np.flatnonzero(told["broken"].to_numpy(zero_copy_only=False)):
        text = block.text_of(told["position"][row].as_py())
        goes[row] |= any(tombstones.hold(word) for word in WORD.findall(text))
    return goes


def _copy_lines(source: IO[bytes], out: IO[bytes], found: _Found, *, encoding: str) -> None:
    """Write all lines but those that go; lines end as they do for the readers."""
    text = io.TextIOWrapper(source, encoding=encoding, errors="surrogateescape", newline="")
    kept = io.TextIOWrapper(
        out,
        encoding=encoding,
        errors="surrogateescape",
        newline="",
    )
    spans = iter(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    start, end = next(spans)
    for number, line in enumerate(text, start=1):
        while number >= end:
            start, end = next(spans, (1 << 62, 1 << 62))
        if number < start:
            kept.write(line)
    kept.flush()
    kept.detach()
    text.detach()


def _write_parquet(path: Path, new: Path, found: _Found) -> None:
    """Write a Parquet file anew, row group by row group, without the rows that go."""
    with pq.ParquetFile(path) as file:
        goes = np.zeros(file.metadata.num_rows, dtype=bool)
        goes[found.starts - 1] = True
        compression = file.metadata.row_group(0).column(0).compression
        with pq.ParquetWriter(new, file.schema_arrow, compression=compression) as writer:
            first = 0
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                keep = ~goes[first : first + len(table)]
                first += len(table)
                writer.write_table(table.filter(pa.array(keep)))


@contextmanager
def _packing(path: Path, compression: Compression) -> Iterator[IO[bytes]]:
    """Open a file to write into, packed as the one that it replaces."""
    if compression == "gzip":
        with gzip.open(path, "wb", compresslevel=6) as packed:
            yield cast("IO[bytes]", packed)
    elif compression == "zstd":
        with pa.output_stream(str(path), compression="zstd", buffer_size=WRITTEN_AT_ONCE) as stream:
            yield stream
    else:
        with path.open("wb", buffering=WRITTEN_AT_ONCE) as plain:
            yield plain
