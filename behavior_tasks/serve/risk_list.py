"""The list of risk: scored shoppers by bucket in; whom to look at today, at most so many, and not again and again, out.

A shopper can be listed whose score is above nearly all of the reference. The one thing to know: who was on an earlier
list comes again only after some days, or when it got worse; who is left out, and why, stands in the table of all.
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.application_config import RiskConfig, RiskMethod
from behavior_tasks.base.artifacts import Artifact, hash_file
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect, parquet_sql, quote, write_parquet
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import find_served, served_dates

APPLICATION = "risk"
TABLE, LIST = "risk.parquet", "risk.csv"
USUAL, REPEATED, OVER_LIMIT, LISTED = "usual", "listed before", "more than risk.alerts", "listed"
"""Why a shopper is on the list or not."""
OUTCOMES = (LISTED, REPEATED, OVER_LIMIT, USUAL)


def earlier_lists(home: Home, inputs: dict[str, Artifact]) -> dict[str, str]:
    """Return what names the earlier lists that a stage reads, by their days; (the shape of a row's `earlier`)."""
    before = Moment.load(inputs["moment"]).as_of
    named = {}
    for day in served_dates(home, APPLICATION):
        served = find_served(home, APPLICATION, day) if day < before else None
        if served is not None:
            named[f"list of {day}"] = hash_file(served.folder / LIST)
    return named


def read_earlier(home: Home, before: date, config: RiskConfig, *, method: RiskMethod) -> pd.DataFrame:
    """Return `shopper` and the highest `score` of the lists of `risk.repeat_days` before a day.

    Scores of another method can't be compared: its shoppers count as listed with a score that nothing is worse than.
    """
    tables = [pd.DataFrame({"shopper": pd.Series(dtype=str), "score": pd.Series(dtype=float)})]
    for day in served_dates(home, APPLICATION):
        if before - timedelta(days=config.repeat_days) <= day < before:
            served = find_served(home, APPLICATION, day)
            if served is not None:
                told = pq.read_table(served.folder / TABLE, columns=["shopper", "score", "outcome"]).to_pandas()
                own = told.loc[told["outcome"] == LISTED, ["shopper", "score"]]
                tables.append(own if served.facts["method"] == method else own.assign(score=math.inf))
    return pd.concat(tables).groupby("shopper", as_index=False)[["score"]].max()


def write_ranking(
    buckets: Sequence[Path], earlier: pd.DataFrame, out: Path, config: RiskConfig, *, bar: float, memory_mb: int
) -> dict[str, int]:
    """Rank everybody and write one table.

    Args:
        buckets: Parquet files with `shopper`, `score` and whatever else is told.
        earlier: what `read_earlier` gives.
        out: file with the same columns, `rank` before and `outcome` after them, in order of rank.
        config: how many are listed, and what is worse.
        bar: a score up to this is usual.

    Returns:
        Outcome → number of shoppers.
    """
    with connect(memory_mb=memory_mb) as connection:
        connection.register("earlier_list", earlier)
        connection.execute("CREATE TABLE earlier AS SELECT shopper, CAST(score AS DOUBLE) AS before FROM earlier_list")
        judged = f"""
            SELECT s.*, CASE WHEN score <= CAST('{bar!r}' AS DOUBLE) THEN '{USUAL}'
                WHEN before IS NOT NULL AND score <= before * {config.worse!r} THEN '{REPEATED}' END AS judged
            FROM {parquet_sql(buckets)} AS s LEFT JOIN earlier USING (shopper)
        """
        ranked = f"""
            SELECT row_number() OVER (ORDER BY score DESC, shopper) AS rank, * EXCLUDE (judged),
                   coalesce(judged, CASE WHEN row_number() OVER (PARTITION BY judged ORDER BY score DESC, shopper)
                       <= {config.alerts} THEN '{LISTED}' ELSE '{OVER_LIMIT}' END) AS outcome
            FROM ({judged}) ORDER BY rank
        """
        write_parquet(connection, ranked, out)
        counts = connection.execute(f"SELECT outcome, count(*) FROM read_parquet({quote(out)}) GROUP BY ALL").fetchall()
    found = dict(counts)
    return {outcome: int(found.get(outcome, 0)) for outcome in OUTCOMES}


def listed(table: Path) -> pd.DataFrame:
    """Return the list of a day out of its table, the most unusual first."""
    return pd.read_parquet(table, filters=[("outcome", "==", LISTED)]).drop(columns="outcome").sort_values("rank")
