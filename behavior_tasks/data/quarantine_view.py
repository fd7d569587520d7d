"""Looking into a quarantine: counts by reason and file, samples, and rows as CSV.

In comes a `quarantine.parquet`; out come small tables for a person. The one thing to know: the original text of a row
stands in the log alone; who asks for it gives it here, by file and line, to be put beside what was found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.found import shape_sql
from behavior_tasks.data.parse import literal

LONGEST_FOUND = 120
MOST_WORDS = 20
"""More different unknown actions than this are another column's values: then only their shape is shown."""


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
    """The row as it stands in the log; None unless it was read again."""


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


def view_quarantine(path: Path, *, reason: str | None = None, limit: int = 5) -> list[ReasonView]:
    """Return every reason (or one), most frequent first.

    Args:
        path: a table of file, line, reason, found and shopper.
        reason: only this one.
        limit: samples of each reason, the first lines of the first files.
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
                samples=_samples(connection, name, limit, shape=name == "unknown_action" and not words),
                words=tuple(words) if name == "unknown_action" else (),
            )
            for name, found in files.items()
        ]
    return sorted(views, key=lambda view: (-view.rows, view.reason))


def lines_of(path: Path, *, reason: str | None = None) -> dict[str, list[int]]:
    """Return the lines of each file that stand aside."""
    chosen = f"WHERE reason = {literal(reason)}" if reason else ""
    with connect() as connection:
        return dict(
            connection.execute(
                f"SELECT file, list(line ORDER BY line) FROM read_parquet({quote(path)}) {chosen} GROUP BY file"
            ).fetchall()
        )


def with_texts(views: Sequence[ReasonView], texts: Mapping[tuple[str, int], str]) -> list[ReasonView]:
    """Return the views with the original text beside each sample.

    Args:
        views: what `view_quarantine` gave.
        texts: file and line → the row.
    """
    return [
        replace(view, samples=tuple(replace(one, text=texts.get((one.file, one.line))) for one in view.samples))
        for view in views
    ]


def write_csv(
    path: Path, out: Path, *, reason: str | None = None, texts: Mapping[tuple[str, int], str] | None = None
) -> int:
    """Write the rows as CSV with a header, in the order of file and line, and return how many.

    Args:
        path: a table of file, line, reason, found and shopper.
        out: the CSV file to write.
        reason: only this one.
        texts: file and line → the original row, to be written too; they may hold raw ids.
    """
    columns, joined = "file, line, reason, found", ""
    if texts is not None:
        columns, joined = f"{columns}, text", "LEFT JOIN texts USING (file, line)"
    chosen = f"WHERE reason = {literal(reason)}" if reason else ""
    rows = f"SELECT {columns} FROM read_parquet({quote(path)}) {joined} {chosen} ORDER BY file, line"
    with connect() as connection:
        if texts is not None:
            files, lines = [place[0] for place in texts], [place[1] for place in texts]
            columns_of = {"file": pa.array(files, pa.string()), "line": pa.array(lines, pa.int64())}
            connection.register("texts", pa.table({**columns_of, "text": pa.array(texts.values(), pa.large_string())}))
        return int(connection.execute(f"COPY ({rows}) TO {quote(out)} (FORMAT csv, HEADER)").fetchall()[0][0])


def _words(connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
    """Return the unknown actions when they look like words of a small set, else none."""
    rows = connection.execute(f"""
        SELECT found, bool_and(regexp_full_match(found, '[\\pL][\\pL _-]{{0,29}}')) AS word FROM aside
        WHERE reason = 'unknown_action' AND found IS NOT NULL
        GROUP BY found ORDER BY count(*) DESC, found LIMIT {MOST_WORDS + 1}
    """).fetchall()
    return [found for found, word in rows if word] if len(rows) <= MOST_WORDS else []


def _samples(connection: duckdb.DuckDBPyConnection, reason: str, limit: int, *, shape: bool) -> tuple[Sample, ...]:
    found = shape_sql("found") if shape else "found"
    rows = connection.execute(
        f"""SELECT file, line, left({found}, {LONGEST_FOUND}) FROM aside
        WHERE reason = {literal(reason)} ORDER BY file, line LIMIT {limit}"""
    ).fetchall()
    return tuple(Sample(file=file, line=line, found=cell, text=None) for file, line, cell in rows)
