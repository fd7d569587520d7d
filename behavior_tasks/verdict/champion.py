"""What the champion reads: its model folder and today's test examples in; their texts in its words, and features, out.

Text settings travel with a model, so that it reads what it was trained to read. They are applied here to the
features and events of this run, by the same function that wrote its training texts. Gradient boosting reads features
alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql, quote, write_parquet
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.model.boosting_bundle import read_boosting_config
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.model.predict import number_names
from behavior_tasks.text.verbalize import TextSettings, write_texts


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    features: Path
    events: BucketEvents
    examples: Path
    texts: Path
    settings: TextSettings
    numbers: tuple[str, ...]
    memory_mb: int


def champion_inputs(job: Job, model: Path) -> pd.DataFrame:
    """Write the test examples' texts with a model's own settings, and fetch the numbers that it reads beside them.

    Args:
        job: the evaluation, whose inputs hold features and events.
        model: the champion's model folder.

    Returns:
        A row an example, indexed by example: `parts` (of its text, empty for a model that reads none) and a column for
        each of the model's features.

    Raises:
        UserError: when model or settings can't be read or name features that today's table lacks.
    """
    features, events = job.inputs["features"], open_events(job.inputs["clean"])
    if is_boosting(model):
        return _features_alone(features, require_features(model, features))
    settings, names = require_readable(model, features)
    with temporary_folder(job.home, "champion") as folder:
        buckets = [
            _Bucket(
                features=file,
                events=bucket,
                examples=folder / f"examples-{file.name}",
                texts=folder / f"texts-{file.name}",
                settings=settings,
                numbers=names,
                memory_mb=job.config.engine.memory_mb,
            )
            for file, bucket in zip(bucket_files(features.path / "examples"), events, strict=True)
        ]
        inputs = run_buckets(_write_bucket, buckets, engine=job.config.engine, what="the champion's texts")
    return pd.concat(inputs)


def require_readable(model: Path, features: Artifact) -> tuple[TextSettings, tuple[str, ...]]:
    """Return how a champion's texts are written and the numbers that it reads beside them.

    Raises:
        UserError: when model or settings can't be read, or this run's features can't feed them.
    """
    settings, names = TextSettings.load(model / "text.json"), number_names(model)
    _require(settings.unit, set(settings.bins) | set(names), features)
    return settings, names


def require_features(model: Path, features: Artifact) -> tuple[str, ...]:
    """Return the features that a boosting champion reads.

    Raises:
        UserError: when its settings can't be read, or this run's features can't feed it.
    """
    config = read_boosting_config(model)
    names = (*config.numbers, *config.words)
    _require(config.unit, names, features)
    return names


def _require(unit: str, names: Iterable[str], features: Artifact) -> None:
    lacking = sorted(set(names) - set(features.facts["features"]))
    if unit != features.facts["unit"]:
        raise UserError(
            "The champion answers another question (examples.unit).",
            found=unit,
            expected=str(features.facts["unit"]),
            next_step="give each unit a title of its own with registry.model_name",
        )
    if lacking:
        raise UserError(
            "The champion reads features that this run does not have.",
            found=f"no {', '.join(lacking)}",
            next_step="let a new model take its place, e.g. with a lower gate.min_f1",
        )


def _features_alone(features: Artifact, names: tuple[str, ...]) -> pd.DataFrame:
    files = bucket_files(features.path / "examples")
    columns = ", ".join(["example", *(f'"{name}"' for name in names)])
    with connect() as connection:
        query = f"SELECT {columns} FROM {parquet_sql(files)} WHERE split = 'test' ORDER BY example"
        table = connection.execute(query).df().set_index("example")
    return table.assign(parts=[[] for _ in range(len(table))])


def _write_bucket(bucket: _Bucket) -> pd.DataFrame:
    with connect(memory_mb=bucket.memory_mb) as connection:
        source = f"read_parquet({quote(bucket.features)})"
        query = f"SELECT * FROM {source} WHERE split = 'test' ORDER BY cutoff, shopper, product_id"
        write_parquet(connection, query, bucket.examples)
    write_texts(bucket.examples, bucket.events, bucket.texts, bucket.settings, memory_mb=bucket.memory_mb)
    texts = pd.read_parquet(bucket.texts, columns=["example", "parts"]).set_index("example")
    numbers = pd.read_parquet(bucket.examples, columns=["example", *bucket.numbers]).set_index("example")
    return texts.join(numbers, validate="one_to_one")
