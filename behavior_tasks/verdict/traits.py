"""Traits of the test examples' shoppers: features and events of before the cutoff in; a word for each trait out.

By these words the test set is cut into slices. Bounds (what is active, what is a long history, which categories have a
name of their own) come from train, never from test. The one thing to know: a trait that the log can't tell of is named
with the reason instead of being left out silently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, connect, quote
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.examples.feature_taste import AGE_EDGES
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.verdict.probes import feature_settings

TOP_CATEGORIES = 10
"""Categories, those with the most events on train, that are a slice of their own."""
OTHER = "other"
LANGUAGES = {"en": "English", "zh": "Chinese"}
READ = ("purchases", "events", "events_30d", "age_band", "gender")
"""Features that traits are made of; `events_30d` is missing when the lookback is no longer than that."""


@dataclass(frozen=True, kw_only=True)
class Trait:
    """One way to cut the test examples into slices."""

    name: str
    values: np.ndarray
    """A word for each test example, (n,)."""
    order: tuple[str, ...]
    """The words in the order in which they are shown."""
    meanings: Mapping[str, str]
    """What a word stands for, where it does not say so itself."""

    @cached_property
    def present(self) -> list[str]:
        """The words that at least one example has, in order."""
        found = set(pd.unique(self.values.astype(object)))
        return [value for value in self.order if value in found]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The traits that this log can tell of, and why it can't tell of the others."""

    told: tuple[Trait, ...]
    untold: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    features: Path
    events: BucketEvents
    columns: tuple[str, ...]
    lookback_days: int
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class _Found:
    test: pd.DataFrame
    """A row a test example: example, features, favourite category."""
    train: dict[str, pd.Series]
    """Feature → number of shoppers at a train cutoff that have each value."""


def read_traits(job: Job, examples: Sequence[str], settings: TextSettings) -> Traits:
    """Return the traits of the shoppers of test examples.

    Args:
        job: the evaluation, whose inputs hold `features` and `clean`.
        examples: ids of the test examples, in the order in which the words are wanted.
        settings: how the candidate's texts are written; it knows the categories of train and the language.
    """
    features = job.inputs["features"]
    columns = tuple(name for name in READ if name in features.facts["features"])
    buckets = [
        _Bucket(
            features=file,
            events=events,
            columns=columns,
            lookback_days=feature_settings(job).lookback_days,
            memory_mb=job.config.engine.memory_mb,
        )
        for file, events in zip(bucket_files(features.path / "examples"), open_events(job.inputs["clean"]), strict=True)
    ]
    found = run_buckets(_read_bucket, buckets, engine=job.config.engine, what="the shoppers' traits")
    table = pd.concat([of.test for of in found]).set_index("example").reindex(list(examples))
    recent = "events_30d" if "events_30d" in columns else "events"
    bounds = {name: pd.concat([of.train[name] for of in found]).groupby(level=0).sum() for name in {recent, "events"}}
    made = [
        _history(table),
        _activity(table[recent], bounds[recent], recent),
        _age(table["age_band"]),
        _gender(table["gender"]),
        _category(table["category"], settings.categories[:TOP_CATEGORIES]),
        _length(table["events"], bounds["events"]),
        _language(len(table), settings.language),
    ]
    told = tuple(trait for trait in made if isinstance(trait, Trait))
    return Traits(told=told, untold=dict(trait for trait in made if not isinstance(trait, Trait)))


def quantile_of_counts(counts: pd.Series, q: float) -> float:
    """Return the smallest value that at least a share q has at most.

    >>> quantile_of_counts(pd.Series([2, 1, 1], index=[0.0, 5.0, 9.0]), 0.5)
    0.0
    """
    ordered = counts.sort_index()
    reached = ordered.cumsum().to_numpy() >= q * ordered.sum() - 1e-9
    return float(ordered.index[int(np.argmax(reached))]) if len(ordered) else 0.0


def _history(table: pd.DataFrame) -> Trait:
    return Trait(
        name="history",
        values=np.where(table["purchases"].to_numpy(dtype=float) > 0, "returning", "new"),
        order=("new", "returning"),
        meanings={"new": "no purchase within the lookback", "returning": "has bought within the lookback"},
    )


