"""Delivery: the records of the outbox in; MLflow runs, model versions and promotions out, each exactly once.

Whatever is delivered may be delivered again after a crash: runs are found by tag, points by step, versions by the
artifact they were made from. The one thing to know: a failure here never ends a run. What MLflow does not take stays
where it is, with the reason, until the next run or `behavior sync`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.artifacts import ArtifactStore
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import mlflow_run, store, versions, view
from behavior_tasks.registry.outbox import KINDS, Entry, entries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "parent"
NESTED_TAG = "mlflow.parentRunId"
"""MLflow's own: makes its page show a run below another one."""
log = logging.getLogger("behavior")


@dataclass(kw_only=True)
class Delivery:
    """What became of a run's records."""

    run_id: str
    done: list[str] = field(default_factory=list)
    """Kinds that MLflow has taken now."""
    waiting: list[str] = field(default_factory=list)
    """Kinds that it has not taken."""
    problems: dict[str, UserError] = field(default_factory=dict)
    """Kind → why it waits, or why it was dropped."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind → what taking it gave: `version` and `reused` of a model, `promoted` and `refused` of a promotion."""

    @property
    def unreachable(self) -> bool:
        """Whether MLflow could not be asked at all."""
        return any(isinstance(problem, store.UnreachableError) for problem in self.problems.values())


def deliver(home: Home, run_id: str) -> Delivery:
    """Give MLflow what waits of one run, as far as it takes it."""
    entry, delivery = Entry(home, run_id), Delivery(run_id=run_id)
    if not entry.exists:
        return delivery
    with entry.lock():
        if not entry.exists:  # somebody else has delivered it meanwhile
            entry.forget_lock()
            return delivery
        for kind in entry.waiting:
            if kind == "promotion" and "model" in entry.waiting:
                continue
            problem = _attempt(home, entry, kind, delivery)
            if problem is not None:
                delivery.problems[kind] = problem
            if isinstance(problem, store.UnreachableError) or (problem is not None and kind == "start"):
                break
        delivery.waiting = entry.waiting
        if entry.exists:
            reasons = [str(delivery.problems[kind]) for kind in KINDS if kind in delivery.problems]
            entry.tell(reasons[0] if delivery.waiting and reasons else None)
            if not delivery.waiting and entry.read("end") is not None:
                entry.remove()
    return delivery


def deliver_all(home: Home) -> list[Delivery]:
    """Give MLflow what waits of every run; one that does not answer is not asked again for each of them."""
    deliveries = []
    for entry in entries(home):
        if not entry.waiting:
            continue
        deliveries.append(deliver(home, entry.run_id))
        if deliveries[-1].unreachable:
            break
    return deliveries


def _attempt(home: Home, entry: Entry, kind: str, delivery: Delivery) -> UserError | None:
    record = entry.read(kind) or {}
    if record["store"] != store.public_uri(home):
        return UserError(
            f"The run {entry.run_id} belongs to another MLflow.",
            found=store.public_uri(home),
            expected=record["store"],
            next_step=f"set {store.URI_VARIABLE} to it (unset: the store in the state folder), then `behavior sync`",
        )
    failure = store.failures()
    try:
        result = WORK[kind](home, entry, record)
    except failure as error:
        return UserError(f"MLflow did not take the {kind} of the run {entry.run_id}.", found=str(error).splitlines()[0])
    except UserError as error:
        return error
    except OSError as error:
        why = error.strerror or str(error)
        return UserError(f"MLflow did not take the {kind} of the run {entry.run_id}.", found=why)
    entry.sent(kind, **result)
    delivery.done.append(kind)
    delivery.results[kind] = result
    return None


