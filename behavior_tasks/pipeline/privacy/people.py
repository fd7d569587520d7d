"""People: raw ids as somebody types them in; the ids as they are read from a log, and their pseudonyms, out.

The one thing to know: what is typed is read as ingest reads a cell, so `17850.0` and ` 17850` are the shopper 17850.
"""

from collections.abc import Collection, Iterable

from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect
from behavior_tasks.data.parse import cell_sql, plain_user_sql
from behavior_tasks.pipeline.runs import last_runs

MOST_RUNS = 10_000


def plain_ids(asked: Iterable[str]) -> list[str]:
    """Return different raw ids as ingest reads them, in their order; empty ones are left out.

    >>> plain_ids([" 17850", "17850.0", "u-1", ""])
    ['17850', 'u-1']
    """
    given = list(asked)
    with connect() as connection:
        sql = plain_user_sql(cell_sql("CAST(id AS VARCHAR)"))
        rows = connection.execute(
            f"SELECT {sql} FROM (SELECT unnest(?) AS id, unnest(range(?)) AS place) ORDER BY place", [given, len(given)]
        ).fetchall()
    return list(dict.fromkeys(row[0] for row in rows if row[0]))


def source_columns(home: Home) -> Collection[str]:
    """Return the names that the logs of all runs give their column of ids."""
    names = set()
    for run in last_runs(home, most=MOST_RUNS, inspections=True):
        name = run.record.config.source.columns.get("user_id")
        if name:
            names.add(name)
    return names
