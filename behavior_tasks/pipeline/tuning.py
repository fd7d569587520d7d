"""A tuning: settings and a log in; trials trained one after the other, by as many workers as are asked for.

The command line and the DAG call the same functions: `start_tuning`, `prepare_tuning`, `work_off` (once a worker), and
`conclude_tuning` of `tuning_end`. The one thing to know: a trial runs the ordinary stages up to the training, so what
it shares with another is made once, and a trial that was killed goes on from its last checkpoint.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.config import DEFAULT_PRESET, Config, changed, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.base.stage import AbandonedError, Judge
from behavior_tasks.base.tuning_config import NEVER_SEARCHED, search_of
from behavior_tasks.model.supervise import TrainingStoppedError
from behavior_tasks.model.trials import Tried, finished, in_words, settings_in_words
from behavior_tasks.pipeline.execute import run_stages
from behavior_tasks.pipeline.provenance import flat_settings
from behavior_tasks.pipeline.publish import at_work
from behavior_tasks.pipeline.runs import Run, keep_run, open_run, start_run
from behavior_tasks.pipeline.stages import STAGES, needed_for

if TYPE_CHECKING:
    from behavior_tasks.model.study import Study, Trial

TOO_MANY_FAILURES = 3
"""Failed trials in a row after which something else than their settings must be wrong."""
OF_THE_MACHINE = ("engine.", "gate.", "registry.")
"""Sections that may differ between the trials of a study: they change no trial's figure."""
AP = "validation_average_precision"
log = logging.getLogger("behavior")


def start_tuning(
    *,
    day: date,
    input_path: str | None = None,
    preset: str = DEFAULT_PRESET,
    config_file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    in_airflow: bool = False,
) -> str:
    """Check the settings, make the study or find it again, and return the URI of its run.

    Args:
        day: the day that the tuning is for.
        input_path: the user's log; None or empty: the simulated shop.
        preset: name of a preset.
        config_file: the user's own YAML over the preset.
        overrides: dotted setting → value; `tuning.study` names the study.
        in_airflow: whether a DAG leads the tuning, with no process in between its tasks.

    Raises:
        UserError: wrong settings, or a study of this name that was begun with other ones.
    """
    config = load_config(preset, file=Path(config_file) if config_file else None, overrides=overrides)
    study = open_study(current_home(), config)
    study.agree(_shared(config))
    study.begin_with_defaults()
    return start_run(
        run_id_of(config.tuning.study),
        day=day,
        trigger="tuning in airflow" if in_airflow else "tuning",
        input_path=input_path,
        preset=preset,
        config_file=config_file,
        overrides=overrides,
    )


def run_id_of(study: str) -> str:
    """Return the run id of a study: the same one, however often it goes on."""
    return f"tuning-{study}"


def prepare_tuning(run_uri: str) -> list[int]:
    """Make what all trials read, so that no two workers make it at the same time, and return the workers' numbers.

    Raises:
        UserError: the log can't be learned from, or it is not the one that the study was begun on.
    """
    run = open_run(run_uri)
    shared = needed_for("train") - {"train"}
    run_stages(run_uri, without=set(STAGES) - shared)
    open_study(run.home, run.record.config).agree({"data": data_hash(run)})
    return list(range(run.record.config.tuning.workers))


def data_hash(run: Run) -> str:
    """Return the hash of the examples with their features and labels: what all trials are measured on."""
    features = run.artifact("features")
    assert features is not None
    return str(features.manifest.content_hash)


def work_off(run_uri: str, *, clock: Callable[[], float] = time.monotonic) -> int:
    """Train trials until those that are asked for are done or begun by others, or the time is over.

    Args:
        run_uri: what `start_tuning` gave, after `prepare_tuning`.
        clock: seconds, for `tuning.minutes`.

    Returns:
        How many trials this call has ended.

    Raises:
        UserError: the defaults can't be trained, or so many trials in a row that it can't be their settings.
    """
    run = open_run(run_uri)
    with at_work(run):
        return _work_off(run, clock)


def _work_off(run: Run, clock: Callable[[], float]) -> int:
    tuning = run.record.config.tuning
    study = open_study(run.home, run.record.config)
    began, ended = clock(), 0
    while tuning.minutes is None or clock() - began < tuning.minutes * 60:
        try:
            with study.next_trial() as trial:
                if trial is None:
                    break
                problem = _run_trial(run, study, trial)
        except TrainingStoppedError as error:
            log.warning("%s", error)
            continue
        ended += 1
        trials = study.trials()
        log.info("%s", in_words(trials, trial.number, tuning.trials))
        last = [tried.state for tried in finished(trials)][-TOO_MANY_FAILURES:]
        if problem is not None and (trial.is_default or last == ["failed"] * TOO_MANY_FAILURES):
            raise problem
    return ended


