"""CSV for people: no cell becomes a formula, our own figures stay figures."""

import csv
import io

import pandas as pd

from behavior_tasks.base.spreadsheet import csv_of

BAD = ['=HYPERLINK("http://evil","x")', "+1", "-1", "@SUM(A1)", "\tx", "\rx"]
GOOD = ["fine=1", 'a "quote"', "中文", "two\nlines", None]


def test_no_cell_and_no_name_can_become_a_formula_unless_a_program_asks() -> None:
    table = pd.DataFrame({"=name": [*BAD, *GOOD], "profit": -2.5, "rank": range(11)})
    rows = list(csv.reader(io.StringIO(csv_of(table), newline="")))
    assert rows[0] == ["'=name", "profit", "rank"]
    assert [row[0] for row in rows[1:]] == [*(f"'{one}" for one in BAD), *GOOD[:4], ""]
    assert {row[1] for row in rows[1:]} == {"-2.5"}
    assert [row[2] for row in rows[1:3]] == ["0", "1"]
    raw = list(csv.reader(io.StringIO(csv_of(table, raw=True), newline="")))
    assert [row[0] for row in raw] == ["=name", *BAD, *GOOD[:4], ""]
