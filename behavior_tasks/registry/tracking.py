"""Tracking: a run's name, settings and results in; one MLflow run out, found again by tag on every retry.

Everything here can be repeated: a second call adds no run, no point to a curve and no other file. A run ends
FINISHED or FAILED; what it shows comes from finished artifacts only.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store
from behavior_tasks.registry.store import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["finish_tracking", "log_results", "run_link", "start_tracking", "tracking_uri"]

BATCH = 100
"""Most parameters or tags, and a safe number of metrics, in one call to MLflow."""
DIGEST_LENGTH = 32
"""MLflow shows at most 36 characters of a data set's digest; the whole hash is a tag."""
log = logging.getLogger("behavior")


def start_tracking(home: Home, config: Config, *, run_id: str, name: str, tags: Mapping[str, str]) -> str:
    """Start the MLflow run of a run, or take up the one that was started before.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id; a retry gives the same one.
        name: for people, e.g. `2026-11-23 nightly · gpt2-compact`.
        tags: small facts, e.g. what triggered the run.

    Returns:
        MLflow's id of the run, whose status is RUNNING.
    """
    clean = {key: _plain(value, home) for key, value in tags.items()}
    with store.connect(home) as client, store.exclusive(home):
        experiment = store.experiment_id(client, home, config)
        run = store.find_run(client, home, config, run_id)
        if run is None:
            run = client.create_run(experiment, tags={**clean, store.RUN_TAG: run_id}, run_name=name)
        else:
            client.update_run(run.info.run_id, status="RUNNING", name=name)
            _set_tags(client, run, clean)
        return str(run.info.run_id)


def log_results(
    home: Home,
    config: Config,
    *,
    run_id: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    epochs: Sequence[Mapping[str, float]],
    plots: Sequence[Path],
    files: Sequence[Path],
    datasets: Mapping[str, str],
    tags: Mapping[str, str],
    folders: Mapping[str, Sequence[Path]] | None = None,
) -> None:
    """Keep what a run gave in its MLflow run. Calling it again with the same results changes nothing.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id.
        params: dotted setting → value.
        metrics: final figures; those that are not finite are left out.
        epochs: one mapping an epoch, in order, with its number as `epoch`; every other figure becomes a curve.
        plots: PNG files, kept under `plots/`.
        files: small files such as `verdict.json`.
        datasets: name of a table → hash of its rows.
        tags: small facts, e.g. the verdict.
        folders: name of a folder → files kept below it.
    """
    with store.connect(home) as client:
        run = store.need_run(client, home, config, run_id)
        hashes = {f"dataset.{name}": digest for name, digest in datasets.items()}
        _set_tags(client, run, {key: _plain(value, home) for key, value in {**tags, **hashes}.items()})
        _log_params(client, run, {key: _plain(value, home) for key, value in params.items()})
        points = [(key, value, 0) for key, value in metrics.items()]
        for epoch in epochs:
            points += [(k, v, int(epoch["epoch"])) for k, v in epoch.items() if k not in {"epoch", "step"}]
        _log_points(client, run, points)
        for folder, paths in (("plots", plots), (None, files), *(folders or {}).items()):
            for path in paths:
                client.log_artifact(run.info.run_id, str(path), artifact_path=folder)
        _log_datasets(client, run, datasets)


def finish_tracking(home: Home, config: Config, *, run_id: str, succeeded: bool) -> None:
    """End the MLflow run as FINISHED or FAILED. Where none was started there is nothing to end."""
    if not store.exists(home):
        return
    with store.connect(home) as client:
        run = store.find_run(client, home, config, run_id)
        if run is not None:
            client.set_terminated(run.info.run_id, status="FINISHED" if succeeded else "FAILED")


def run_link(home: Home, config: Config, run_id: str) -> dict[str, str] | None:
    """Return where to look: `experiment_id`, `mlflow_run_id` and the `path` of the run's page in MLflow.

    None when the run has no MLflow run. The path follows the server's address.
    """
    if not store.exists(home):
        return None
    with store.connect(home) as client:
        run = store.find_run(client, home, config, run_id)
    if run is None:
        return None
    experiment, found = str(run.info.experiment_id), str(run.info.run_id)
    return {
        "experiment_id": experiment,
        "mlflow_run_id": found,
        "path": f"/#/experiments/{experiment}/runs/{found}",
    }


def _set_tags(client: "MlflowClient", run: "Run", tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    for batch in _batches([RunTag(key, value) for key, value in tags.items()]):
        client.log_batch(run.info.run_id, tags=batch)


def _log_params(client: "MlflowClient", run: "Run", params: Mapping[str, str]) -> None:
    """Log what is new. MLflow never changes a parameter, so one that did change since is told in a tag."""
    from mlflow.entities import Param

    known = run.data.params
    for batch in _batches([Param(key, value) for key, value in params.items() if key not in known]):
        client.log_batch(run.info.run_id, params=batch)
    changed = {f"changed.{key}": value for key, value in params.items() if known.get(key, value) != value}
    if changed:
        log.warning("Settings changed since this MLflow run was first logged: %s", ", ".join(sorted(changed)))
        _set_tags(client, run, changed)


def _log_points(client: "MlflowClient", run: "Run", points: Iterable[tuple[str, float, int]]) -> None:
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


def _log_datasets(client: "MlflowClient", run: "Run", datasets: Mapping[str, str]) -> None:
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


def _plain(value: object, home: Home) -> str:
    """Return text for MLflow without a path of this machine: of a path, only the last part is kept."""
    text = str(value)
    if text.startswith(("/", "~")) or str(home.root) in text:
        return Path(text).name
    return text