def trials_of(run_uri: str) -> list[Tried]:
    """Return the trials of a tuning as they stand, in order of their numbers."""
    run = open_run(run_uri)
    return open_study(run.home, run.record.config).trials()


def trial_run(run: Run, number: int, settings: Mapping[str, Any]) -> Run:
    """Make the run of a trial, or open it again.

    Args:
        run: of the tuning.
        number: of the trial.
        settings: dotted setting → value, laid over the tuning's.

    Raises:
        UserError: when these settings contradict one another.
    """
    config = changed(run.record.config, settings)
    update = {
        "run_id": f"{run.record.run_id}@{_child(number)}",
        "name": f"{run.record.config.tuning.study} trial {number}",
        "trigger": "trial",
        "config": config,
    }
    return keep_run(run.home, run.record.model_copy(update=update))


def open_study(home: Home, config: Config) -> "Study":
    """Return the study that a configuration names."""
    # Optuna is loaded only where trials are, not where a DAG is read.
    from behavior_tasks.model.study import Study

    return Study(home, config)


def _shared(config: Config) -> dict[str, Any]:
    """Return the settings in which all trials of a study must agree."""
    search = search_of(config.tuning, config.model)
    left_out = set(search) | (set(NEVER_SEARCHED) - {"train.seed"})
    flat = flat_settings(config)
    shared = {key: value for key, value in flat.items() if key not in left_out and not key.startswith(OF_THE_MACHINE)}
    # A log is known by its content, see `prepare_tuning`.
    spans = {key: span.model_dump(mode="json", exclude_defaults=True) for key, span in search.items()}
    return {**shared, "tuning.search": spans}


def _run_trial(run: Run, study: "Study", trial: "Trial") -> UserError | None:
    """Train a trial and end it in the study and in MLflow; return what a failed one failed of."""
    from behavior_tasks.registry import tracking

    home, config = run.home, run.record.config
    child = tracking.start_child(
        home,
        config,
        run_id=run.record.run_id,
        child=_child(trial.number),
        name=f"trial {trial.number} · {settings_in_words(trial.settings)}",
        tags={"trial": str(trial.number), "study": study.name, "state": "running"},
    )
    problem = None
    try:
        one = trial_run(run, trial.number, trial.settings)
        run_stages(one.uri, without=set(STAGES) - needed_for("train"), judge=_judge(trial, one))
        trained = one.artifact("train")
        assert trained is not None
        for line in (trained.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            # A model that was found finished was not judged, and the last epoch may end before it is.
            epoch = json.loads(line)
            trial.keep(epoch[AP], epoch["epoch"])
        trial.complete(float(trained.facts[AP]))
    except AbandonedError:
        trial.prune()
    except UserError as error:
        trial.fail(str(error))
        problem = error
    finally:
        _close_child(run, child, next(t for t in study.trials() if t.number == trial.number), trial.ended)
    return problem


def _judge(trial: "Trial", run: Run) -> Judge:
    epochs = run.record.config.train.epochs

    def judge(figures: Mapping[str, float], epoch: int) -> bool:
        # After its last epoch there is nothing left to save.
        return trial.worth_going_on(figures[AP], epoch) or epoch >= epochs

    return judge


def _close_child(run: Run, child: str, tried: Tried, ended: bool) -> None:
    """Keep a trial's settings, curve and end in its MLflow run; one that was stopped ends there as failed."""
    from behavior_tasks.registry import tracking

    home, config = run.home, run.record.config
    state = tried.state if ended else "stopped"
    tracking.log_results(
        home,
        config,
        run_id=child,
        params=tried.settings,
        metrics={} if tried.value is None else {f"best_{AP}": tried.value},
        epochs=[{"epoch": float(epoch), AP: value} for epoch, value in sorted(tried.epochs.items())],
        plots=[],
        files=[],
        datasets={},
        tags={"state": state, **({"problem": tried.problem} if tried.problem else {})},
    )
    tracking.finish_tracking(home, config, run_id=child, succeeded=state in ("complete", "pruned"), note=state)


def _child(number: int) -> str:
    return f"trial-{number:04d}"
