"""The registry steps of a run: its MLflow run opened and closed, its results kept, its model promoted or not.

What stands in MLflow comes from finished artifacts only, so each step can be repeated: the MLflow run is found
again by the run's id, and a model that is registered already is not registered twice.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.formats import LANGUAGE_MODEL, measured_as
from behavior_tasks.pipeline import approval, provenance
from behavior_tasks.pipeline.runs import Run, open_run

TRAINING_DAG, TUNING_DAG = "behavior_training", "behavior_tuning"
"""Each leads one run at a time (`max_active_runs`)."""
LED_BY = {"nightly": TRAINING_DAG, "manual": TRAINING_DAG, "tuning in airflow": TUNING_DAG}
"""What triggers a run → the DAG that leads it."""


def open_tracking(run_uri: str) -> str:
    """Start (or find again) the MLflow run of a run, after closing and delivering what earlier runs left.

    Returns:
        MLflow's id of the run; nothing where MLflow does not answer and the run's records wait.
    """
    from behavior_tasks.pipeline.syncing import sync
    from behavior_tasks.registry import tracking

    run = open_run(run_uri)
    record = run.record
    sync(run.home, only_run_of=LED_BY.get(record.trigger))
    started = tracking.start_tracking(
        run.home, record.config, run_id=record.run_id, name=record.name, tags=provenance.start_tags(run)
    )
    return started or ""


def driver(run: Run) -> str:
    """Return what leads a run from stage to stage: one process, or a DAG."""
    return LED_BY.get(run.record.trigger, "process")


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """Let others see that this process works on a run, so that nobody takes the run for dead."""
    if run.record.trigger == "inspection":
        yield
        return
    from behavior_tasks.registry import tracking

    with tracking.working(run.home, run.record.run_id, driver(run)):
        yield


def register(run_uri: str, gate_uri: str, evaluate_uri: str, train_uri: str) -> str:
    """Keep the run's parameters, metrics, plots and verdict in MLflow, and register its model.

    Returns:
        The version of the registered model; the one it has already when the same model was registered before.
        Nothing when MLflow does not take it now: then it waits, and `behavior sync` registers it. Nothing, too, when
        it could not be packaged, for which the gate has kept it.
    """
    from behavior_tasks.registry import candidates, tracking
    from behavior_tasks.registry.package import find_packaged

    run = open_run(run_uri)
    gate, evaluated, trained = (run.store.open(uri) for uri in (gate_uri, evaluate_uri, train_uri))
    verdict = json.loads((gate.path / "verdict.json").read_bytes())
    measured = json.loads((evaluated.path / "metrics.json").read_bytes())
    judged = run.store.open(verdict["candidate"]) if verdict["candidate"] else trained
    record = run.record
    logged = tracking.log_results(
        run.home,
        record.config,
        run_id=record.run_id,
        params=provenance.flat_settings(record.config),
        metrics={**flat_metrics(measured), **provenance.stage_metrics(run), **provenance.privacy_metrics(run)},
        epochs=_epochs(trained),
        plots=[*sorted((evaluated.path / "plots").glob("*.png")), *sorted((trained.path / "plots").glob("*.png"))],
        files=[gate.path / "verdict.json", evaluated.path / "metrics.json", *_reports(run)],
        folders=_data_report(run),
        texts={
            "settings.yaml": provenance.settings_file(record.config),
            "environment/requirements.txt": provenance.environment_file(),
        },
        datasets=dataset_hashes(run),
        tags={
            **provenance.result_tags(run, verdict, measured),
            "model": judged.uri,
            "nothing_changed": str(nothing_changed(run)).lower(),
        },
    )
    if find_packaged(judged) is None:
        run.note("registered", {"version": None, "reused": False, "packaged": False, "waiting": sorted(logged.waiting)})
        return ""
    given = candidates.register_model(
        run.home,
        record.config,
        run_id=record.run_id,
        model=judged,
        tags=_version_tags(run, verdict, measured),
    )
    model = given.results.get("model", {"version": None, "reused": False})
    run.note("registered", {**model, "waiting": sorted({*logged.waiting, *given.waiting} - {"end"})})
    return str(model["version"] or "")


def _version_tags(run: Run, verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    """Return what a registered version says of itself, for whoever looks at it in MLflow."""
    kind = str(verdict.get("model") or LANGUAGE_MODEL)
    figures = measured["models"][measured_as(kind)]
    return {
        "kind": kind,
        "day": run.record.day.isoformat(),
        "verdict": str(verdict["decision"]),
        "reason": str(verdict["reason"]),
        "test_hash": str(measured["test_hash"]),
        "data_hash": dataset_hashes(run).get("clean", "unknown"),
        "f1": str(figures["f1"]),
        "unit": str(measured["unit"]),
        "horizon_days": str(run.record.config.examples.horizon_days),
        # Of gradient boosting there is no ε: it is trained without noise.
        **(provenance.privacy_tags(run) if kind == LANGUAGE_MODEL else {"epsilon": "none"}),
    }


def promote(run_uri: str, version: str, gate_uri: str, who: str) -> str | None:
    """Move the alias `champion` to a version when the gate says so.

    Args:
        run_uri: the run whose gate decided.
        version: what `register` gave.
        gate_uri: the gate's artifact.
        who: person or service, for the ledger; where a person had to approve, it is that person.

    Returns:
        None when the version was promoted, else the reason why the champion was kept, perhaps only for now.

    Raises:
        UserError: when another version became champion after the verdict, or the ledger is damaged.
    """
    from behavior_tasks.registry import candidates

    run = open_run(run_uri)
    verdict = approval.read_verdict(run, gate_uri)
    if verdict["decision"] != "promote":
        return str(verdict["reason"])
    if verdict["approval"] == "required":
        refused = approval.refused(run, gate_uri)
        if refused is not None:
            run.note("promotion", {"promoted": False, "waits": False, "reason": refused})
            return refused
    approved = approval.approver(run, gate_uri)
    if approved is not None:
        who, why = approved
        verdict["reason"] += f"; approved by {who}" + (f": {why}" if why else "")
    given = candidates.promote_model(
        run.home,
        run.record.config,
        run_id=run.record.run_id,
        verdict=verdict,
        who=who,
        # The one place that needs the clock: the ledger says when the promotion really happened.
        when=datetime.now(UTC),
    )
    if "promotion" in given.waiting:
        waits = (
            f"version {version or '(not registered yet)'} waits to become champion: MLflow did not take the promotion. "
            "`behavior sync` or the next run makes it, if the champion is then still the one it was compared with"
        )
        run.note("promotion", {"promoted": False, "waits": True, "reason": waits})
        problem = given.problems.get("promotion")
        if problem is not None and not given.unreachable:
            raise problem
        return waits
    result = given.results["promotion"]
    run.note("promotion", {"promoted": result["promoted"], "waits": False, "reason": result["refused"]})
    if result["refused"]:
        raise UserError(result["refused"])
    return None


def close_tracking(run_uri: str) -> str:
    """End the run's MLflow run: FINISHED when its results were kept, else FAILED; never left RUNNING."""
    return end_tracking(run_uri, done="registered")


