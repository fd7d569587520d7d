"""The files of encode: texts in parts that are read, arrays that grow by rows while they are written.

In and out go some thousand rows at a time, so memory stays flat at any size. The one thing to know: an array's header
has room for any number of rows, so it is written first with none and again when they are known.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy

from behavior_tasks.base.timeline import Split

READ_ROWS = 8_000
"""Rows that are in memory at a time."""


def read_parts(file: Path, split: Split | None = None) -> Iterator[pa.ListArray]:
    """Yield the parts of a bucket's texts, or of one split's, as Arrow's lists of strings."""
    # Arrow can't leave lists of strings in the dictionary that Parquet has of them, unless there is but one.
    for batch in pq.ParquetFile(file).iter_batches(READ_ROWS, columns=["parts", "split"] if split else ["parts"]):
        parts = batch.column("parts")
        yield parts.filter(pc.equal(batch.column("split"), split)) if split else parts


class ArrayFile:
    """An `.npy` file that is written row by row; it is whole once the `with` block ends.

    Args:
        row: shape of one row; () for plain values.
    """

    def __init__(self, path: Path, kind: np.dtype, row: tuple[int, ...] = ()) -> None:
        self._kind, self._row, self._rows = kind, row, 0
        self._stream = path.open("wb")
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Add rows, shape (n, *row)."""
        self._stream.write(np.ascontiguousarray(values, dtype=self._kind).data)
        self._rows += len(values)

    def append_file(self, path: Path) -> None:
        """Add all rows of another such file."""
        with path.open("rb") as source:
            shape, _, kind = _read_header(source)
            if (kind, shape[1:]) != (self._kind, self._row):
                raise AssertionError(f"{path.name} holds {kind} {shape[1:]}, expected {self._kind} {self._row}")
            shutil.copyfileobj(source, self._stream, 1 << 22)
        self._rows += shape[0]

    def _write_header(self) -> None:
        shape = (self._rows, *self._row)
        header = {"descr": npy.dtype_to_descr(self._kind), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._stream, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stream:
            self._stream.seek(0)
            self._write_header()


def map_array(path: Path) -> np.ndarray:
    """Map an `.npy` file into memory; nothing of it is read before it is used.

    Raises:
        ValueError: when it is no such file, or shorter or longer than its header says.
    """
    with path.open("rb") as stream:
        shape, order, kind = _read_header(stream)
        start = stream.tell()
    values = int(np.prod(shape, dtype=np.int64))
    found, expected = path.stat().st_size, start + values * kind.itemsize
    if found != expected:
        raise ValueError(f"{found} bytes, where {expected} belong to the shape {shape}")
    if not values:
        # What is empty can't be mapped.
        return np.zeros(shape, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r", offset=start, shape=shape, order="F" if order else "C")


def _read_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, order, kind = read(stream)
    if kind.hasobject:
        raise ValueError("holds Python objects")
    return shape, order, kind
