"""The start of a text file, looked over: its first lines, and the bytes that its encoding doesn't know.

In comes a file's head as bytes; out comes a `Scan`, or the error that names the encoding it is likely in. The one
thing to know: only the head is looked at; bad bytes further on stand aside as rows with the reason `bad_encoding`.
"""

import codecs
import io
from dataclasses import dataclass, field

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.bytesource import wrong_encoding
from behavior_tasks.data.formats import Head
from behavior_tasks.data.rawfile import SURROGATE, header_text, is_blank, likely_encoding

MANY_BAD_LINES, MANY_BAD_SHARE = 10, 0.001
"""So many undecodable lines, being most of the lines beyond ASCII, are no accident but another encoding."""
SHOWN_BYTES = 4
SAMPLED_BAD_LINES = 200


@dataclass(kw_only=True)
class Scan:
    """What a look over the start of a file shows."""

    lines: int = 0
    """Physical lines, the header and blank ones included; one that the head cuts is none."""
    non_ascii: int = 0
    """Lines with a character beyond ASCII."""
    undecodable: int = 0
    """Lines with a byte that the encoding doesn't know."""
    first_undecodable: int = 0
    """Line number of the first, counted from 1; 0: none."""
    sample: list[bytes] = field(default_factory=list)
    """The bytes of the first few."""
    opening: list[str] = field(default_factory=list)
    """The first two lines that are not blank."""


def text_lines(head: Head, *, encoding: str, shown: str) -> list[str]:
    """Return the lines of a head with their ends; undecodable bytes come through as the surrogates of PEP 383.

    Raises:
        UserError: when (UTF-16 and the like) the text as a whole can't be decoded.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
        text = decoder.decode(head.content, final=head.complete)
    except UnicodeError as error:
        raise wrong_encoding(shown, encoding, error) from None
    # Lines end with \n, \r or \r\n, as when the file itself is read.
    lines = list(io.StringIO(text, newline=""))
    return lines if head.complete or len(lines) < 2 else lines[:-1]


def scan_head(head: Head, *, encoding: str, shown: str) -> Scan:
    """Look over the lines of a head.

    Raises:
        UserError: when the text as a whole can't be decoded.
    """
    scan = Scan()
    for number, line in enumerate(text_lines(head, encoding=encoding, shown=shown), start=1):
        scan.lines = number
        if len(scan.opening) < 2 and not is_blank(line):
            scan.opening.append(header_text(line))
        if line.isascii():
            continue
        scan.non_ascii += 1
        if SURROGATE.search(line):
            scan.undecodable += 1
            scan.first_undecodable = scan.first_undecodable or number
            if len(scan.sample) < SAMPLED_BAD_LINES:
                scan.sample.append(line.encode(encoding, "surrogateescape"))
    return scan


def check_encoding(scan: Scan, config: SourceConfig, *, shown: str) -> None:
    """Check that the text is in the encoding that the settings state.

    Raises:
        UserError: naming the encoding that it is likely in.
    """
    if not scan.undecodable:
        return
    share = scan.undecodable / scan.lines
    mostly = scan.undecodable >= MANY_BAD_LINES and 2 * scan.undecodable >= scan.non_ascii and share > MANY_BAD_SHARE
    if not (SURROGATE.search(scan.opening[0]) or share > config.max_bad_fraction or mostly):
        return
    likely = likely_encoding(scan.sample, config.encoding)
    first = next(n for n, byte in enumerate(scan.sample[0]) if byte > 0x7F)
    held = scan.sample[0][first : first + SHOWN_BYTES].hex(" ")
    raise UserError(
        f"The file {shown} is not written in {config.encoding}.",
        found=f"line {scan.first_undecodable} holds the bytes {held}; "
        f"{scan.undecodable:,} of {scan.lines:,} lines can't be read",
        expected=f"text in source.encoding = {config.encoding}",
        next_step=f"--set source.encoding={likely}" if likely else "set source.encoding to what the export used",
    )
