"""The raw file: checked before it is opened, and the small words about its text that all readers share.

In comes the path as the user typed it, or a line; out comes an error that says what is there instead, or the line as
it can be shown. The one thing to know: bytes that don't fit the encoding come through as lone surrogates, so that one
broken row never stops the reading of the others.
"""

import re
from pathlib import Path

from behavior_tasks.base.errors import UserError

FOREIGN_MAGIC = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "export it as CSV, or unpack it"),
    b"BZh": ("a bzip2 file", "unpack it with bunzip2, or compress it with gzip instead"),
    b"\xfd7zXZ": ("an xz file", "unpack it with unxz, or compress it with gzip instead"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "export it as CSV"),
}
BYTE_ORDER_MARK = "\ufeff"
SURROGATE = re.compile("[\udc80-\udcff]")


def check_file(path: Path, shown: str) -> None:
    """Check that there is a readable, non-empty file of a kind that can be read here.

    Args:
        shown: the file's name for messages, as the user typed it.

    Raises:
        UserError: saying what is there instead.
    """
    try:
        path.stat()
    except PermissionError:
        raise not_allowed(shown) from None
    except (OSError, ValueError):
        raise UserError(
            f"There is no file {shown}.", next_step="check the path of the input (--input, INPUT=…)"
        ) from None
    if not path.is_file():
        raise UserError(f"{shown} is not a regular file.", next_step="write the log to a file and name that")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except PermissionError:
        raise not_allowed(shown) from None
    if not start:
        raise UserError(
            f"The file {shown} is empty.", expected="a header line and rows", next_step="check the export that wrote it"
        )
    for magic, (kind, remedy) in FOREIGN_MAGIC.items():
        if start.startswith(magic):
            raise UserError(
                f"{shown} is {kind}.", expected="CSV or JSON lines, plain, gzip or zstd, or Parquet", next_step=remedy
            )


def not_allowed(shown: str) -> UserError:
    """The error for a file or folder that this user may not read."""
    return UserError(
        f"The file {shown} may not be read by this user.",
        found="permission denied",
        next_step=f"chmod u+r {shown}, or run as the user who owns it",
    )


def is_blank(line: str) -> bool:
    """Whether a line holds nothing but spaces, its end, and perhaps the byte order mark."""
    return not line.strip(BYTE_ORDER_MARK + " \r\n")


def header_text(line: str) -> str:
    """Return a first line without byte order mark and line end."""
    return line.removeprefix(BYTE_ORDER_MARK).rstrip("\r\n")


def printable(text: str) -> str:
    r"""Return text with undecodable bytes and NULs written out, so that it can be stored and shown.

    >>> print(printable("caf\udce9 \0"))
    caf\xe9 \x00
    """
    return SURROGATE.sub(lambda m: f"\\x{ord(m[0]) - 0xDC00:02x}", text).replace("\0", r"\x00")


def likely_encoding(sample: list[bytes], configured: str) -> str | None:
    """Return an encoding that reads all of these lines, or None.

    Chinese text comes in runs of at least two bytes beyond ASCII; an accented letter of Western text stands alone.

    >>> likely_encoding(["你好,世界".encode("gbk")], "utf-8"), likely_encoding(["café noir".encode("cp1252")], "utf-8")
    ('gb18030', 'cp1252')
    """
    blob = b"".join(sample)
    if blob.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    runs = re.findall(rb"[\x80-\xff]+", blob)
    chinese = 2 * sum(len(run) > 1 for run in runs) > len(runs)
    candidates = ("utf-8", "gb18030", "cp1252") if chinese else ("utf-8", "cp1252", "gb18030")
    for candidate in candidates:
        if candidate != configured.lower() and _decodes(sample, candidate):
            return candidate
    return None


def _decodes(sample: list[bytes], encoding: str) -> bool:
    try:
        for line in sample:
            line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
