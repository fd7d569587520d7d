"""Pieces: what kind of file a log is, and how it is cut into parts that workers read side by side.

In come the path of a log and its settings; out come `Piece`s that lie end to end and cover every byte once. The one
thing to know: a cut is only nominal, a record that begins before it is read to its end by the piece before it.
"""

import codecs
import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.bytesource import Compression, damage, damaged, open_bytes

Format = Literal["csv", "parquet", "jsonl"]
Stated = Literal["auto", "csv", "parquet", "jsonl"]
"""What the settings say of the format (`source.format`)."""
PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""A zstd frame, or a skippable frame before it."""
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
PIECE_BYTES = 64 << 20
UNCUT = 1 << 62
"""Bytes: no file is cut."""
BLOCK_BYTES = 8 << 20
OPENING_BYTES = 64 << 10
SCAN_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of one file that one worker reads."""

    path: Path
    shown: str
    """The file's name for messages."""
    format: Format
    compression: Compression
    start: int
    """First byte of uncompressed text, first row group of Parquet; 0 for a file that is one piece."""
    end: int | None
    """Nominal end (not in the piece): the piece reads all lines that begin before the first line end at or after it."""
    block_bytes: int = BLOCK_BYTES
    """Bytes of text that are parsed at once."""


@dataclass(frozen=True, kw_only=True)
class PieceEnd:
    """What a piece says when it has been read: the last item that `read_piece` yields."""

    start: int
    """Where reading really began. It must be the `next_start` of the piece before, else the piece is read again."""
    next_start: int
    """Where the last record ended; later than the next piece's own start when the record ran over the cut."""
    lines: int
    """Physical lines (rows of Parquet) from `start` to `next_start`."""


def detect(path: Path, *, shown: str | None = None, stated: Stated = "auto") -> tuple[Format, Compression]:
    """Return the kind of a file by its first bytes and, where these don't tell, by its ending.

    Args:
        path: a file that `rawfile.check_file` has passed.
        shown: its name for messages.
        stated: `source.format`; between CSV and JSON lines, it wins over what the file looks like.

    Raises:
        UserError: when the stated format can't be, for one JSON array, and for damaged data.
    """
    shown = shown or str(path)
    with path.open("rb") as stream:
        start = stream.read(8)
    is_parquet = start.startswith(PARQUET_MAGIC)
    if stated != "auto" and (stated == "parquet") != is_parquet:
        raise UserError(
            f"{shown} doesn't have the format that the settings state.",
            found="a Parquet file" if is_parquet else "no Parquet file",
            expected=f"source.format = {stated}",
            next_step="--set source.format=auto",
        )
    if is_parquet:
        return "parquet", "none"
    compression: Compression = "none"
    if start.startswith(GZIP_MAGIC):
        compression = "gzip"
    elif ZSTD_MAGIC.match(start):
        compression = "zstd"
    return (_text_format(path, compression, shown) if stated == "auto" else stated), compression


def _text_format(path: Path, compression: Compression, shown: str) -> Format:
    if path.suffix.lower() == ".parquet":
        raise damage(shown, "Parquet file", "it doesn't begin with PAR1")
    with open_bytes(path, compression, shown=shown) as stream:
        opening = stream.read(OPENING_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    endings = [suffix.lower() for suffix in path.suffixes[-2:] if suffix.lower() not in {".gz", ".zst", ".zstd"}]
    named = bool(endings) and endings[-1] in JSON_ENDINGS
    if named and opening.startswith(b"["):
        raise UserError(
            f"{shown} is one JSON array.",
            expected="JSON lines: one object a line",
            next_step=f"jq -c '.[]' {shown} > {path.name.partition('.')[0]}.jsonl",
        )
    return "jsonl" if named or _is_object(opening) else "csv"


def _is_object(opening: bytes) -> bool:
    """Whether the first line is a JSON object; one that is longer than what was read counts as none."""
    if not opening.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(opening.splitlines()[0]), dict)
    except ValueError:
        return False


def plan_pieces(
    path: Path, shown: str, *, format: Format, compression: Compression, encoding: str, piece_bytes: int = PIECE_BYTES
) -> list[Piece]:
    """Cut a file into pieces that lie end to end.

    Only uncompressed UTF-8 text and Parquet can be cut; any other file is one piece.

    Args:
        piece_bytes: nominal size; of Parquet, the size of its row groups before compression.
    """

    def piece(start: int, end: int | None) -> Piece:
        return Piece(path=path, shown=shown, format=format, compression=compression, start=start, end=end)

    if format == "parquet":
        cuts = _row_group_cuts(path, shown, piece_bytes)
    elif compression == "none" and codecs.lookup(encoding).name == "utf-8":
        size = path.stat().st_size
        cuts = [*range(0, size, piece_bytes), size]
    else:
        return [piece(0, None)]
    return [piece(start, end) for start, end in pairwise(cuts)] or [piece(0, None)]


def whole_piece(path: Path, shown: str, config: SourceConfig) -> Piece:
    """Return a file as one piece, whatever its size.

    Raises:
        UserError: when it is no file of a known format.
    """
    form, compression = detect(path, shown=shown, stated=config.format)
    (piece,) = plan_pieces(
        path, shown, format=form, compression=compression, encoding=config.encoding, piece_bytes=UNCUT
    )
    return piece


def open_parquet(path: Path, shown: str) -> pq.ParquetFile:
    """Open a Parquet file whose metadata agree with themselves.

    Raises:
        UserError: when they can't be read or contradict each other.
    """
    with damaged(shown, "Parquet file"):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=SCAN_BYTES, page_checksum_verification=True)
    metadata = file.metadata
    held = sum(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))
    if held != metadata.num_rows:
        file.close()
        raise damage(shown, "Parquet file", f"{metadata.num_rows:,} rows are promised, {held:,} lie in the row groups")
    return file


def _row_group_cuts(path: Path, shown: str, piece_bytes: int) -> list[int]:
    with open_parquet(path, shown) as file:
        sizes = [file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups)]
    cuts, held = [0], 0
    for number, size in enumerate(sizes, start=1):
        held += size
        if held >= piece_bytes or number == len(sizes):
            cuts.append(number)
            held = 0
    return cuts


def line_start_after(path: Path, cut: int) -> int:
    r"""Return the first byte after the first ``\n`` at or after `cut`; the size of the file when there is none."""
    with path.open("rb") as stream:
        stream.seek(cut)
        while chunk := stream.read(SCAN_BYTES):
            found = chunk.find(b"\n")
            if found >= 0:
                return cut + found + 1
            cut += len(chunk)
    return cut


def nominal_start(piece: Piece) -> int:
    """Return where a piece begins when no record of the piece before runs over the cut.

    Both neighbours use the same rule, so they neither overlap nor leave a gap.
    """
    if piece.start == 0 or piece.format == "parquet":
        return piece.start
    return line_start_after(piece.path, piece.start)


def parquet_schema(path: Path, shown: str) -> pa.Schema:
    """Return the columns of a Parquet file with their types."""
    with open_parquet(path, shown) as file:
        return file.schema_arrow
