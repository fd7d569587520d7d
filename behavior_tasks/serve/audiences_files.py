"""The files of the audiences that are handed out: their names, their columns, and how a list is written.

The one thing to know: a CSV of contacts never holds the control, which lies in a file of its own beside it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from behavior_tasks.base.journal import OWNER_ONLY
from behavior_tasks.base.spreadsheet import csv_of

MEMBERS, TABLE, PAGE, JOURNEYS = "members.parquet", "shoppers.parquet", "page.html", "journeys.parquet"
"""All lists in one table; everybody who is scored with what conditions read; the page; what some shoppers did."""
MEMBER_COLUMNS = (
    *("audience", "campaign", "place", "group", "shopper"),
    *("probability", "expected_amount", "profit", "reason"),
)
JOURNEY_COLUMNS = ("audience", "shopper", "language", "journey")
TOLD = 3
"""Shoppers of an audience whose journey is told."""
CSV_COLUMNS = ("place", "shopper", "user_id", "probability", "expected_amount", "profit", "reason")
LIST_FILES = {"contact": "contact.csv", "control": "control.csv", "leave": "leave.csv"}
"""Group → its file in the audience's folder."""


def write_list(path: Path, members: pd.DataFrame) -> None:
    """Write a list as CSV, for programs: CSV_COLUMNS, best first; a column that nobody has a value in is left out."""
    path.write_text(list_text(members, raw=True), encoding="utf-8")


def list_text(members: pd.DataFrame, *, raw: bool, line_end: str = "\n") -> str:
    """Return a list as the text of a CSV.

    Args:
        members: some of CSV_COLUMNS.
        raw: texts as they are, for programs; else none of them can become a formula in a spreadsheet.
        line_end: of each row.
    """
    there = [name for name in CSV_COLUMNS if name in members and (name == "place" or members[name].notna().any())]
    return csv_of(members[there], raw=raw, line_end=line_end)


def read_journeys(folder: Path, language: str) -> Mapping[tuple[str, str], str]:
    """Return (audience, shopper) → journey; nothing of a date that was handed out without.

    Args:
        folder: of the audiences of a date.
        language: en or zh.
    """
    file = folder / JOURNEYS
    if not file.is_file():
        return {}
    table = pd.read_parquet(file, filters=[("language", "==", language)])
    keys = zip(table["audience"], table["shopper"], strict=True)
    return dict(zip(keys, table["journey"], strict=True))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in place of an older one, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
