"""Tables: DuckDB connections that are repeatable, Parquet buckets, and hashes of ordered rows."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

PARQUET_OPTIONS = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880"


def connect(*, memory_mb: int = 2048) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB of one thread in UTC: with one thread, floating-point sums never vary."""
    connection = duckdb.connect(config={"threads": 1, "memory_limit": f"{memory_mb}MB"})
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


@contextmanager
def full_disk() -> Iterator[None]:
    """Raise DuckDB's word for a full disk as the OSError that it is, so that the store can say so."""
    try:
        yield
    except duckdb.IOException as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write a query's rows, in the order the query gives them."""
    with full_disk():
        connection.execute(f"COPY ({query}) TO {quote(path)} ({PARQUET_OPTIONS})")


def hash_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Return the hash of a Parquet file's rows in file order; how the file is written plays no part."""
    digest = hashlib.sha256()
    # A struct rendered as text shows every column name and value, nulls included.
    reader = connection.execute(f"SELECT md5(CAST(t AS VARCHAR)) AS h FROM read_parquet({quote(path)}) AS t")
    while rows := reader.fetchmany(50_000):
        digest.update("".join(row[0] for row in rows).encode())
    return digest.hexdigest()


def combine_hashes(hashes: Iterable[str]) -> str:
    """Return one hash of the buckets' hashes, in bucket order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