def _start(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    config = _config(record)
    with store.connect(home) as client, store.exclusive(home):
        experiment = store.experiment_id(client, home, config)
        view.prepare_view(client, experiment)
        tags = {**record["tags"], store.RUN_TAG: entry.run_id}
        if record["parent"]:
            parent = store.need_run(client, home, config, record["parent"])
            tags |= {PARENT_TAG: record["parent"], NESTED_TAG: parent.info.run_id}
        run = store.find_run(client, home, config, entry.run_id)
        if run is None:
            run = client.create_run(experiment, start_time=record["started"], tags=tags, run_name=record["name"])
        else:
            client.update_run(run.info.run_id, status="RUNNING", name=record["name"])
            mlflow_run.set_tags(client, run, tags)
        return {"mlflow_run_id": str(run.info.run_id)}


def _live(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    with store.connect(home) as client:
        run = _found(client, home, entry, record)
        mlflow_run.log_missing_points(client, run, record["points"])
    return {}


def _results(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    with store.connect(home) as client:
        run = _found(client, home, entry, record)
        files = [(home.root / file["path"], file["to"]) for file in record["files"]]
        gone = sorted(path.name for path, _ in files if not path.is_file())
        if gone:
            log.warning("No longer there, so not in MLflow: %s", ", ".join(gone))
        missing = {"missing_files": ", ".join(gone)} if gone else {}
        mlflow_run.set_tags(client, run, {**record["tags"], **missing})
        mlflow_run.log_params(client, run, record["params"])
        mlflow_run.log_points(client, run, [tuple(point) for point in record["points"]])
        for path, folder in files:
            if path.is_file():
                client.log_artifact(run.info.run_id, str(path), artifact_path=folder)
        for name, text in record["texts"].items():
            client.log_text(run.info.run_id, text, name)
        mlflow_run.log_datasets(client, run, record["datasets"])
    return {}


def _model(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    model = ArtifactStore(home.artifacts).open(record["model"])
    config = _config(record)
    registered = versions.register(home, config, run_id=entry.run_id, model=model, tags=record["tags"])
    return {"version": registered.version, "reused": registered.reused}


def _promotion(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    """Promote, or say why not: a champion that has changed since the verdict stays."""
    try:
        versions.promote(
            home,
            _config(record),
            version=str((entry.read("model") or record)["version"]),
            verdict=record["verdict"],
            run_id=entry.run_id,
            who=record["who"],
            when=datetime.fromisoformat(record["when"]),
        )
    except versions.RefusedError as error:
        return {"promoted": False, "refused": str(error)}
    return {"promoted": True, "refused": None}


def _end(home: Home, entry: Entry, record: Mapping[str, Any]) -> dict[str, Any]:
    with store.connect(home) as client:
        run = store.find_run(client, home, _config(record), entry.run_id)
        if run is None:
            log.warning("The MLflow run of %s was deleted; there is nothing to end.", entry.run_id)
            return {}
        if record["note"]:
            mlflow_run.set_tags(client, run, {"ended": record["note"]})
        client.set_terminated(run.info.run_id, status=record["status"], end_time=record["ended"])
    return {}


WORK: dict[str, Callable[[Home, Entry, Mapping[str, Any]], dict[str, Any]]] = {
    "start": _start,
    "live": _live,
    "results": _results,
    "model": _model,
    "promotion": _promotion,
    "end": _end,
}


def _found(client: "MlflowClient", home: Home, entry: Entry, record: Mapping[str, Any]) -> "Run":
    """Return the run's MLflow run, made anew when somebody has deleted it in mid-flight."""
    config = _config(record)
    run = store.find_run(client, home, config, entry.run_id)
    start = entry.read("start")
    if run is None and start is not None:
        log.warning("The MLflow run of %s was deleted while the run went on; a new one takes its place.", entry.run_id)
        again = {**start, "tags": {**start["tags"], "made_anew": "the first MLflow run of this run was deleted"}}
        _start(home, entry, again)
    return store.need_run(client, home, config, entry.run_id)


def _config(record: Mapping[str, Any]) -> Config:
    return Config.model_validate({"registry": record["registry"]})
