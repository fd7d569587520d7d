"""The parts of a text: what `verbalize` writes of an example, and how the text is got from it.

A text is exactly its parts, one after the other, with nothing in between. They are words and groups of words that
come again in other texts, so that they are stored once and turned into tokens once.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.base.timeline import Split

READ_ROWS = 20_000
"""Texts that are in memory at a time."""

TEXT_SQL = "array_to_string(parts, '')"
"""SQL of the text of a row of `texts`."""


def join_parts(parts: Iterable[str]) -> str:
    """Return the text of an example.

    >>> join_parts(["User A", " browsed product B", ", 2 days later"])
    'User A browsed product B, 2 days later'
    """
    return "".join(parts)


def read_parts(file: Path, split: Split | None = None) -> Iterator[pa.ListArray]:
    """Yield the parts of a bucket's texts, or of one split's, as Arrow's lists of a dictionary's codes."""
    # Parts repeat, so Parquet keeps a dictionary of them, which Arrow is told not to spell out.
    opened = pq.ParquetFile(file, read_dictionary=["parts.list.element"])
    for batch in opened.iter_batches(READ_ROWS, columns=["parts"] if split is None else ["parts", "split"]):
        parts = batch.column("parts")
        yield parts if split is None else parts.filter(pc.equal(batch.column("split"), split))
