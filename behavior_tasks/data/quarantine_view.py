"""Looking into a quarantine: counts by reason and file, samples, and rows as CSV.

In comes a `quarantine.parquet`; out come small tables for a person. The one thing to know: the original text of a row,
which may hold raw ids, is given only to who asks for it; what was found wrong is one cell, or one word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.parse import literal

LONGEST_FOUND = 120
MOST_WORDS = 20
"""More different unknown actions than this are another column's values: then only their shape is shown."""
SHAPE_SQL = "regexp_replace(regexp_replace({0}, '[0-9]', '9', 'g'), '\\pL', 'a', 'g')"


@dataclass(frozen=True, kw_only=True)
class FileCount:
    """How many rows of one file stand aside for one reason."""

    file: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row that stands aside."""

    file: str
    line: int
    """Counted from 1."""
    found: str | None
    """The cell at fault, shortened."""
    text: str | None
    """The row as it was; None unless asked for."""


@dataclass(frozen=True, kw_only=True)
class ReasonView:
    """One reason: how often, where, and a few rows."""

    reason: str
    rows: int
    files: tuple[FileCount, ...]
    """Most rows first."""
    samples: tuple[Sample, ...]
    words: tuple[str, ...]
    """The unknown action words, most frequent first; empty for other reasons, and where they are no words."""


def view_quarantine(
    path: Path, *, reason: str | None = None, limit: int = 5, with_text: bool = False
) -> list[ReasonView]:
    """Return every reason (or one), most frequent first.

    Args:
        path: a table of file, line, reason, found and text.
        reason: only this one.
        limit: samples of each reason, the first lines of the first files.
        with_text: also give the original rows, which may hold raw ids.
    """
    chosen = f"reason = {literal(reason)}" if reason else "true"
    with connect() as connection:
        connection.execute(f"CREATE TEMP VIEW aside AS SELECT * FROM read_parquet({quote(path)}) WHERE {chosen}")
        counted = connection.execute(
            "SELECT reason, file, count(*) FROM aside GROUP BY ALL ORDER BY reason, count(*) DESC, file"
        ).fetchall()
        files: dict[str, list[FileCount]] = {}
        for name, file, rows in counted:
            files.setdefault(name, []).append(FileCount(file=file, rows=rows))
        words = _words(connection)
        views = [
            ReasonView(
                reason=name,
                rows=sum(one.rows for one in found),
                files=tuple(found),
                samples=_samples(
                    connection, name, limit, with_text=with_text, shape=name == "unknown_action" and not words
                ),
                words=tuple(words) if name == "unknown_action" else (),
            )
            for name, found in files.items()
        ]
    return sorted(views, key=lambda view: (-view.rows, view.reason))


def write_csv(path: Path, out: Path, *, reason: str | None = None, with_text: bool = False) -> int:
    """Write the rows as CSV with a header, in the order of file and line, and return how many.

    Args:
        path: a table of file, line, reason, found and text.
        out: the CSV file to write.
        reason: only this one.
        with_text: also write the original rows, which may hold raw ids.
    """
    columns = "file, line, reason, found" + (", text" if with_text else "")
    chosen = f"WHERE reason = {literal(reason)}" if reason else ""
    rows = f"SELECT {columns} FROM read_parquet({quote(path)}) {chosen} ORDER BY file, line"
    with connect() as connection:
        return int(connection.execute(f"COPY ({rows}) TO {quote(out)} (FORMAT csv, HEADER)").fetchall()[0][0])


def _words(connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
    """Return the unknown actions when they look like words of a small set, else none."""
    rows = connection.execute(f"""
        SELECT found, bool_and(regexp_full_match(found, '[\\pL][\\pL _-]{{0,29}}')) AS word FROM aside
        WHERE reason = 'unknown_action' AND found IS NOT NULL
        GROUP BY found ORDER BY count(*) DESC, found LIMIT {MOST_WORDS + 1}
    """).fetchall()
    return [found for found, word in rows if word] if len(rows) <= MOST_WORDS else []


def _samples(
    connection: duckdb.DuckDBPyConnection, reason: str, limit: int, *, with_text: bool, shape: bool
) -> tuple[Sample, ...]:
    found = SHAPE_SQL.format("found") if shape and not with_text else "found"
    text = "text" if with_text else "NULL"
    rows = connection.execute(
        f"""SELECT file, line, left({found}, {LONGEST_FOUND}), {text} FROM aside
        WHERE reason = {literal(reason)} ORDER BY file, line LIMIT {limit}"""
    ).fetchall()
    return tuple(Sample(file=file, line=line, found=cell, text=whole) for file, line, cell, whole in rows)