def end_tracking(run_uri: str, *, done: str) -> str:
    """End a run's MLflow run, and return how.

    Args:
        run_uri: what `start_run` gave.
        done: the record that stands in the run's folder once all of it succeeded.
    """
    from behavior_tasks.registry import tracking

    run = open_run(run_uri)
    succeeded = run.noted(done) is not None
    tracking.finish_tracking(run.home, run.record.config, run_id=run.record.run_id, succeeded=succeeded)
    return "FINISHED" if succeeded else "FAILED"


def runs_page(run: Run) -> str | None:
    """Return the path, on the MLflow server, of the table of runs to which a run belongs; None when there is none."""
    from behavior_tasks.registry.view import view_path

    return view_path(run.home, run.record.config)


def mlflow_pages(run_uri: str) -> dict[str, str]:
    """Return the paths, on the MLflow server, of what a run has left there: `run`, `report` and `version`.

    Nothing while MLflow does not answer; `version` only when one was registered. A monitoring's run is its day's.
    """
    from behavior_tasks.registry import tracking, watch_run

    run = open_run(run_uri)
    config, run_id, watched = run.record.config, run.record.run_id, run.noted("watched")
    if watched is not None:
        config, run_id = watch_run.monitoring(config), watch_run.watch_run_id(date.fromisoformat(watched["day"]))
    try:
        found = tracking.run_link(run.home, config, run_id)
    except UserError:
        return {}
    if found is None:
        return {}
    pages = {"run": found["path"], "report": f"{found['path']}/artifactPath/report.html"}
    version = (run.noted("registered") or {}).get("version")
    if version:
        pages["version"] = f"/#/models/{quote(config.registry.model_name, safe='')}/versions/{version}"
    return pages


def nothing_changed(run: Run) -> bool:
    """Whether the run found its model and baselines finished already."""
    reused = {record.stage: record.reused for record in run.stages()}
    return reused.get("train", False) and reused.get("baselines", False)


def flat_metrics(measured: dict[str, Any]) -> dict[str, float]:
    """Return test metrics under MLflow names: `test_f1` for the candidate, `boosting_test_f1` for the others.

    The candidate's expected amounts are `test_amount_mae`, `test_amount_gini` and `test_amount_total_ratio`.
    """
    named = {"": measured["models"]["candidate"]}
    named |= {f"{name}_": m for name, m in measured["models"].items() if name != "candidate"}
    if measured.get("best_possible"):
        named["best_possible_"] = measured["best_possible"]
    flat = {f"{prefix}test_{key}": value for prefix, metrics in named.items() for key, value in metrics.items()}
    amounts = (measured.get("amount") or {}).get("models", {}).get("candidate", {})
    flat |= {f"test_amount_{key}": amounts.get(key) for key in ("mae", "gini", "total_ratio")}
    return {key: float(value) for key, value in flat.items() if isinstance(value, int | float)}


def _epochs(trained: Artifact) -> list[dict[str, float]]:
    """Return the figures of every epoch; a head that is off has none."""
    lines = (trained.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if value is not None} for line in lines]


def _reports(run: Run) -> list[Path]:
    files = (
        ("clean", "report.json"),
        ("doctor", "doctor.json"),
        ("model_report", "report.html"),
        ("model_report", "model_card.md"),
    )
    named = ((run.artifact(stage), file) for stage, file in files)
    return [artifact.path / file for artifact, file in named if artifact is not None]


def _data_report(run: Run) -> dict[str, list[Path]]:
    """Return the files of the data report, by the folder in MLflow below which they are kept."""
    report = run.artifact("report")
    if report is None:
        return {}
    pages = [report.path / name for name in ("report.html", "report.json")]
    return {"data_report": pages, "data_report/plots": sorted((report.path / "plots").glob("*.png"))}


def dataset_hashes(run: Run) -> dict[str, str]:
    """Return the content hashes of the tables this run stands on."""
    found = ((name, run.artifact(name)) for name in ("clean", "features", "verbalize"))
    return {name: a.manifest.content_hash for name, a in found if a is not None and a.manifest.content_hash}
