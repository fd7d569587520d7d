"""Champions: the artifact of the stage `champions` in; one champion with everything that it travels with out.

The one thing to know: lookback, horizon, candidates and the reading of texts are the champion's own, whatever today's
settings say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.feature_table import FeatureSettings, Unit
from behavior_tasks.model.event_folder import EventSettings
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import SETTINGS_FILE as TEXT_FILE


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion of one unit."""

    unit: Unit
    model: Path
    """Its model folder."""
    events: Path
    """The folder of what it knows of the log that it was trained on."""
    settings: EventSettings
    name: str
    """The registered model."""
    version: str
    uri: str | None
    """Of the artifact that it was trained as; None when somebody registered it by other means."""

    @classmethod
    def load(cls, champions: Artifact, unit: Unit) -> Self | None:
        """Return the champion of a unit, or None when the shop has none."""
        facts, folder = champions.facts[unit], champions.path / unit
        if facts is None:
            return None
        return cls(
            unit=unit,
            model=folder / "model",
            events=folder / "events",
            settings=EventSettings.load(folder / "events"),
            name=facts["name"],
            version=facts["version"],
            uri=facts["model"],
        )

    @property
    def examples(self) -> ExamplesConfig:
        """Unit, lookback, horizon and candidates."""
        return self.settings.examples

    @property
    def features(self) -> FeatureSettings:
        """How its features are made."""
        return self.settings.features

    @property
    def horizon(self) -> timedelta:
        """How far it looks ahead."""
        return timedelta(days=self.settings.examples.horizon_days)

    @property
    def text(self) -> TextSettings | None:
        """How its texts are written; None: it reads none."""
        return None if is_boosting(self.model) else TextSettings.load(self.model / TEXT_FILE)

    def as_trained(self, events: Sequence[BucketEvents]) -> list[BucketEvents]:
        """Return clean events with the bounds and medians of the log that it was trained on, in place of today's.

        So its answer about a past day is the one that it gave on that day, however the log has grown since.
        """
        index = self.settings.reader.index
        return [replace(bucket, index=index, folder=self.events) if bucket.index else bucket for bucket in events]

    @property
    def tested_from(self) -> datetime:
        """The cutoff (naive UTC) that it was tested at; of what came from then on, nothing was trained on."""
        return self.settings.market
