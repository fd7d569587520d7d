"""What MLflow is told about a run: tags, settings, figures and data sets in; each there once, however often it is told.

Every function takes a client and the run as it was last read, and adds only what is not there yet. The one thing to
know: MLflow refuses or silently shortens what is too long, so long values are cut here, saying where the whole is.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BATCH = 100
"""Most parameters or tags, and a safe number of metrics, in one call to MLflow."""
DIGEST_LENGTH = 32
"""MLflow shows at most 36 characters of a data set's digest; the whole hash is a tag."""
LONGEST = {"parameter": 500, "tag": 5000}
"""Characters of a value. MLflow 3.17 takes 6000 of a parameter and 8000 of a tag; older servers take fewer."""
SETTINGS_FILE = "settings.yaml"
"""Where every setting stands in full, among the run's files."""
log = logging.getLogger("behavior")


def set_tags(client: "MlflowClient", run: "Run", tags: Mapping[str, str]) -> None:
    """Set tags, each to its last value."""
    from mlflow.entities import RunTag

    for batch in _batches([RunTag(key, cut(value, "tag")) for key, value in tags.items()]):
        client.log_batch(run.info.run_id, tags=batch)


def log_params(client: "MlflowClient", run: "Run", params: Mapping[str, str]) -> None:
    """Log what is new. MLflow never changes a parameter, so one that did change since is told in a tag."""
    from mlflow.entities import Param

    known = run.data.params
    params = {key: cut(value, "parameter") for key, value in params.items()}
    for batch in _batches([Param(key, value) for key, value in params.items() if key not in known]):
        client.log_batch(run.info.run_id, params=batch)
    changed = {f"changed.{key}": value for key, value in params.items() if known.get(key, value) != value}
    if changed:
        log.warning("Settings changed since this MLflow run was first logged: %s", ", ".join(sorted(changed)))
        set_tags(client, run, changed)


def log_points(client: "MlflowClient", run: "Run", points: Iterable[tuple[str, float, int]]) -> None:
    """Log (key, value, step) points that are not there yet.

    Instants are made from the run's start and the step, so that a retry gives the same ones. A value that
    changed since is logged later than all others of its key, and so becomes the one that MLflow shows.
    """
    from mlflow.entities import Metric

    histories: dict[str, Sequence[Metric]] = {}
    fresh = []
    for key, value, step in points:
        if not math.isfinite(value):
            continue
        if key in run.data.metrics and key not in histories:
            histories[key] = client.get_metric_history(run.info.run_id, key)
        history = histories.get(key, [])
        at_step = [point for point in history if point.step == step]
        if at_step and max(at_step, key=lambda point: point.timestamp).value == value:
            continue
        instant = max([run.info.start_time + step, *(point.timestamp + 1 for point in history)])
        fresh.append(Metric(key, float(value), instant, step))
    for batch in _batches(fresh):
        client.log_batch(run.info.run_id, metrics=batch)


def log_missing_points(client: "MlflowClient", run: "Run", points: Iterable[Sequence[Any]]) -> None:
    """Log (key, value, step, milliseconds) points at steps where their key has none."""
    from mlflow.entities import Metric

    known: dict[str, set[int]] = {}
    fresh = []
    for key, value, step, instant in points:
        if key not in known:
            history = client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
            known[key] = {point.step for point in history}
        if step not in known[key]:
            known[key].add(step)
            fresh.append(Metric(key, float(value), int(instant), int(step)))
    for batch in _batches(fresh):
        client.log_batch(run.info.run_id, metrics=batch)


def log_datasets(client: "MlflowClient", run: "Run", datasets: Mapping[str, str]) -> None:
    """Name the tables that the run stands on, each with the hash of its rows."""
    from mlflow.entities import Dataset, DatasetInput

    inputs = [
        DatasetInput(
            Dataset(
                name=name,
                digest=digest[:DIGEST_LENGTH],
                source_type="artifact",
                source=json.dumps({"stage": name, "content_hash": digest}),
            )
        )
        for name, digest in datasets.items()
    ]
    if inputs:
        client.log_inputs(run.info.run_id, inputs)


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def cut(value: str, kind: str) -> str:
    """Return a value that MLflow takes whole; a longer one ends with where the whole of it is.

    >>> cut("x" * 600, "parameter")[-39:]
    'x… (600 characters; all: settings.yaml)'
    """
    longest = LONGEST[kind]
    if len(value) <= longest:
        return value
    pointer = f"… ({len(value)} characters; all: {SETTINGS_FILE})"
    return value[: longest - len(pointer)] + pointer


def plain(value: object, home: Home) -> str:
    """Return text for MLflow without a path of this machine: of a path, only the last part is kept."""
    text = str(value)
    if text.startswith(("/", "~")) or str(home.root) in text:
        return Path(text).name
    return text
