"""Reading files: a file of any kind in; the texts in it, and how much was read, out.

Tables give cells, everything else running text; packed files are unpacked as they are read. The one thing to know:
numbers are no words, so arrays and weights are counted and not searched, and a file whose kind nobody knows is read
as bytes, in which words of eight characters or more still show.
"""

import bz2
import gzip
import json
import lzma
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from behavior_tasks.pipeline.privacy.search import Form, Found, Texts
from behavior_tasks.pipeline.privacy.search_places import Place
from behavior_tasks.pipeline.privacy.search_words import names_ids

CHUNK = 8 << 20
"""Bytes of text that are read at a time."""
MOST_HELD = 4 * CHUNK
"""Bytes without an end of line that are held together."""
ROWS = 16_384
"""Rows of a table that are read at a time."""
SNIFFED = 8192
SQLITE = b"SQLite format 3\x00"
PICTURES = re.compile(rb"base64,[A-Za-z0-9+/=]+")
"""Pictures inside a page: their letters are chance."""
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ZIPPED = frozenset({".zip", ".npz", ".skops", ".whl"})
TEXT_CHUNKS = {b"tEXt", b"iTXt", b"zTXt", b"eXIf"}
"""Parts of a PNG that are words."""
DAMAGED = (OSError, EOFError, ValueError, pa.ArrowException, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What a reader raises over a file that is not what its name says; it is then read as bytes."""


def read_file(place: Place, found: Found) -> Iterator[Texts]:
    """Yield the texts of a file, and its own name.

    Args:
        place: the file.
        found: takes how much was read, and what could not be.
    """
    tally = found.at(place.kind)
    tally.places += 1
    tally.bytes += place.bytes
    yield _text(place, place.shown.encode(), "text", column="(name)")
    reader = _reader_of(place.path)
    try:
        yield from reader(place, found)
    except FileNotFoundError:
        return  # it went away while others were read: nothing is held there any more
    except (*DAMAGED, sqlite3.DatabaseError) as error:
        if isinstance(error, PermissionError):
            found.unseen.append(f"{place.shown}: may not be read")
            return
        yield from _read_bytes(place, found)


def _reader_of(path: Path) -> Callable[[Place, Found], Iterator[Texts]]:
    suffix = path.suffix.lower()
    if suffix in PACKED or suffix == ".zst":
        return _read_packed
    if suffix in ZIPPED:
        return _read_zip
    by_name = {
        ".parquet": _read_parquet,
        ".npy": _read_npy,
        ".safetensors": _read_safetensors,
        ".png": _read_png,
        ".csv": _read_csv,
    }
    if suffix in by_name:
        return by_name[suffix]
    return _read_any


def _text(place: Place, data: bytes, form: Form, *, column: str = "") -> Texts:
    values = pa.array([data], pa.large_binary())
    return Texts(
        place=place.shown, kind=place.kind, column=column, values=values, counts=np.ones(1, np.int64), form=form
    )


def cells(place: str, kind: str, column: str, values: pa.Array | pa.ChunkedArray) -> Texts:
    """Return the cells of a column, each different one once."""
    counted = pc.value_counts(values.drop_null())
    different = counted.field("values")
    if pa.types.is_dictionary(different.type):
        different = different.dictionary_decode()
    return Texts(
        place=place,
        kind=kind,
        column=column,
        values=different.cast(pa.large_binary()),
        counts=counted.field("counts").to_numpy(zero_copy_only=False),
        form="cells",
    )


def _read_any(place: Place, found: Found) -> Iterator[Texts]:
    """Read a file by what it begins with."""
    with place.path.open("rb") as stream:
        head = stream.read(SNIFFED)
        if head.startswith(SQLITE):
            from behavior_tasks.pipeline.privacy.search_databases import read_sqlite

            yield from read_sqlite(place, found)
            return
        stream.seek(0)
        yield from _stream(place, stream, _form(place.path.name, head))


def _form(name: str, head: bytes) -> Form:
    if b"\0" in head:
        return "bytes"
    return "json" if ".json" in name or head[:1] in {b"{", b"["} else "text"


def _read_bytes(place: Place, found: Found) -> Iterator[Texts]:
    with place.path.open("rb") as stream:
        yield from _stream(place, stream, "bytes")


def _stream(place: Place, stream: IO[bytes], form: Form) -> Iterator[Texts]:
    """Yield a stream in chunks that end between two words, and not between a name and its id."""
    rest = b""
    while block := stream.read(CHUNK):
        block = rest + block
        # Where no name stands before its id: behind a line, else behind an object of JSON.
        cut = block.rfind(b"\n") + 1 or block.rfind(b"}") + 1
        if not cut and len(block) < MOST_HELD:
            rest = block
            continue
        cut = cut or max(block.rfind(mark) for mark in (b" ", b",", b"\0")) + 1 or len(block)
        yield _text(place, PICTURES.sub(b"", block[:cut]), form)
        rest = block[cut:]
    if rest:
        yield _text(place, PICTURES.sub(b"", rest), form)


def _read_packed(place: Place, found: Found) -> Iterator[Texts]:
    suffix = place.path.suffix.lower()
    with _open_zst(place.path) if suffix == ".zst" else PACKED[suffix](place.path, "rb") as stream:
        inner = Path(place.path.stem)
        if inner.suffix == ".csv":
            yield from _csv(place, stream)
        else:
            yield from _stream(place, stream, _form(inner.name, b""))


def _open_zst(path: Path) -> IO[bytes]:
    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


def _read_zip(place: Place, found: Found) -> Iterator[Texts]:
    with zipfile.ZipFile(place.path) as packed:
        for member in packed.infolist():
            yield _text(place, member.filename.encode(), "text", column="(name)")
            with packed.open(member) as stream:
                yield from _stream(place, stream, "json" if member.filename.endswith(".json") else "bytes")


def _read_parquet(place: Place, found: Found) -> Iterator[Texts]:
    with pq.ParquetFile(place.path) as file:
        schema = file.schema_arrow
        found.at(place.kind).rows += file.metadata.num_rows
        words = b"\n".join([name.encode() for name in schema.names] + list((schema.metadata or {}).values()))
        yield _text(place, words, "json", column="(names)")
        numbers = {f.name for f in schema if pa.types.is_integer(f.type) and names_ids(f.name)}
        wanted = [f.name for f in schema if f.name in numbers or _holds_texts(f.type)]
        if not wanted:
            return
        for batch in file.iter_batches(ROWS, columns=wanted):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                texts = column.cast(pa.string()) if name in numbers else column
                for path, values in _texts_of(name, texts):
                    yield cells(place.shown, place.kind, path, values)


def _holds_texts(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_texts(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_holds_texts(field.type) for field in kind.fields)
    if pa.types.is_nested(kind):
        return any(_holds_texts(kind.field(number).type) for number in range(kind.num_fields))
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in (*checks, pa.types.is_fixed_size_binary))


def _texts_of(name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """Yield the texts inside a column, however deep."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if _is_text(kind):
        yield name, column
    elif pa.types.is_struct(kind):
        for number, field in enumerate(kind.fields):
            yield from _texts_of(f"{name}.{field.name}", column.flatten()[number])
    elif pa.types.is_map(kind):
        yield from _texts_of(f"{name}.key", column.keys)
        yield from _texts_of(f"{name}.value", column.items)
    elif pa.types.is_nested(kind):
        yield from _texts_of(name, column.flatten())


def _read_csv(place: Place, found: Found) -> Iterator[Texts]:
    with place.path.open("rb") as stream:
        yield from _csv(place, stream)


def _csv(place: Place, stream: IO[bytes]) -> Iterator[Texts]:
    """Read a CSV with a header as cells of text, and one that is none as running text."""
    text = pa.csv.ReadOptions(block_size=CHUNK)
    names = stream.readline()
    columns = [name.strip().strip('"').strip("'") for name in names.decode("utf-8-sig", "replace").split(",")]
    stream.seek(0)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    try:
        for batch in pa.csv.open_csv(stream, read_options=text, convert_options=types):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                yield cells(place.shown, place.kind, name, column.cast(pa.string()))
    except pa.ArrowInvalid:
        stream.seek(0)
        yield from _stream(place, stream, "text")


def _read_npy(place: Place, found: Found) -> Iterator[Texts]:
    array = np.load(place.path, mmap_mode="r", allow_pickle=False)
    found.at(place.kind).rows += len(array) if array.ndim else 1
    if array.dtype.kind not in "US":
        return
    flat = array.reshape(-1)
    for start in range(0, len(flat), ROWS):
        some = flat[start : start + ROWS]
        texts = [bytes(word) for word in some] if array.dtype.kind == "S" else [str(word).encode() for word in some]
        yield cells(place.shown, place.kind, "", pa.array(texts, pa.large_binary()))


def _read_safetensors(place: Place, found: Found) -> Iterator[Texts]:
    """Read the header; the rest are numbers."""
    with place.path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > place.bytes:
            raise ValueError("no safetensors")
        header = stream.read(length)
        json.loads(header)
        yield _text(place, header, "json")


def _read_png(place: Place, found: Found) -> Iterator[Texts]:
    """Read what is written into a picture; what is drawn can't be."""
    data = place.path.read_bytes()
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in TEXT_CHUNKS:
            content = data[at + 8 : at + 8 + length]
            if kind == b"zTXt":
                name, _, packed = content.partition(b"\0")
                content = name + b" " + zlib.decompress(packed[1:])
            yield _text(place, content.replace(b"\0", b" "), "text")
        at += length + 12
