"""Quarantine: the rows that can't be events, with file, line, reason, what was found and whose they are.

In come the parts written while the file was read; out come `quarantine.parquet` and the counts by reason. The one
thing to know: nothing of the rows is kept but what `parse.found_sql` lets through and a pseudonym; who wants to see a
row reads it in the log again (`quarantine_text`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from behavior_tasks.base.tables import quote, write_parquet
from behavior_tasks.data.found import shape_sql
from behavior_tasks.data.parse import literal
from behavior_tasks.data.reasons import EXAMPLES, REASONS, ReasonCount

MOST_WORDS = 20
"""More different unknown actions than this are no words but another column's values; none is shown then."""
LONGEST_EXAMPLE = 60


def write_quarantine(
    connection: duckdb.DuckDBPyConnection, parts: Sequence[tuple[Path, int]], path: Path
) -> list[ReasonCount]:
    """Write the rows of a file that stand aside, in the order of the file, and count them.

    Args:
        parts: files of line, reason, found and shopper, each with the number of lines before its own first.
        path: Parquet file to write.

    Returns:
        How often each reason was met, in the order of `REASONS`.
    """
    rows = " UNION ALL ".join(
        f"SELECT line + {before} AS line, reason, found, shopper FROM read_parquet({quote(part)})"
        for part, before in parts
    )
    write_parquet(connection, f"SELECT * FROM {_words_only(rows)} ORDER BY line", path)
    source = f"read_parquet({quote(path)})"
    counted = connection.execute(
        f"SELECT reason, count(*), list(line ORDER BY line)[:{EXAMPLES}] FROM {source} GROUP BY reason"
    ).fetchall()
    # Most daily files have no bad row, and to find the words of none costs as much as to find those of many.
    examples = _examples(connection, source) if counted else {}
    counts = [ReasonCount(reason=r, rows=n, lines=lines, example=examples[r]) for r, n, lines in counted]
    return sorted(counts, key=lambda count: list(REASONS).index(count.reason))


def join_quarantines(connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path], path: Path) -> None:
    """Write the quarantines of several files as one table: file, line, reason, found, shopper.

    Args:
        files: name of the raw file → its quarantine.
    """
    rows = " UNION ALL ".join(
        f"SELECT {literal(name)} AS file, line, reason, found, shopper FROM read_parquet({quote(part)})"
        for name, part in sorted(files.items())
    )
    write_parquet(connection, f"SELECT * FROM {_words_only(rows)} ORDER BY file, line", path)


def counted_only(counts: Mapping[str, int]) -> list[ReasonCount]:
    """Return the counts of rows of which nothing else is kept, in the order of `REASONS`."""
    return [ReasonCount(reason=name, rows=counts[name], lines=[]) for name in REASONS if counts.get(name)]


def _words_only(rows: str) -> str:
    """Return a query's rows; where the unknown actions are no small set of words, only their shape is left of them."""
    many = f"(SELECT count(DISTINCT found) > {MOST_WORDS} FROM held WHERE reason = 'unknown_action')"
    shape = shape_sql("found")
    found = f"CASE WHEN reason = 'unknown_action' AND {many} THEN {shape} ELSE found END AS found"
    return f"(WITH held AS ({rows}) SELECT * REPLACE ({found}) FROM held)"


def merge_reasons(counts: Mapping[str, Sequence[ReasonCount]]) -> list[ReasonCount]:
    """Return how often each reason was met in all files together, in the order of `REASONS`.

    Args:
        counts: name of the raw file → its counts. With several files, a line is told with its file.
    """
    merged: dict[str, ReasonCount] = {}
    for name, parts in sorted(counts.items()):
        for part in parts:
            lines = part.lines if len(counts) == 1 else [f"{name}:{line}" for line in part.lines]
            before = merged.get(part.reason)
            if before is None:
                merged[part.reason] = replace(part, lines=lines)
            else:
                example = before.example or part.example
                shown = [*before.lines, *lines][:EXAMPLES]
                merged[part.reason] = replace(before, rows=before.rows + part.rows, lines=shown, example=example)
    return sorted(merged.values(), key=lambda count: list(REASONS).index(count.reason))


def _examples(connection: duckdb.DuckDBPyConnection, source: str) -> defaultdict[str, str]:
    """Return, by reason, the most frequent findings that are fit to be shown: no raw id is."""
    shown = f"""CASE reason
        WHEN 'unknown_action' THEN CASE WHEN regexp_full_match(found, '[\\pL][\\pL _-]{{0,29}}') THEN lower(found) END
        WHEN 'bad_timestamp' THEN {shape_sql("found")}
        WHEN 'wrong_column_count' THEN found
        WHEN 'bad_encoding' THEN found
    END"""
    counted = f"SELECT reason, {shown} AS example, count(*) AS n FROM {source} GROUP BY ALL"
    rows = connection.execute(f"{counted} ORDER BY n DESC, reason, example").fetchall()
    grouped: dict[str, list[str]] = defaultdict(list)
    for reason, example, _ in rows:
        if example:
            grouped[reason].append(example)
    texts: defaultdict[str, str] = defaultdict(str)
    for reason, words in grouped.items():
        if reason != "unknown_action" or len(words) <= MOST_WORDS:
            text = ", ".join(words[:EXAMPLES])
            texts[reason] = text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}…"
    return texts
