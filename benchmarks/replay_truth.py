"""What became of each candidate: a replay's trainings in; how it did beside the champion that it met, afterwards, out.

Both are asked on days that came after the training, and held against what shoppers really did, so neither a fault of
the tracking nor the gate's own test plays a part. The one thing to know: a model is called worse only where the 95 %
interval of the difference, drawn by shopper, lies below zero.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import ArtifactStore
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.model.event_folder import EventSettings
from behavior_tasks.model.predict import open_scorer
from behavior_tasks.registry.package import need_packaged
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.score import Place, score_at
from behavior_tasks.verdict.metrics import Difference, Resampling, Scored, average_precision_difference, f1_difference

ASKED_AFTER_DAYS = (0, 2, 4, 6)
"""Days after the training on which both are asked; the examples of one shopper are drawn together."""
DRAWING = Resampling(resamples=1000, confidence=0.95, seed=7)


@dataclass(frozen=True, kw_only=True)
class Met:
    """A candidate beside the champion of its day, on what came afterwards: candidate minus champion."""

    as_of: date
    examples: int
    buyers: int
    average_precision: Difference
    f1: Difference

    @property
    def shown_worse(self) -> bool:
        """Whether the candidate is worse beyond noise."""
        return self.average_precision.upper < 0 or self.f1.upper < 0

    @property
    def shown_better(self) -> bool:
        """Whether it is better beyond noise."""
        return self.average_precision.lower > 0 or self.f1.lower > 0

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "as_of": str(self.as_of)}


@dataclass(frozen=True, kw_only=True)
class Logs:
    """The whole log, as it was shown and as it was."""

    shown: Sequence[BucketEvents]
    real: Sequence[BucketEvents]
    first_unknown: date
    """What happens from this local day on is not known."""


def judge(home: Home, config: Config, logs: Logs, *, as_of: date, candidate: str, champion: str) -> Met | None:
    """Measure a candidate beside a champion on the days after its training; None when none of them is over yet.

    Args:
        home: the state folder.
        config: of the runs.
        logs: with at least the horizon after the training.
        as_of: the day of the training.
        candidate: URI of its artifact.
        champion: URI of the champion's.
    """
    store, answers = ArtifactStore(home.artifacts), []
    models = [as_champion(need_packaged(store.open(uri)), uri) for uri in (candidate, champion)]
    horizon = config.examples.horizon_days
    for days in ASKED_AFTER_DAYS:
        day = as_of + timedelta(days=days)
        if day + timedelta(days=horizon) > logs.first_unknown:
            continue
        scores = [_ask(home, config, model, logs.shown, day) for model in models]
        both = scores[0].merge(scores[1], on="shopper", validate="1:1")
        both["label"] = both["shopper"].isin(_buyers(logs.real, day, horizon, config)).astype(int)
        answers.append(both)
    if not answers:
        return None
    table = pd.concat(answers, ignore_index=True)
    labels, shoppers = table["label"].to_numpy(), table["shopper"].to_numpy()
    given = [
        Scored(probabilities=table[f"probability_{place}"].to_numpy(), threshold=_threshold(model))
        for place, model in zip("xy", models, strict=True)
    ]
    return Met(
        as_of=as_of,
        examples=len(table),
        buyers=int(labels.sum()),
        average_precision=average_precision_difference(
            labels, given[0].probabilities, given[1].probabilities, shoppers, DRAWING
        ),
        f1=f1_difference(labels, given[0], given[1], shoppers, DRAWING),
    )


def as_champion(package: Path, uri: str) -> Champion:
    """Return a packaged model of the unit shopper as what serves."""
    settings = EventSettings.load(package / "artifacts" / "events")
    return Champion(
        unit="shopper",
        model=package / "artifacts" / "model",
        events=package / "artifacts" / "events",
        settings=settings,
        name="candidate",
        version="0",
        uri=uri,
    )


def _ask(home: Home, config: Config, model: Champion, events: Sequence[BucketEvents], day: date) -> pd.DataFrame:
    place = Place.of(home, config)
    with temporary_folder(home, "replayed") as folder:
        (folder / "scores").mkdir(parents=True)
        moment = moment_at(day, config.source.timezone)
        done = score_at(model, events, moment, folder / "scores", place=place, data_hash="")
        return pd.concat([pd.read_parquet(bucket.file, columns=["shopper", "probability"]) for bucket in done])


def _threshold(model: Champion) -> float:
    return open_scorer(model.model, device="cpu", threads=1).decision.threshold


def _buyers(real: Sequence[BucketEvents], day: date, horizon: int, config: Config) -> np.ndarray:
    begin = moment_at(day, config.source.timezone).cutoff
    end = moment_at(day + timedelta(days=horizon), config.source.timezone).cutoff
    found = []
    for bucket in real:
        with connect() as connection:
            query = f"""SELECT DISTINCT shopper FROM ({bucket.sql()}) WHERE action = 'purchase'
                AND timestamp >= TIMESTAMP '{begin}' AND timestamp < TIMESTAMP '{end}'"""
            found += [row[0] for row in connection.execute(query).fetchall()]
    return np.array(found, dtype=object)
