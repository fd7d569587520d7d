"""The start of a file: its format, told from its bytes, and as much of its text as a look needs.

In comes a path; out comes a `Head`. The one thing to know: at most `HEAD_BYTES` of a file are looked at, after
unpacking, so that a log of any size is checked in no time.
"""

from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.data.bytesource import open_bytes
from behavior_tasks.data.pieces import Format, Stated, detect

HEAD_BYTES = 1 << 20
PACKED = ("", ".gz", ".zst")
ENDINGS = (".parquet", *(f".{kind}{end}" for kind in ("csv", "tsv", "txt", "jsonl", "ndjson") for end in PACKED))
"""Endings of files that a folder is searched for; any other file must be named."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The start of a file, unpacked."""

    format: Format
    content: bytes
    """At most `HEAD_BYTES`; the whole file when `complete`. Empty for Parquet."""
    complete: bool


def has_known_ending(path: Path) -> bool:
    """Whether a folder's file looks like a log by its name."""
    return path.name.lower().endswith(ENDINGS)


def read_head(path: Path, *, shown: str, stated: Stated = "auto", most: int = HEAD_BYTES) -> Head:
    """Return the format of a file and its start.

    Args:
        path: a file that `rawfile.check_file` has passed.
        shown: its name for messages.
        stated: `source.format`; see `detect`.
        most: bytes to read, after unpacking.

    Raises:
        UserError: when compressed data is damaged, or the stated format can't be.
    """
    kind, compression = detect(path, shown=shown, stated=stated)
    if kind == "parquet":
        return Head(format=kind, content=b"", complete=False)
    with open_bytes(path, compression, shown=shown) as stream:
        content = stream.read(most + 1)
    return Head(format=kind, content=content[:most], complete=len(content) <= most)
