"""Text settings: everything that must be known to write the same text again.

In come the train examples' features and the events before the last train cutoff; out come the quantile bins,
the popular categories and the templates, as one value that is saved as `text.json` beside every model. It is
fitted on train only and applied to every split, so nothing in it can know the future.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import TextConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.examples.feature_table import FEATURES, Unit
from behavior_tasks.text.words import Templates, load_templates

POPULAR_CATEGORIES = 40
"""Categories with a name of their own in the text; the others are called the same."""


class TextSettings(BaseModel):
    """How texts are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    last_events: int
    lookback_days: int
    bins: dict[str, list[float]]
    """Feature → rising inner edges of its quantile words; empty when features are not written."""
    categories: list[str]
    templates: Templates
    unit: Unit = "shopper"
    """What a text asks about; shopper asks nothing."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings saved by `save`.

        Raises:
            UserError: when they are missing or not of this version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"The text settings {path.name} are missing.", next_step="train the model again") from None
        except ValidationError as error:
            raise UserError(
                f"The text settings {path.name} can't be read.",
                found="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]),
                next_step="train the model again",
            ) from None

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        write_durably(path, self.model_dump_json(indent=2).encode())


def fit_settings(
    examples: Path,
    events: Sequence[BucketEvents],
    config: TextConfig,
    *,
    lookback_days: int,
    unit: Unit = "shopper",
    memory_mb: int = 2048,
) -> TextSettings:
    """Fit bins and categories on the train split.

    Args:
        examples: folder of the buckets of `features`.
        events: what `open_events` gives for the clean events.
        lookback_days: as for the features.
        unit: what an example is.
    """
    files = bucket_files(examples)
    return TextSettings(
        language=config.language,
        last_events=config.last_events,
        lookback_days=lookback_days,
        bins=_fit_bins(files, config.quantiles, memory_mb) if config.feature_words else {},
        categories=_fit_categories(files, events, memory_mb),
        templates=load_templates(config.language),
        unit=unit,
    )


def _fit_bins(examples: Sequence[Path], quantiles: int, memory_mb: int) -> dict[str, list[float]]:
    """Quantile edges of each feature of the text over the train examples.

    Equal edges are one, and an edge at the largest value parts nothing. A feature with fewer than two
    different known values on train tells nothing and gets no bins, hence no word.
    """
    connection = connect(memory_mb=memory_mb)
    source = parquet_sql(examples)
    connection.execute(f"CREATE VIEW train AS SELECT * FROM {source} WHERE split = 'train'")
    there = {row[0] for row in connection.execute("DESCRIBE train").fetchall()}
    shares = [step / quantiles for step in range(1, quantiles)]
    bins = {}
    for feature in FEATURES:
        if not feature.in_text or feature.name not in there:
            continue
        # One column at a time: exact quantiles need a column in memory, never the whole table.
        row = connection.execute(
            f"SELECT quantile_disc({feature.name}, {shares}), min({feature.name}), max({feature.name}) FROM train"
        ).fetchone()
        if row is None or row[1] is None or row[1] == row[2]:
            continue
        # Where nearly all values are the largest, every quantile lies there; the smallest value then parts them.
        bins[feature.name] = sorted({edge for edge in row[0] if edge < row[2]}) or [row[1]]
    return bins


def _fit_categories(examples: Sequence[Path], events: Sequence[BucketEvents], memory_mb: int) -> list[str]:
    """The categories with the most events before the last train cutoff, most first, ties by name."""
    connection = connect(memory_mb=memory_mb)
    counts: Counter[str] = Counter()
    last = connection.execute(f"SELECT max(cutoff) FROM {parquet_sql(examples)} WHERE split = 'train'").fetchone()
    for bucket in events:
        bucket.create_view(connection)
        rows = connection.execute(
            f"""
            SELECT category, count(*) FROM events
            WHERE timestamp < ? AND category <> '{UNKNOWN}' GROUP BY category
            """,
            [last[0] if last else None],
        ).fetchall()
        counts.update(dict(rows))
        connection.execute("DROP VIEW events")
    return sorted(counts, key=lambda name: (-counts[name], name))[:POPULAR_CATEGORIES]
