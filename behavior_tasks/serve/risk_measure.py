"""Measures of risk: clean events and a moment in; a file a bucket out, with what is unusual about each shopper.

A row is a shopper with an event in the window: the values of the velocity rules, and how surprising the language model
finds what they did. The one thing to know: memory holds one bucket at a time, and each shopper costs the model one
pass over the beginning of their text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.progress import track
from behavior_tasks.base.tables import bucket_file, connect
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.model.surprise import SurpriseReader
from behavior_tasks.serve.risk_rules import Window, measure_rules
from behavior_tasks.text.phrases import Told, tell_phrases
from behavior_tasks.text.settings import TextSettings

TOP_PHRASES = 3
"""Most surprising phrases of a shopper that count, and that are told."""
SURPRISE = ("surprise_mean", "surprise_peak", "phrases", "unread")
"""Nats above what the model expected, a phrase: of all phrases in the window, and of the TOP_PHRASES most surprising;
the number of phrases read, and of those that the text had no room for."""
EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Language:
    """The language model that is asked."""

    reader: SurpriseReader
    text: TextSettings


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    events: BucketEvents
    window: Window
    out: Path
    memory_mb: int


def measure_buckets(
    events: Sequence[BucketEvents],
    window: Window,
    folder: Path,
    *,
    engine: EngineConfig,
    language: Language | None,
) -> Iterator[pd.DataFrame]:
    """Yield a table a bucket: shopper, FACTS, RULES and SURPRISE, in order of shopper.

    Args:
        events: all buckets.
        window: who is measured, and when.
        folder: an empty folder for temporary files.
        engine: who asks the rules.
        language: None: there is no causal model, and the columns of SURPRISE are empty.
    """
    jobs = [
        _Bucket(
            events=bucket.until(window.moment.cutoff),
            window=window,
            out=bucket_file(folder, number),
            memory_mb=engine.memory_mb,
        )
        for number, bucket in enumerate(events)
    ]
    run_buckets(_write_rules, jobs, engine=engine, what="velocity rules")
    for job in track(jobs, what="surprise", total=len(jobs)):
        table = pd.read_parquet(job.out)
        job.out.unlink()
        if language is None:
            yield table.assign(**dict.fromkeys(SURPRISE, np.nan))
            continue
        with connect(memory_mb=job.memory_mb) as connection:
            shoppers = table["shopper"].tolist()
            told = tell_phrases(connection, job.events, window.moment.cutoff, language.text, shoppers=shoppers)
            found = [_surprise(chunk, language.reader, window.since) for chunk in told]
        columns = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(SURPRISE), dtype=float)
        yield pd.concat([table, columns], axis=1)


def _write_rules(job: _Bucket) -> None:
    with connect(memory_mb=job.memory_mb) as connection:
        measure_rules(connection, job.events, job.window).to_parquet(job.out, index=False)


def read_phrases(told: Told, reader: SurpriseReader, since: datetime) -> pd.DataFrame:
    """Return the phrases of the window: `who`, `place` (among their shopper's phrases), `excess`, `read`.

    Args:
        told: texts of some shoppers.
        reader: the language model.
        since: a phrase that ended before is not asked about; naive UTC.

    `excess` is the surprise of a phrase above what the model expected, nats; `read` whether any of it was read.
    """
    sizes = np.array([len(own) - 1 for own in told.pieces])
    who = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(who)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    recent = told.begun >= (since - EPOCH).total_seconds() * 1_000_000
    # Before its phrases, each shopper has a piece of context.
    at = np.arange(len(who)) + who + 1
    asked = np.zeros(len(who) + len(sizes), dtype=bool)
    asked[at] = recent
    found = reader.read(told.pieces, asked)
    phrases = pd.DataFrame(
        {
            "who": who,
            "place": place,
            "excess": (found.nats - found.expected)[at],
            "read": found.tokens[at] > 0,
        }
    )
    return phrases[recent]


def _surprise(told: Told, reader: SurpriseReader, since: datetime) -> pd.DataFrame:
    """Return the columns SURPRISE of some shoppers; one of whom no phrase of the window is read has no surprise."""
    phrases = read_phrases(told, reader, since)
    read = phrases[phrases["read"]]
    whole = pd.RangeIndex(len(told.pieces))
    top = read.sort_values("excess", ascending=False, kind="stable").groupby("who").head(TOP_PHRASES)
    return pd.DataFrame(
        {
            "surprise_mean": read.groupby("who")["excess"].mean().reindex(whole),
            "surprise_peak": top.groupby("who")["excess"].mean().reindex(whole),
            "phrases": read.groupby("who").size().reindex(whole, fill_value=0).astype(float),
            "unread": phrases[~phrases["read"]].groupby("who").size().reindex(whole, fill_value=0).astype(float),
        }
    )
