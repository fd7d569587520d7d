"""Judging: what a champion said at a past moment and the events that followed in; each answer with its label out.

Labels are made by the function that makes those of the training. The one thing to know: nobody is lost. Who was scored
is judged, or has been erased from the log since, or was scored on events that the log no longer holds, and each is
counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.verdict.metrics import Scored

EVERY_PRODUCT = 1_000_000
"""Candidates at judging: what was served is judged, whatever has been touched since."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Scores of one moment."""

    as_of: date
    files: Sequence[Path]
    """Parquet files with the columns of `serve.score.SCHEMA`."""

    @classmethod
    def in_folder(cls, as_of: date, folder: Path) -> "Answers":
        """Return the scores in a folder of buckets."""
        return cls(as_of=as_of, files=bucket_files(folder))

    @property
    def rows(self) -> int:
        """Number of scores."""
        return sum(pq.read_metadata(file).num_rows for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Answers with what then happened, in the order of (shopper, product)."""

    as_of: date
    shoppers: np.ndarray
    """Pseudonyms, (n,)."""
    labels: np.ndarray
    """1 for a purchase within the horizon, (n,)."""
    probabilities: np.ndarray
    decisions: np.ndarray
    """What was decided when it was served, boolean (n,)."""
    erased: int
    """Answers about shoppers of whom the log holds nothing any more."""
    changed: int
    """Answers about shoppers, or products, whose events of that time have gone from the log."""

    @property
    def scored(self) -> Scored:
        """The answers as metrics take them."""
        return Scored(probabilities=self.probabilities, threshold=threshold_of(self.probabilities, self.decisions))


def together(judged: Sequence[Judged]) -> Judged:
    """Return the answers of several moments of one version as if they were one."""
    return Judged(
        as_of=judged[-1].as_of,
        shoppers=np.concatenate([one.shoppers for one in judged]),
        labels=np.concatenate([one.labels for one in judged]),
        probabilities=np.concatenate([one.probabilities for one in judged]),
        decisions=np.concatenate([one.decisions for one in judged]),
        erased=sum(one.erased for one in judged),
        changed=sum(one.changed for one in judged),
    )


def threshold_of(probabilities: np.ndarray, decisions: np.ndarray) -> float:
    """Return a threshold that gives the decisions: the lowest probability that was called a buyer.

    >>> threshold_of(np.array([0.2, 0.6, 0.9]), np.array([False, True, True]))
    0.6
    """
    if decisions.any():
        return float(probabilities[decisions].min())
    return float(np.nextafter(probabilities.max(initial=0.0), np.inf))


def judge(
    answers: Sequence[Answers], events: Sequence[BucketEvents], examples: ExamplesConfig, *, timezone: str
) -> list[Judged]:
    """Return the answers of several moments with their labels.

    Args:
        answers: of moments whose horizon is over, all of one unit and horizon.
        events: what `open_events` gives for today's clean events.
        examples: the unit, lookback and horizon of the champion that answered.
        timezone: whose midnights the moments are.
    """
    windows = [
        Window(
            split="test",
            cutoff=moment_at(one.as_of, timezone).cutoff,
            end=moment_at(one.as_of + timedelta(days=examples.horizon_days), timezone).cutoff,
        )
        for one in answers
    ]
    query = examples_sql(
        windows,
        examples.model_copy(update={"candidates": EVERY_PRODUCT}),
        timezone=timezone,
        has_amounts=False,
    )
    found: list[pd.DataFrame] = []
    for bucket in events:
        with connect() as connection:
            bucket.create_view(connection)
            found.append(_join(connection, query, answers))
    table = pd.concat(found, ignore_index=True)
    return [_collect(one, table) for one in answers]


def _join(connection: duckdb.DuckDBPyConnection, query: str, answers: Sequence[Answers]) -> pd.DataFrame:
    """Return the answers about this bucket's shoppers with their labels; none where there is no example any more."""
    files = [file for one in answers for file in one.files]
    return connection.execute(
        f"""
        WITH labels AS (
            SELECT shopper, product_id, cutoff, label FROM ({query})
        )
        SELECT a.shopper AS served, a.as_of, a.product_id, a.probability, a.decision, l.label
        FROM {parquet_sql(files)} AS a
        JOIN (SELECT DISTINCT shopper FROM events) AS here USING (shopper)
        LEFT JOIN labels AS l ON l.shopper = a.shopper AND l.cutoff = a.cutoff
            AND l.product_id IS NOT DISTINCT FROM a.product_id
        ORDER BY a.as_of, a.shopper, a.product_id
        """
    ).df()


def _collect(answers: Answers, table: pd.DataFrame) -> Judged:
    mine = table[pd.to_datetime(table["as_of"]).dt.date == answers.as_of]
    labelled = mine[mine["label"].notna()].sort_values(["served", "product_id"], kind="stable")
    return Judged(
        as_of=answers.as_of,
        shoppers=labelled["served"].to_numpy(dtype=object),
        labels=labelled["label"].to_numpy(dtype=np.int64),
        probabilities=labelled["probability"].to_numpy(dtype=np.float64),
        decisions=labelled["decision"].to_numpy(dtype=bool),
        erased=answers.rows - len(mine),
        changed=len(mine) - len(labelled),
    )