def _activity(recent: pd.Series, on_train: pd.Series, feature: str) -> Trait:
    most = quantile_of_counts(on_train, 0.5)
    what = "events in the last 30 days" if feature == "events_30d" else "events within the lookback"
    return Trait(
        name="activity",
        values=np.where(recent.to_numpy(dtype=float) > most, "active", "quiet"),
        order=("quiet", "active"),
        meanings={"quiet": f"at most {most:g} {what}, the median of train", "active": f"more than {most:g} {what}"},
    )


def _age(band: pd.Series) -> Trait | tuple[str, str]:
    if band.isna().all():
        return "age_band", "the log states nobody's age"
    words = [
        f"under {AGE_EDGES[0]}",
        *(f"{low}–{high - 1}" for low, high in pairwise(AGE_EDGES)),
        f"{AGE_EDGES[-1]} and over",
        UNKNOWN,
    ]
    places = band.fillna(len(words) - 1).to_numpy(dtype=int)
    return Trait(name="age_band", values=np.array(words)[places], order=tuple(words), meanings={})


def _gender(gender: pd.Series) -> Trait | tuple[str, str]:
    known = gender.where(gender.notna() & (gender != ""), UNKNOWN).astype(str)
    if (known == UNKNOWN).all():
        return "gender", "the log states nobody's gender"
    words = sorted(set(known) - {UNKNOWN})
    return Trait(name="gender", values=known.to_numpy(), order=(*words, UNKNOWN), meanings={})


def _category(category: pd.Series, top: Sequence[str]) -> Trait | tuple[str, str]:
    if category.isna().all():
        return "category", "the log names no categories"
    words = category.where(category.isin(top) | category.isna(), OTHER).fillna(UNKNOWN).astype(str)
    order = tuple(dict.fromkeys((*top, OTHER, UNKNOWN)))
    meanings = {OTHER: f"none of the {len(top)} categories with the most events on train"}
    return Trait(name="category", values=words.to_numpy(), order=order, meanings=meanings)


def _length(events: pd.Series, on_train: pd.Series) -> Trait:
    low, high = (quantile_of_counts(on_train, q) for q in (1 / 3, 2 / 3))
    numbers = events.to_numpy(dtype=float)
    return Trait(
        name="history_length",
        values=np.where(numbers <= low, "short", np.where(numbers <= high, "medium", "long")),
        order=("short", "medium", "long"),
        meanings={
            "short": f"at most {low:g} events within the lookback, as a third of train",
            "medium": f"more than {low:g} and at most {high:g} events",
            "long": f"more than {high:g} events",
        },
    )


def _language(examples: int, language: str) -> Trait:
    return Trait(
        name="language",
        values=np.full(examples, language),
        order=(language,),
        meanings={language: f"every text of this model is written in {LANGUAGES.get(language, language)}"},
    )


def _read_bucket(bucket: _Bucket) -> _Found:
    with connect(memory_mb=bucket.memory_mb) as connection:
        connection.execute(f"CREATE VIEW examples AS SELECT * FROM read_parquet({quote(bucket.features)})")
        bucket.events.create_view(connection)
        test = connection.execute(_TEST.format(columns=", ".join(bucket.columns), days=bucket.lookback_days)).df()
        train = {
            name: connection.execute(_TRAIN.format(name=name)).df().set_index(name)["shoppers"]
            for name in bucket.columns
            if name.startswith("events")
        }
    return _Found(test=test, train=train)


_TEST = f"""
    WITH asked AS (SELECT DISTINCT shopper, cutoff FROM examples WHERE split = 'test'),
    touched AS (
        SELECT shopper, cutoff, category, count(*) AS n FROM asked JOIN events USING (shopper)
        WHERE timestamp < cutoff AND timestamp >= cutoff - INTERVAL {{days}} DAY AND category NOT IN ('', '{UNKNOWN}')
        GROUP BY shopper, cutoff, category
    ),
    favourites AS (
        SELECT shopper, cutoff, arg_min(category, (-n, category)) AS category FROM touched GROUP BY shopper, cutoff
    )
    SELECT example, {{columns}}, category
    FROM (SELECT * FROM examples WHERE split = 'test') LEFT JOIN favourites USING (shopper, cutoff)
"""
"""Of categories with as many events, the first by name."""
_TRAIN = """
    SELECT {name}, count(*) AS shoppers
    FROM (SELECT DISTINCT shopper, cutoff, {name} FROM examples WHERE split = 'train') GROUP BY {name}
"""
