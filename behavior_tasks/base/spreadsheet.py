r"""CSV for people: a table in; its text, of which no cell becomes a formula when a spreadsheet opens it, out.

Products, categories and ids come out of the shop's log, where anybody may have put them. The one thing to know: an
apostrophe before such a text says that it is text; a program that reads the file wants it as it is (`raw`).
"""

import csv

import pandas as pd

MARKS = ("=", "+", "-", "@", "\t", "\r")
"""With these at its beginning a spreadsheet takes a cell for a formula."""

LONGEST_END = "\r\n"


def safe_cell(text: str) -> str:
    r"""Return a text that no spreadsheet takes for a formula: an apostrophe before it says that it is text.

    >>> safe_cell("=1+1"), safe_cell("@x"), safe_cell("a=1")
    ("'=1+1", "'@x", 'a=1')
    """
    return f"'{text}" if text.startswith(MARKS) else text


def csv_of(table: pd.DataFrame, *, raw: bool = False, line_end: str = "\n") -> str:
    """Return a table as CSV; our own figures stay figures, what is missing is empty.

    Args:
        table: any columns.
        raw: texts as they are, for programs.
        line_end: of each row.
    """
    rows: list[str] = []
    # The writer quotes what holds its own line end alone, so it is given the longest.
    lines = csv.writer(_Rows(rows), lineterminator=LONGEST_END)
    lines.writerow([_cell(str(name), raw=raw) for name in table.columns])
    lines.writerows([_cell(value, raw=raw) for value in row] for row in table.itertuples(index=False, name=None))
    return "".join(row.removesuffix(LONGEST_END) + line_end for row in rows)


class _Rows:
    """Takes one row after the other."""

    def __init__(self, rows: list[str]) -> None:
        self._rows = rows

    def write(self, row: str, /) -> None:
        self._rows.append(row)


def _cell(value: object, *, raw: bool) -> object:
    if isinstance(value, str):
        return value if raw else safe_cell(value)
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return "" if value is None or value is pd.NA or value is pd.NaT else value
