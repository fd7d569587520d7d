"""Tracking: a run's name, settings and results in; one MLflow run out, found again by tag on every retry.

Everything here can be repeated: a second call adds no run, no point to a curve and no other file. A run ends
FINISHED or FAILED, and what MLflow can't take now waits in the outbox: a run never stops because MLflow does.
"""

import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.registry import alive, store
from behavior_tasks.registry.delivery import Delivery, deliver
from behavior_tasks.registry.mlflow_run import plain
from behavior_tasks.registry.outbox import Entry, entries, record
from behavior_tasks.registry.store import tracking_uri

__all__ = [
    "close_dead",
    "finish_tracking",
    "log_results",
    "run_link",
    "start_child",
    "start_tracking",
    "tracking_uri",
    "working",
]

GONE = "closed later: the process that worked on it was gone"


def start_tracking(
    home: Home, config: Config, *, run_id: str, name: str, tags: Mapping[str, str], parent: str | None = None
) -> str | None:
    """Start the MLflow run of a run, or take up the one that was started before.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id; a retry gives the same one.
        name: for people, e.g. `2026-11-23 nightly · gpt2-compact`.
        tags: small facts, e.g. what triggered the run.
        parent: the run id of the run below which MLflow shows this one.

    Returns:
        MLflow's id of the run, whose status is RUNNING; None when MLflow does not answer and the start waits.

    Raises:
        UserError: for what somebody has to mend: a deleted experiment, a refused login, tables of another version.
    """
    entry = Entry(home, run_id)
    clean = {key: plain(value, home) for key, value in tags.items()}
    started = (entry.read("start") or {}).get("started", _now())
    entry.put("start", record(home, config, name=name, tags=clean, parent=parent, started=started))
    entry.drop("end")
    delivery = deliver(home, run_id)
    problem = delivery.problems.get("start")
    if problem is not None and not isinstance(problem, store.UnreachableError):
        entry.drop("start")
        raise problem
    # Another process may have delivered it meanwhile.
    return None if problem else str((entry.read("start") or {})["mlflow_run_id"])


def start_child(home: Home, config: Config, *, run_id: str, child: str, name: str, tags: Mapping[str, str]) -> str:
    """Start a run below another one, e.g. a trial of a tuning, or take up the one that was started before.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the parent's own id; its MLflow run must have been started.
        child: tells the children of one parent apart, e.g. `trial-007`; letters, digits, dots and dashes.
        name: for people.
        tags: small facts.

    Returns:
        The child's own run id, under which its results are logged and its run is ended, as those of any run.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", child):
        raise ValueError(f"a child's name holds letters, digits, dots and dashes: {child}")
    own = f"{run_id}@{child}"
    start_tracking(home, config, run_id=own, name=name, tags=tags, parent=run_id)
    return own


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
    texts: Mapping[str, str] | None = None,
) -> Delivery:
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
        texts: name of a file, with its folder → its content, for what lies in no file.

    Returns:
        Whether MLflow took it; what it did not take waits.

    Raises:
        UserError: when the run was never started.
    """
    entry = Entry(home, run_id)
    known = entry.read("start") is not None
    hashes = {f"dataset.{name}": digest for name, digest in datasets.items()}
    points = [(key, value, 0) for key, value in metrics.items()]
    for epoch in epochs:
        points += [(k, v, int(epoch["epoch"])) for k, v in epoch.items() if k not in {"epoch", "step"}]
    placed = (("plots", plots), (None, files), *(folders or {}).items())
    results = record(
        home,
        config,
        params={key: plain(value, home) for key, value in params.items()},
        points=[point for point in points if math.isfinite(point[1])],
        files=[{"path": _below(home, entry, path), "to": to} for to, paths in placed for path in paths],
        texts=dict(texts or {}),
        datasets=dict(datasets),
        tags={key: plain(value, home) for key, value in {**tags, **hashes}.items()},
    )
    entry.put("results", results)
    delivery = deliver(home, run_id)
    if not known:
        _give_up_unknown(entry, "results", delivery)
    return delivery


def finish_tracking(home: Home, config: Config, *, run_id: str, succeeded: bool, note: str | None = None) -> None:
    """End the MLflow run as FINISHED or FAILED. Where none was started there is nothing to end.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id.
        succeeded: whether it reached its end.
        note: how it ended, where that is not plain; becomes the tag `ended`.
    """
    entry = Entry(home, run_id)
    if not entry.exists and not store.exists(home):
        return
    status = "FINISHED" if succeeded else "FAILED"
    entry.put("end", record(home, config, status=status, ended=_now(), note=note))
    deliver(home, run_id)


def close_dead(home: Home, *, only_run_of: str | None = None) -> list[str]:
    """End the runs as FAILED that nobody works on any more, e.g. after `kill -9`; return their ids.

    Args:
        home: the state folder.
        only_run_of: a DAG that leads one run at a time, of which the caller is the one.
    """
    closed = []
    for entry in entries(home):
        start = entry.read("start")
        if start is None or not entry.open or not _dead(home, entry, only_run_of):
            continue
        entry.put("end", {"store": start["store"], "registry": start["registry"]} | _ended(entry))
        deliver(home, entry.run_id)
        closed.append(entry.run_id)
    return closed


@contextmanager
def working(home: Home, run_id: str, driver: str) -> Iterator[None]:
    """Be known as a process that works on a run, until the end of the block or of the process, however it ends.

    A run whose last such process is gone is ended as FAILED by the next run, `behavior status` or `behavior sync`.
    Where the run was not started, nothing is noted.

    Args:
        home: the state folder.
        run_id: the run's own id.
        driver: `process` when one process leads the run from start to end, else the name of the DAG that leads it.
    """
    entry = Entry(home, run_id)
    if not entry.open:
        yield
        return
    with alive.working(entry, driver):
        yield


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


def _below(home: Home, entry: Entry, path: Path) -> str:
    """Return a file's place below the state folder; one from elsewhere is copied into the run's records."""
    if path.is_relative_to(home.root):
        return path.relative_to(home.root).as_posix()
    number = len(list((entry.folder / "files").glob("*")))
    copy = make_folder(entry.folder / "files" / str(number)) / path.name
    shutil.copyfile(path, copy)
    return copy.relative_to(home.root).as_posix()


def _give_up_unknown(entry: Entry, kind: str, delivery: Delivery) -> None:
    """Raise what is wrong with a record of a run that was never started here, and forget the record."""
    problem = delivery.problems.get(kind)
    if problem is not None and not isinstance(problem, store.UnreachableError):
        entry.remove()
        raise problem


def _dead(home: Home, entry: Entry, only_run_of: str | None) -> bool:
    """Whether nobody works on a run; a child that says nothing of its own lives as long as its parent."""
    parent, child, _ = entry.run_id.partition("@")
    if child and not (entry.folder / alive.LOCK).is_file():
        above = Entry(home, parent)
        return not above.open or alive.dead(above, only_run_of=only_run_of)
    return alive.dead(entry, only_run_of=only_run_of)


def _ended(entry: Entry) -> dict[str, Any]:
    last = entry.folder / alive.LOCK
    instant = int(last.stat().st_mtime * 1000) if last.is_file() else _now()
    return {"status": "FAILED", "ended": instant, "note": GONE}


def _now() -> int:
    return int(time.time() * 1000)
