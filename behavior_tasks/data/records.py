r"""CSV records with the line on which each starts and its original text.

In come physical lines; out come tuples, one a record, with the cells or the reason why there are none. The one
thing to know: a quote that is never closed would swallow the rest of the file, so a record that spans lines and
doesn't fit is taken back to its first line, and reading starts again on the next one.

>>> for record in read_records(["a,b\n", '"x\n', 'y",2\n', '"lost,1\n', "3,4\n"], delimiter=",", width=2):
...     print(record)
(1, 'a,b', ['a', 'b'], None, '')
(2, '"x\ny",2', ['x\ny', '2'], None, '')
(4, '"lost,1', None, 'broken_quotes', 'unexpected end of data')
(5, '3,4', ['3', '4'], None, '')
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from behavior_tasks.data.rawfile import BYTE_ORDER_MARK, SURROGATE, is_blank, printable

QUOTE = '"'
LONGEST_CELL = 131_072
"""Characters; also the limit of Python's csv module, which ends the search for a closing quote."""
CHECKED_LINES = 16
"""After so many lines, and then after twice as many each time, an open record is counted."""
Record = tuple[int, str, list[str] | None, str | None, str]
"""Line on which it starts (from 1), original text, cells or None, reason code or None, what was found."""


def read_records(lines: Iterable[str], *, delimiter: str, width: int) -> Iterator[Record]:
    """Yield every record that is not blank.

    Args:
        lines: physical lines, line ends kept; a byte order mark at the start is dropped.
        width: number of cells that a record must have.
    """
    source = iter(lines)
    returned: deque[str] = deque()
    number = 0
    while (line := returned.popleft() if returned else next(source, None)) is not None:
        number += 1
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if QUOTE not in line:
            text = line.rstrip("\r\n")
            if text and not (text.isspace() and is_blank(text)):
                yield _judge(number, text, text.split(delimiter), width)
            continue
        taken = [line]
        following = _take(returned, source, taken, delimiter=delimiter, width=width)
        cells, found = _read_quoted(chain([line], following), delimiter)
        if cells is None or (len(taken) > 1 and len(cells) != width):
            returned.extendleft(reversed(taken[1:]))
            reason = "cell_too_long" if len(line) > LONGEST_CELL else "broken_quotes"
            yield number, printable(line.rstrip("\r\n")), None, reason, found
        else:
            yield _judge(number, "".join(taken).rstrip("\r\n"), cells, width)
            number += len(taken) - 1


def _take(
    returned: deque[str], source: Iterator[str], taken: list[str], *, delimiter: str, width: int
) -> Iterator[str]:
    """Yield the following lines, noting each as taken, until there are more cells than fit.

    Otherwise a file that lacks its outer quotes, with lines such as `a","b`, would be read to its end for every line.
    """
    check = CHECKED_LINES
    while (line := returned.popleft() if returned else next(source, None)) is not None:
        taken.append(line)
        yield line
        if len(taken) == check:
            if len(next(csv.reader(taken, delimiter=delimiter))) > width:
                return
            check *= 2


def _read_quoted(lines: Iterator[str], delimiter: str) -> tuple[list[str] | None, str]:
    """Read one record, taking as many lines as its quotes need; without cells, say what was found."""
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True)), "a quote left open"
    except csv.Error as error:
        return None, str(error)


def _judge(start: int, text: str, cells: list[str], width: int) -> Record:
    if not text.isascii() and (bad := SURROGATE.search(text)):
        return start, printable(text), None, "bad_encoding", f"the byte {printable(bad[0])}"
    if "\0" in text:
        return start, printable(text), None, "bad_encoding", "a NUL byte"
    if len(cells) != width:
        return start, text, None, "wrong_column_count", f"{len(cells)} columns instead of {width}"
    if len(text) > LONGEST_CELL and len(longest := max(cells, key=len)) > LONGEST_CELL:
        return start, text, None, "cell_too_long", f"{len(longest)} characters in one cell"
    return start, text, cells, None, ""
