"""Tables: DuckDB connections that are repeatable, Parquet buckets, and hashes of ordered rows."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.base.errors import UserError

PARQUET_OPTIONS = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880"
HASHED_ROWS = 65_536
"""Rows that are hashed or written at a time."""
SMALL_ROW_GROUP = 8192


def connect(*, memory_mb: int = 2048) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB of one thread in UTC: with one thread, floating-point sums never vary."""
    # Never the working folder, where DuckDB would spill; who works much names a folder of its own (`connect_spilling`).
    spill = Path(tempfile.gettempdir()) / f"behavior-spill-{os.getpid()}"
    connection = duckdb.connect(config={"threads": 1, "memory_limit": f"{memory_mb}MB", "temp_directory": str(spill)})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def bucket_file(folder: Path, bucket: int) -> Path:
    """Return the file of one bucket, e.g. `events/0003.parquet`."""
    return folder / f"{bucket:04d}.parquet"


def bucket_files(folder: Path) -> list[Path]:
    """Return the bucket files of a folder in bucket order."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]*.parquet"))


def quote(path: Path) -> str:
    """Return a path as a SQL string literal."""
    return "'" + str(path).replace("'", "''") + "'"


def parquet_sql(files: Iterable[Path]) -> str:
    """Return what stands after FROM for the rows of several Parquet files of one shape.

    >>> parquet_sql([Path("a.parquet"), Path("it's.parquet")])
    "read_parquet(['a.parquet', 'it''s.parquet'])"
    """
    return f"read_parquet([{', '.join(map(quote, files))}])"


@contextmanager
def full_disk() -> Iterator[None]:
    """Raise DuckDB's words for a full disk as the OSError that it is, so that the store can say so.

    Raises:
        UserError: when DuckDB needs more memory than it may take.
    """
    try:
        yield
    except duckdb.IOException as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    except duckdb.OutOfMemoryException as error:
        # DuckDB offloads what exceeds its memory, as long as there is space for it.
        if "max_temp_directory_size" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise UserError(
            "DuckDB needs more memory than it may take.",
            found=str(error).splitlines()[0],
            expected="enough for one bucket, or one file's piece, at a time (engine.memory_mb)",
            next_step="raise engine.memory_mb, or engine.buckets if memory is scarce, then run again",
        ) from None


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write a query's rows, in the order the query gives them."""
    with full_disk():
        connection.execute(f"COPY ({query}) TO {quote(path)} ({PARQUET_OPTIONS})")


def hash_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Return the hash of a Parquet file's rows in file order; how the file is written plays no part."""
    return hash_query(connection, f"SELECT * FROM read_parquet({quote(path)})")


def hash_query(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return the hash of a query's rows, in the order the query gives them.

    The query sees files, no temporary tables or views.

    Raises:
        TypeError: for a column that is neither text, number, truth value, instant nor a list of them.
    """
    # A cursor of its own, because the connection may still hold a result that was not read to its end.
    reader = connection.cursor().sql(query).to_arrow_reader(HASHED_ROWS)
    hashed = RowHash(reader.schema.names)
    for batch in reader:
        hashed.update(batch)
    return hashed.hexdigest()


class RowHash:
    """The hash of ordered rows, taken batch by batch.

    It covers the names, the values and which of them are missing, column by column; in how many batches the rows
    arrive, and how they were stored, plays no part.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._digests = {name: [hashlib.sha256() for _ in range(3)] for name in names}
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the next rows.

        Raises:
            TypeError: for a column that is neither text, number, truth value, instant nor a list of them.
        """
        if not len(batch):
            return
        self._rows += len(batch)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                self._update(name, (pc.is_valid(column).cast(pa.uint8()).to_numpy().data,))
                lengths = pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
                self._update(f"{name}[]", (lengths.to_numpy().data,))
                self._update(f"{name}[*]", _parts_of(pc.list_flatten(column)))
            else:
                self._update(name, _parts_of(column))

    def _update(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        digests = self._digests.setdefault(name, [hashlib.sha256() for _ in range(3)])
        for digest, part in zip(digests, parts, strict=False):
            digest.update(part)

    def hexdigest(self) -> str:
        """Return the hash of all rows so far."""
        whole = hashlib.sha256(str(self._rows).encode())
        for name, parts in self._digests.items():
            whole.update(name.encode() + b"".join(part.digest() for part in parts))
        return whole.hexdigest()


def stream_rows(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, *, compression: str = "zstd"
) -> Iterator[pa.RecordBatch]:
    """Write a query's rows to a Parquet file of small row groups, yielding each batch once it is written.

    Who then reads a range of what the rows are sorted by reads little else.
    """
    reader = connection.sql(query).to_arrow_reader(HASHED_ROWS)
    with pq.ParquetWriter(path, reader.schema, compression=compression) as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=SMALL_ROW_GROUP)
            yield batch


def _parts_of(column: pa.Array) -> tuple[bytes | memoryview, bytes | memoryview, bytes | memoryview]:
    """Return a column as bytes: which values are there, the lengths of texts, the values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    present = pc.is_valid(column).cast(pa.uint8()).to_numpy()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.fill_null(column, "").cast(pa.large_binary())
        lengths = pc.binary_length(texts).cast(pa.int64()).to_numpy()
        offsets = np.frombuffer(texts.buffers()[1], np.int64, count=texts.offset + len(texts) + 1)[texts.offset :]
        values = texts.buffers()[2]
        inner = memoryview(values)[offsets[0] : offsets[-1]] if values is not None else b""
        return present.data, lengths.data, inner
    if pa.types.is_floating(kind):
        # Adding zero turns a negative zero into zero, which is equal to it.
        return present.data, b"", (pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False) + 0.0).data
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    elif not pa.types.is_integer(kind):
        raise TypeError(f"a column of the type {kind} has no hash")
    return present.data, b"", np.ascontiguousarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False)).data


def combine_hashes(hashes: Iterable[str]) -> str:
    """Return one hash of the buckets' hashes, in bucket order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
