"""What a model that takes raw events knows of the log that it was trained on, as a folder beside its own.

In come the finished artifacts of a run; out comes the folder: how the source is read, bounds and medians, the side
table of products, and the market at the newest cutoff, which stands for every instant. The one thing to know: it knows
products by the shop's own ids, and no shopper at all.
"""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import CleanConfig, ExamplesConfig, SourceConfig
from behavior_tasks.base.records import read_record
from behavior_tasks.data.events import BOUNDS_FILE, EventIndex, median_file, read_index
from behavior_tasks.data.request import PRODUCTS_FILE, ReaderSettings
from behavior_tasks.data.side_tables import LoadedTable
from behavior_tasks.examples.feature_table import FeatureSettings
from behavior_tasks.examples.market import Market

SETTINGS_FILE = "events.json"
MARKET_FILES = ("market-products.parquet", "market-categories.parquet")
AS_CLEAN_AS_THEY_ARE = CleanConfig(bot_events_per_day=0, missing={}, outliers="off")


class EventSettings(BaseModel):
    """What is needed to make a model's input of raw events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: ReaderSettings
    examples: ExamplesConfig
    market: datetime
    """The instant, naive UTC, before which the whole shop was looked at."""

    @classmethod
    def load(cls, events: Path) -> Self:
        """Read the settings of a folder that `save_event_folder` wrote.

        Raises:
            UserError: when they are damaged, or of a newer version.
        """
        mend = "behavior rollback, or behavior run trains a model anew"
        return read_record(cls, (events / SETTINGS_FILE).read_bytes(), f"{SETTINGS_FILE} of a model", mend=mend)

    @property
    def features(self) -> FeatureSettings:
        """The settings of the features."""
        return FeatureSettings(
            lookback_days=self.examples.lookback_days,
            horizon_days=self.examples.horizon_days,
            timezone=self.reader.source.timezone,
            unit=self.examples.unit,
        )


def save_event_folder(
    folder: Path,
    *,
    source: SourceConfig,
    examples: ExamplesConfig,
    clean: Artifact,
    features: Artifact,
    products: LoadedTable | None = None,
) -> None:
    """Write what a model that is asked with raw events must know beside its own folder.

    Args:
        folder: to make.
        source: how the log was read.
        examples: unit, lookback, horizon and candidates.
        clean: the artifact of clean events.
        features: the artifact of features, which keeps the market of its newest cutoff.
        products: the side table of products, as it was joined to the log.
    """
    folder.mkdir(parents=True)
    index = read_index(clean) or EventIndex(
        parts=[], buckets=1, clean=AS_CLEAN_AS_THEY_ARE, bounded=False, medians=[], sequences={}, cutoffs=[]
    )
    market = datetime.fromisoformat(features.facts["market"])
    settings = EventSettings(
        reader=ReaderSettings.of(source, clean.facts["present"], index, products), examples=examples, market=market
    )
    (folder / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fitted = [clean.path / BOUNDS_FILE] if index.bounded else []
    for file in (*fitted, *(median_file(clean.path, column) for column in index.medians)):
        shutil.copyfile(file, folder / file.name)
    for file, name in zip(Market(folder=features.path / "market").files(market), MARKET_FILES, strict=True):
        shutil.copyfile(file, folder / name)
    if products is not None:
        pq.write_table(products.rows, folder / PRODUCTS_FILE, compression="zstd")
