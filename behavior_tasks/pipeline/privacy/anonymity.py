"""k-anonymity of the profiles in texts: how many shoppers share each one's age band, gender and purchase words.

In comes a run that has written texts; out come the sizes of the groups, and what coarsening one of them would give
(Sweeney 2002). The one thing to know: a large group protects against being picked out by these words alone; what
somebody did stands in the text as well, and the report says so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.text.profiles import PROFILE, profile_words
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import SETTINGS_FILE

SIZES = (5, 10, 20)
"""Groups smaller than these are counted."""
MEASURE = 10
"""By the share in groups smaller than this, ways of coarsening are compared."""
WIDE_BAND_YEARS = 20
SHOWN = 10
FOLDER, REPORT = "anonymity", "report.json"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The sizes of the groups of shoppers with one profile."""

    groups: int
    smallest: int
    """k: everybody shares their profile with at least so many, themselves among them; 0 without a shopper."""
    median: float
    """Of the size of a shopper's group."""
    below: Mapping[int, float]
    """Size → share of shoppers in groups smaller than that."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to coarsen the profiles, and what it gives."""

    words: str
    setting: str
    """What to set; empty where only the templates of the texts can do it."""
    spread: Spread


@dataclass(frozen=True, kw_only=True)
class Anonymity:
    """How well the profiles of a run's texts hide a shopper among others."""

    run: str
    shoppers: int
    spread: Spread
    sizes: Sequence[int]
    """Of every group, the smallest first."""
    smallest_groups: Sequence[Mapping[str, object]]
    """Profile and `shoppers` of the smallest groups."""
    ways: Sequence[Way]
    """That which helps most first."""


def measure_anonymity(run: Run) -> Anonymity:
    """Return how large the groups of shoppers with one profile are, each shopper at their last cutoff.

    Args:
        run: one that has written texts.

    Raises:
        UserError: when it has not.
    """
    features, verbalized = run.artifact("features"), run.artifact("verbalize")
    if features is None or verbalized is None:
        raise UserError(f"The run {run.record.run_id} has written no texts.", next_step="behavior run --input log.csv")
    settings = TextSettings.load(verbalized.path / SETTINGS_FILE)
    people = _last_profiles(bucket_files(features.path / "examples"), memory_mb=run.record.config.engine.memory_mb)
    return measure(people, settings, run=run.record.run_id, columns=run.record.config.source.columns)


def measure(
    people: pd.DataFrame, settings: TextSettings, *, run: str, columns: Mapping[str, str | None] | None = None
) -> Anonymity:
    """Return how large the groups are.

    Args:
        people: `age`, `gender`, `purchases`, a row a shopper.
        settings: how their texts are written.
        run: id of the run.
        columns: `source.columns` of the run, which a setting that leaves one out must keep.
    """
    words = profile_words(settings, people)
    counted = words.value_counts(ascending=True).reset_index(name="shoppers")
    smallest = counted.sort_values(["shoppers", *PROFILE]).head(SHOWN)
    ways = _ways(people, words, settings, columns or {})
    return Anonymity(
        run=run,
        shoppers=len(people),
        spread=_spread(words),
        sizes=sorted(int(size) for size in counted["shoppers"]),
        smallest_groups=[{str(name): value for name, value in row.items()} for row in smallest.to_dict("records")],
        ways=sorted(ways, key=lambda way: (way.spread.below[MEASURE], -way.spread.smallest)),
    )


def keep_report(run: Run, found: Anonymity) -> Path:
    """Write the figures into `privacy/anonymity/<run>/` and return that folder."""
    folder = make_folder(run.home.privacy / FOLDER / run.record.run_id)
    text = json.dumps(asdict(found), indent=2, ensure_ascii=False)
    write_durably(folder / REPORT, (text + "\n").encode())
    return folder


def _last_profiles(files: Sequence[Path], *, memory_mb: int) -> pd.DataFrame:
    """Return each shopper's profile at their last cutoff, without who they are."""
    with connect(memory_mb=memory_mb) as connection:
        return connection.execute(
            f"""SELECT age, gender, purchases FROM (
                SELECT shopper, arg_max(struct_pack(age, gender, purchases), cutoff) AS last
                FROM (SELECT shopper, cutoff, CAST(age AS DOUBLE) AS age, CAST(gender AS VARCHAR) AS gender,
                    CAST(purchases AS DOUBLE) AS purchases FROM {parquet_sql(files)})
                GROUP BY shopper
            ), LATERAL (SELECT last.age AS age, last.gender AS gender, last.purchases AS purchases)"""
        ).df()


def _ways(
    people: pd.DataFrame, words: pd.DataFrame, settings: TextSettings, columns: Mapping[str, str | None]
) -> list[Way]:
    """Return what each single change would give; of columns that say nothing there is nothing to change."""
    found = []
    if words["gender"].nunique() > 1:
        found.append(
            Way(words="no gender", setting="privacy.gender=drop", spread=_spread(words.drop(columns="gender")))
        )
    if words["age"].nunique() > 1:
        # A table that is set replaces the one before.
        no_age = f"source.columns={json.dumps({**columns, 'age': None}, ensure_ascii=False)}"
        wide = people.assign(age=people["age"] // WIDE_BAND_YEARS * WIDE_BAND_YEARS + WIDE_BAND_YEARS // 2)
        found += [
            Way(
                words=f"ages in bands of {WIDE_BAND_YEARS} years",
                setting=f"privacy.age_band_years={WIDE_BAND_YEARS}",
                spread=_spread(profile_words(settings, wide)),
            ),
            Way(words="no age", setting=no_age, spread=_spread(words.drop(columns="age"))),
        ]
    if words["purchases"].nunique() > 1:
        without = words.drop(columns="purchases")
        found.append(Way(words="no words for the number of purchases", setting="", spread=_spread(without)))
    return found


def _spread(words: pd.DataFrame) -> Spread:
    if words.empty:
        return Spread(groups=0, smallest=0, median=0.0, below=dict.fromkeys(SIZES, 0.0))
    own = words.groupby(list(words.columns))[words.columns[0]].transform("size").to_numpy()
    return Spread(
        groups=len(words.drop_duplicates()),
        smallest=int(own.min()),
        median=float(np.median(own)),
        below={size: float((own < size).mean()) for size in SIZES},
    )
