"""The physical lines of a block of bytes, and which of them need a closer look.

In come bytes that begin and end with a line; out come the places of the lines and masks over them. The one thing to
know: a mask may call a good line odd, never an odd line good, since good ones are given to a parser that is faster
but less exact than `records`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from behavior_tasks.data.records import LONGEST_CELL

LINE_FEED, RETURN, QUOTE = 10, 13, 34
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Where the lines of a block lie in its bytes."""

    data: bytes
    starts: Numbers
    ends: Numbers
    """Behind the last byte of each line, without its line end."""

    def content(self, number: int) -> bytes:
        """Return a line without its line end."""
        return self.data[self.starts[number] : self.ends[number]]

    def __len__(self) -> int:
        return len(self.starts)


def split_lines(data: bytes) -> Lines:
    r"""Find the lines, which end with ``\n``, ``\r\n`` or ``\r``; the last may have no end.

    >>> [bytes(split_lines(b"a\r\n\rb").content(n)) for n in range(3)]
    [b'a', b'', b'b']
    """
    held = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(held == LINE_FEED)
    ends = breaks
    if b"\r" in data:
        ends = breaks - (held[np.maximum(breaks - 1, 0)] == RETURN)
        returns = np.flatnonzero(held == RETURN)
        lone = returns[held[np.minimum(returns + 1, len(held) - 1)] != LINE_FEED]
        if len(lone):
            order = np.argsort(np.concatenate([breaks, lone]), kind="stable")
            breaks = np.concatenate([breaks, lone])[order]
            ends = np.concatenate([ends, lone])[order]
    starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])
    if starts[-1] == len(data):
        return Lines(data=data, starts=starts[:-1], ends=ends)
    return Lines(data=data, starts=starts, ends=np.append(ends, len(data)))


def odd_lines(lines: Lines, delimiter: bytes) -> Mask:
    """Mark every line in which something is wrong or unusual, but for its number of cells.

    Marked are lines with NUL or undecodable bytes, such as may hold too long a cell, and such as are not whole
    records in the quoting of RFC 4180.
    """
    odd = undecodable_lines(lines) | (lines.ends - lines.starts > LONGEST_CELL)
    if b'"' in lines.data:
        odd |= _badly_quoted(lines, np.frombuffer(lines.data, np.uint8), delimiter)
    return odd


def undecodable_lines(lines: Lines) -> Mask:
    """Mark every line with a NUL or with bytes that are not UTF-8."""
    data, bad = lines.data, np.zeros(len(lines), np.bool_)
    held = np.frombuffer(data, np.uint8)
    if b"\0" in data:
        bad[_line_of(np.flatnonzero(held == 0), lines)] = True
    if not _decodes(data):
        unusual = np.zeros(len(lines), np.bool_)
        unusual[_line_of(np.flatnonzero(held >= 0x80), lines)] = True
        bad[[n for n in np.flatnonzero(unusual).tolist() if not _decodes(lines.content(n))]] = True
    return bad


def _decodes(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _line_of(positions: Numbers, lines: Lines) -> Numbers:
    return np.searchsorted(lines.starts, positions, side="right") - 1


def _badly_quoted(lines: Lines, held: npt.NDArray[np.uint8], delimiter: bytes) -> Mask:
    """Mark lines that `csv` would not read as one record with every quote at the edge of a cell or doubled.

    In a good line the quotes open and close in turn, where a doubled one closes and opens again. An opening quote
    then follows a delimiter, the line's beginning or a closing quote; a closing one comes before a delimiter, the
    line's end or an opening quote.
    """
    quotes = np.flatnonzero(held == QUOTE)
    first = np.searchsorted(quotes, lines.starts)
    counts = np.diff(np.append(first, len(quotes)))
    odd = (counts & 1).astype(np.bool_)
    if odd.any():
        quotes = quotes[np.repeat(~odd, counts)]
    edges = np.zeros(256, np.bool_)
    edges[[LINE_FEED, RETURN, QUOTE, *delimiter]] = True
    # Every line has an even number of quotes now, so they open and close in turn all through the block.
    opening, closing = quotes[::2], quotes[1::2]
    # Beside the first byte this looks at the last one, which may call a good line odd; beside the last at itself.
    opened = edges[held[opening - 1]]
    closed = edges[held[np.minimum(closing + 1, len(held) - 1)]]
    for wrong in (opening[~opened], closing[~closed]):
        odd[_line_of(wrong, lines)] = True
    return odd
