"""Quarantine: the rows that can't be events, with file, line, reason, what was found and their original text.

In come the parts written while the file was read; out come `quarantine.parquet` and the counts by reason. The one
thing to know: the table may hold raw ids, so it stays in the artifact; messages show action words and shapes only.
"""

from collections import defaultdict
from pathlib import Path

import duckdb

from behavior_tasks.base.tables import bucket_files, quote, write_parquet
from behavior_tasks.data.parse import literal
from behavior_tasks.data.reasons import EXAMPLES, REASONS, ReasonCount

MOST_WORDS = 20
"""More different unknown actions than this are no words but another column's values; none is shown then."""
LONGEST_EXAMPLE = 60


def count_reasons(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[ReasonCount]:
    """Return how often each reason was met, in the order of `REASONS`."""
    rows = connection.execute(
        f"SELECT reason, count(*), list(line ORDER BY line)[:{EXAMPLES}] FROM {_parts(folder)} GROUP BY reason"
    ).fetchall()
    examples = _examples(connection, folder)
    counts = [ReasonCount(reason=r, rows=n, lines=lines, example=examples[r]) for r, n, lines in rows]
    return sorted(counts, key=lambda count: list(REASONS).index(count.reason))


def write_quarantine(connection: duckdb.DuckDBPyConnection, folder: Path, path: Path, *, file: str) -> None:
    """Write all rows in the order of the file.

    Args:
        file: the raw file's bare name.
    """
    query = f"SELECT {literal(file)} AS file, line, reason, found, text FROM {_parts(folder)} ORDER BY line"
    write_parquet(connection, query, path)


def _parts(folder: Path) -> str:
    return f"read_parquet([{', '.join(map(quote, bucket_files(folder)))}])"


def _examples(connection: duckdb.DuckDBPyConnection, folder: Path) -> defaultdict[str, str]:
    """Return, by reason, the most frequent findings that are fit to be shown: no raw id is."""
    shown = """CASE reason
        WHEN 'unknown_action' THEN CASE WHEN regexp_full_match(found, '[\\pL][\\pL _-]{0,29}') THEN lower(found) END
        WHEN 'bad_timestamp' THEN regexp_replace(regexp_replace(found, '[0-9]', '9', 'g'), '\\pL', 'a', 'g')
        WHEN 'wrong_column_count' THEN found
        WHEN 'bad_encoding' THEN found
    END"""
    counted = f"SELECT reason, {shown} AS example, count(*) AS n FROM {_parts(folder)} GROUP BY ALL"
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
