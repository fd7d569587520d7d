"""Reading databases: a SQLite file or a server's address in; the texts in all columns of all tables out.

The one thing to know: every table is read that is there, and every column that can hold text, JSON or bytes, so an
XCom, a rendered field, a note or a log line is found wherever this or the next version of Airflow or MLflow puts it.
"""

import gzip
import sqlite3
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.privacy.search import Found, Texts
from behavior_tasks.pipeline.privacy.search_places import Place

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROWS = 2000
"""Rows that are fetched at a time; one may hold megabytes."""
GZIP, ZLIB = b"\x1f\x8b", b"\x78"


def read_sqlite(place: Place, found: Found) -> Iterator[Texts]:
    """Yield the texts of a SQLite file, which another process may be writing.

    Raises:
        sqlite3.DatabaseError: when it is damaged.
    """
    connection = sqlite3.connect(f"file:{place.path}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        names = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            quoted = '"' + table.replace('"', '""') + '"'
            rows = connection.execute(f"SELECT * FROM {quoted}")
            columns = [column[0] for column in rows.description]
            while block := rows.fetchmany(ROWS):
                found.at(place.kind).rows += len(block)
                for number, column in enumerate(columns):
                    values = [row[number] for row in block if isinstance(row[number], bytes)]
                    yield from _cells(f"{place.shown}: {table}", place.kind, column, values)
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        if free:
            found.unseen.append(f"{place.shown}: {free:,} pages of deleted rows, until somebody runs VACUUM on it")
    finally:
        connection.close()


def read_database(address: str, name: str, found: Found) -> Iterator[Texts]:
    """Yield the texts of a database's tables.

    Args:
        address: a SQLAlchemy URL.
        name: the database, for people; its address may hold a password.
        found: takes how much was read.

    Raises:
        UserError: when it does not answer.
    """
    from sqlalchemy import MetaData
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from behavior_tasks.pipeline.deployment.metadata import open_database, said_by

    try:
        with open_database(address) as connection:
            known = MetaData()
            known.reflect(connection)
            for table in known.sorted_tables:
                found.at(name).places += 1
                yield from _read_table(connection, table.name, name, found)
    except (SQLAlchemyError, ArgumentError) as error:
        raise UserError(
            f"The {name} can't be read.",
            found=said_by(error),
            expected="a SQLAlchemy address of a database that this user may read",
            next_step="--database postgresql+psycopg2://user@host/airflow, with the password in PGPASSWORD",
        ) from None


def _read_table(connection: "Connection", table: str, name: str, found: Found) -> Iterator[Texts]:
    from sqlalchemy import text

    quoted = connection.dialect.identifier_preparer.quote(table)
    wanted = _text_columns(connection, table)
    if not wanted:
        return
    columns = ", ".join(wanted.values())
    rows = connection.execution_options(stream_results=True, yield_per=ROWS).execute(
        text(f"SELECT {columns} FROM {quoted}")
    )
    tally = found.at(name)
    for block in rows.partitions(ROWS):
        tally.rows += len(block)
        for number, column in enumerate(wanted):
            values = [_as_bytes(row[number]) for row in block if row[number] is not None]
            tally.bytes += sum(map(len, values))
            yield from _cells(f"{name}: {table}", name, column, values)


def _text_columns(connection: "Connection", table: str) -> dict[str, str]:
    """Return the columns that can hold words → SQL of their content as text or bytes."""
    from sqlalchemy import inspect

    quote = connection.dialect.identifier_preparer.quote
    wanted = {}
    for column in inspect(connection).get_columns(table):
        kind = str(column["type"]).upper()
        if any(word in kind for word in ("BLOB", "BYTEA", "BINARY")):
            wanted[column["name"]] = quote(column["name"])
        elif not any(word in kind for word in ("INT", "FLOAT", "DOUBLE", "NUMERIC", "BOOL", "DATE", "TIME", "REAL")):
            wanted[column["name"]] = f"CAST({quote(column['name'])} AS TEXT)"
    return wanted


def _as_bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def _cells(place: str, kind: str, column: str, values: list[bytes]) -> Iterator[Texts]:
    """Yield a column's cells; those that hold JSON apart, because its bare numbers are figures."""
    apart: dict[str, list[bytes]] = {"json": [], "cells": []}
    for value in map(_unpacked, values):
        apart["json" if value[:1] in {b"{", b"["} else "cells"].append(value)
    for form, some in apart.items():
        if some:
            counted = pc.value_counts(pa.array(some, pa.large_binary()))
            yield Texts(
                place=place,
                kind=kind,
                column=column,
                values=counted.field("values"),
                counts=np.asarray(counted.field("counts")),
                form="json" if form == "json" else "cells",
            )


def _unpacked(value: bytes) -> bytes:
    """Return what is packed in a value, or the value."""
    try:
        if value.startswith(GZIP):
            return gzip.decompress(value)
        if value.startswith(ZLIB):
            return zlib.decompress(value)
    except (OSError, EOFError, zlib.error):
        return value
    return value
