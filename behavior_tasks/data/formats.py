"""File formats: CSV, Parquet or JSON lines, plain or compressed, told from the first bytes and never from the name.

In comes a path; out come the format and the start of its text. The one thing to know: at most `HEAD_BYTES` of a file
are looked at, so that a log of any size is checked in no time.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import pyarrow as pa

from behavior_tasks.base.errors import UserError

Format = Literal["csv", "parquet", "jsonl"]
HEAD_BYTES = 1 << 20
PARQUET_MAGIC, GZIP_MAGIC, ZSTD_MAGIC = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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


def read_head(path: Path, *, shown: str, stated: str = "auto", most: int = HEAD_BYTES) -> Head:
    """Return the format of a file and its start.

    Args:
        path: a file that `rawfile.check_file` has passed.
        shown: its name for messages.
        stated: `source.format`; anything but auto wins over what the bytes look like.
        most: bytes to read, after unpacking.

    Raises:
        UserError: when compressed data is damaged, or the stated format can't be.
    """
    with path.open("rb") as raw:
        start = raw.read(4)
        if start.startswith(PARQUET_MAGIC):
            _refuse_unless(stated in {"auto", "parquet"}, shown, "a Parquet file", stated)
            return Head(format="parquet", content=b"", complete=False)
        raw.seek(0)
        content = _unpacked(raw, start, shown, most + 1)
    _refuse_unless(stated != "parquet", shown, "no Parquet file", stated)
    text = content.removeprefix(BYTE_ORDER_MARK).lstrip()
    kind: Format = "jsonl" if stated == "jsonl" or (stated == "auto" and text.startswith(b"{")) else "csv"
    return Head(format=kind, content=content[:most], complete=len(content) <= most)


def _unpacked(raw: IO[bytes], start: bytes, shown: str, most: int) -> bytes:
    try:
        if start.startswith(GZIP_MAGIC):
            return gzip.GzipFile(fileobj=raw).read(most)
        if start.startswith(ZSTD_MAGIC):
            # pyarrow ships zstd; the standard library has none before Python 3.14.
            return cast("bytes", pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd").read(most))
        return raw.read(most)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(shown, error, "gzip") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(shown, error, "zstd") from None


def _damaged(shown: str, error: Exception, tool: str) -> UserError:
    return UserError(
        f"The compressed file {shown} is damaged.",
        found=str(error),
        next_step=f"{tool} --test {shown}; copy or export the file again",
    )


def _refuse_unless(fits: bool, shown: str, found: str, stated: str) -> None:
    if not fits:
        raise UserError(
            f"{shown} doesn't have the format that the settings state.",
            found=found,
            expected=f"source.format = {stated}",
            next_step="--set source.format=auto",
        )
