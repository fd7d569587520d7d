"""The end of a tuning: finished trials in; the best settings as a preset, one look at test, and the study's report out.

The best trial and the defaults go through the ordinary stages up to the evaluation, so nothing is trained again. The
one thing to know: only here is test ever looked at, and the study keeps count of how often.
"""

import logging
from typing import TYPE_CHECKING, Any

import yaml

from behavior_tasks.base.artifacts import Artifact, write_durably
from behavior_tasks.base.config import TUNED, Config, changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.tuning_config import search_of
from behavior_tasks.model.trials import Tried, best_of, finished
from behavior_tasks.pipeline.execute import run_stages
from behavior_tasks.pipeline.provenance import flat_settings, start_tags
from behavior_tasks.pipeline.publish import LED_BY, end_tracking
from behavior_tasks.pipeline.runs import Run, open_run
from behavior_tasks.pipeline.stages import STAGES, needed_for
from behavior_tasks.pipeline.tuning import AP, data_hash, open_study, trial_run

if TYPE_CHECKING:
    from behavior_tasks.model.study import Study

LOOKS = "looks"
log = logging.getLogger("behavior")


def open_tuning_tracking(run_uri: str) -> str | None:
    """Start the MLflow run of a study, below which its trials stand, or find it again.

    Returns:
        MLflow's id of the run; None where MLflow does not answer and the records wait.
    """
    from behavior_tasks.pipeline.syncing import sync
    from behavior_tasks.registry import tracking

    run = open_run(run_uri)
    sync(run.home, only_run_of=LED_BY.get(run.record.trigger))
    tags = {**start_tags(run), "study": run.record.config.tuning.study}
    name = f"study {run.record.config.tuning.study}"
    return tracking.start_tracking(run.home, run.record.config, run_id=run.record.run_id, name=name, tags=tags)


def conclude_tuning(run_uri: str) -> str:
    """Write the best settings as a preset, measure them and the defaults on test, and write the study's report.

    Returns:
        The name of the preset, `tuned/NAME`.

    Raises:
        UserError: when no trial is complete.
    """
    run = open_run(run_uri)
    study = open_study(run.home, run.record.config)
    trials = study.trials()
    best = best_of(trials)
    if best is None:
        raise UserError(
            f"No trial of the study {study.name} is complete.",
            found=f"{len(finished(trials))} finished, none of them to its end",
            next_step="the same command goes on; look at tuning.pruner, tuning.minutes and the trials' messages",
        )
    chosen = trial_run(run, best.number, best.settings)
    first = _defaults_run(run, study, trials)
    evaluated = {name: _evaluate(one) for name, one in (("best", chosen), ("defaults", first))}
    preset = write_preset(run, best)
    figures = _report(run, study, trials, evaluated, first)
    run.note("tuned", {"preset": preset, "trial": best.number, "words": figures["words"]})
    _keep_in_mlflow(run, study, figures, trials)
    for words in figures["words"]:
        log.info("test: %s", words)
    return preset


def close_tuning_tracking(run_uri: str) -> str:
    """End the study's MLflow run: FINISHED when its report was written, else FAILED; never left RUNNING."""
    return end_tracking(run_uri, done="tuned")


def write_preset(run: Run, best: Tried) -> str:
    """Write the settings of a trial, with all that its study was begun with, and return the preset's name.

    The file holds whatever is not at its default, so it stands for the whole configuration of the trial.
    """
    tuning = run.record.config.tuning
    config = changed(run.record.config, best.settings)
    settings = config.model_dump(mode="json", exclude_defaults=True, exclude={"tuning"})
    head = (
        f"# Written by `behavior tune`: the best settings of the study {tuning.study}.",
        f"# study: {tuning.study}",
        f"# trial: {best.number}",
        f"# validation_average_precision: {best.value}",
        f"# data: {data_hash(run)}",
        f"# preset: {run.record.preset}",
    )
    text = "\n".join(head) + "\n" + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    write_durably(make_folder(run.home.tuned) / f"{tuning.study}.yaml", text.encode())
    return f"{TUNED}{tuning.study}"


def _defaults_run(run: Run, study: "Study", trials: list[Tried]) -> Run:
    """Return the run of the settings before the search: that of their trial, where they were one."""
    for trial in trials:
        if trial.state == "complete" and dict(trial.settings) == study.defaults:
            return trial_run(run, trial.number, trial.settings)
    return run


def _evaluate(run: Run) -> Artifact:
    run_stages(run.uri, without=set(STAGES) - needed_for("evaluate"))
    evaluated = run.artifact("evaluate")
    assert evaluated is not None
    return evaluated


def _report(
    run: Run, study: "Study", trials: list[Tried], evaluated: dict[str, Artifact], first: Run
) -> dict[str, Any]:
    from behavior_tasks.verdict.metrics import Resampling
    from behavior_tasks.verdict.study_on_test import compare_on_test
    from behavior_tasks.verdict.study_report import write_study_report

    config = run.record.config
    gate, trained = config.gate, first.artifact("train")
    assert trained is not None
    resampling = Resampling(resamples=gate.bootstrap, confidence=gate.confidence, seed=gate.seed)
    facts = {
        "study": study.name,
        "preset": run.record.preset,
        "log": run.log_name,
        "data": data_hash(run),
        "asked": config.tuning.trials,
        "search": _search(config),
        "defaults": {"validation_average_precision": trained.facts[AP], "settings": study.defaults},
        "test": compare_on_test(evaluated["best"], evaluated["defaults"], resampling),
        LOOKS: study.look(evaluated["best"].manifest.inputs["train"]),
    }
    return write_study_report(study.folder, facts, trials, study.optuna_study)


def _keep_in_mlflow(run: Run, study: "Study", figures: dict[str, Any], trials: list[Tried]) -> None:
    from behavior_tasks.registry import tracking

    best, test = figures["best"], figures["test"]
    differences = test["difference"]
    metrics = {
        f"best_{AP}": best[AP],
        f"defaults_{AP}": figures["defaults"][AP],
        **{f"{who}_test_{name}": test[who][name] for who in ("best", "defaults") for name in differences},
        **{f"test_{name}_{part}": value for name, parts in differences.items() for part, value in parts.items()},
    }
    curve = [
        {"epoch": float(trial.number), f"trial_{AP}": trial.value}
        for trial in trials
        if trial.state == "complete" and trial.value is not None
    ]
    chosen = {f"best.{key}": value for key, value in best["settings"].items()}
    tracking.log_results(
        run.home,
        run.record.config,
        run_id=run.record.run_id,
        params={**flat_settings(run.record.config), **chosen},
        metrics={name: float(value) for name, value in metrics.items() if value is not None},
        epochs=curve,
        plots=sorted((study.folder / "plots").glob("*.png")),
        files=[study.folder / "study.json", study.folder / "report.html", run.home.tuned / f"{study.name}.yaml"],
        datasets={"features": figures["data"]},
        tags={"best_trial": str(best["trial"]), "test_hash": str(test["test_hash"]), "words": figures["words"][0]},
    )


def _search(config: Config) -> dict[str, Any]:
    search = search_of(config.tuning, config.model)
    return {key: span.model_dump(mode="json", exclude_defaults=True) for key, span in search.items()}
