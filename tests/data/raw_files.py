"""Logs as one or many files of any kind, and which files of a folder are opened, by whatever code and process.

In come rows as dictionaries of text; out come files. The one thing to know: which files are opened is asked of the
kernel (inotify), because DuckDB and Arrow open files without Python's knowledge.
"""

import csv
import ctypes
import gzip
import io
import json
import os
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

RawRow = Mapping[str, str]
COLUMNS = ("user_id", "action", "product_id", "timestamp", "quantity", "price", "amount", "category", "query")
TYPES = {"timestamp": int, "quantity": float, "price": float, "amount": float}
START = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO_NS = 1_700_000_000 * 10**9
IN_OPEN = 0x20
EVENT = struct.Struct("iIII")


def at(day: float, second: float = 0) -> str:
    """Unix seconds of a time after `START`."""
    return str(int((START + timedelta(days=day, seconds=second)).timestamp()))


def raw(user: str = "u1", action: str = "browse", product: str = "p1", time: str = at(0), **others: str) -> RawRow:
    return {"user_id": user, "action": action, "product_id": product, "timestamp": time, **others}


def random_rows(seed: int, rows: int, *, shoppers: int = 20, days: int = 40) -> list[RawRow]:
    """Rows of a small shop in no order, with some exact repeats, some a second later, a few that can't be events."""
    chance = random.Random(seed)
    made: list[RawRow] = []
    for _ in range(rows):
        if made and chance.random() < 0.05:
            again = chance.choice(made)
            later = {"timestamp": str(int(again["timestamp"]) + 1)} if chance.random() < 0.3 else {}
            made.append({**again, **later})
            continue
        action = chance.choices(("browse", "click", "buy", "search", "wishlist"), (60, 20, 12, 6, 2))[0]
        sale = action == "buy"
        made.append(
            raw(
                f"u{int(shoppers * chance.random() ** 2)}",
                action,
                "" if action == "search" else f"p{chance.randrange(30)}",
                at(chance.randrange(days), chance.randrange(86_400)),
                quantity=str(chance.randrange(1, 4)) if sale and chance.random() < 0.8 else "",
                price=f"{chance.randrange(50, 9000) / 100}" if action != "search" and chance.random() < 0.8 else "",
                amount=f"{chance.randrange(100, 9000) / 100}" if sale and chance.random() < 0.5 else "",
                category=chance.choice(("toys", "shoes", "")),
                query="two words" if action == "search" else "",
            )
        )
    return made


def write_rows(path: Path, rows: Sequence[RawRow], columns: Sequence[str] = COLUMNS) -> Path:
    """Write a file of the kind that its name says: .csv, .jsonl (each also .gz and .zst) or .parquet.

    Its time lies in the past, as that of an export that was finished a while ago: its hash is remembered.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({c: [_typed(c, row.get(c, "")) for row in rows] for c in columns}), path)
    else:
        path.write_bytes(_text(path, rows, columns))
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


def _text(path: Path, rows: Sequence[RawRow], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    if ".jsonl" in path.suffixes:
        for row in rows:
            text.write(json.dumps({c: _typed(c, row.get(c, "")) for c in columns}) + "\n")
    else:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row.get(c, "") for c in columns] for row in rows)
    data = text.getvalue().encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, 1)
    if path.suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            packed.write(data)
        data = sink.getvalue().to_pybytes()
    return data


def _typed(column: str, cell: str) -> object:
    return TYPES.get(column, str)(cell) if cell else None


def files_below(folder: Path) -> dict[str, int]:
    """Return each file below a folder, with the time of its last change in nanoseconds."""
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


@contextmanager
def watch_opened(folder: Path) -> Iterator[set[str]]:
    """Collect the names of the files in a folder that anybody opens; they stand in the set at the end."""
    libc, names = ctypes.CDLL(None, use_errno=True), set[str]()
    handle = libc.inotify_init1(os.O_NONBLOCK)
    assert handle >= 0
    try:
        assert libc.inotify_add_watch(handle, os.fsencode(folder), IN_OPEN) >= 0
        yield names
        while True:
            try:
                data = os.read(handle, 1 << 16)
            except BlockingIOError:
                break
            while data:
                *_, length = EVENT.unpack_from(data)
                names.add(data[EVENT.size : EVENT.size + length].rstrip(b"\0").decode())
                names.discard("")  # the folder itself
                data = data[EVENT.size + length :]
    finally:
        os.close(handle)
