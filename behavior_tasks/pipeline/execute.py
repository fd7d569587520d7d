"""Running a stage: inputs opened, key made, work done once, the outcome kept in the run's folder."""

import importlib
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Built, Output
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.config import Config, EngineConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.base.stage import Job, Judge, Report
from behavior_tasks.data.key_history import stay_with
from behavior_tasks.pipeline.publish import at_work
from behavior_tasks.pipeline.runs import UNTRACKED, Run, StageRecord, open_run
from behavior_tasks.pipeline.stages import EVERY, STAGES, Stage

BEFORE_IDS = frozenset({"simulate", "source", "ingest"})
"""Stages that read no pseudonym."""


def run_stages(
    run_uri: str,
    *,
    stages: Mapping[str, Stage] = STAGES,
    until: str | None = None,
    without: Collection[str] = (),
    on_start: Callable[[str], None] = lambda _: None,
    on_end: Callable[[StageRecord], None] = lambda _: None,
    judge: Judge | None = None,
) -> dict[str, str]:
    """Run the stages of a run in this process, in their order, without Airflow.

    Args:
        run_uri: what `start_run` gave.
        stages: rows of the table, in their order.
        until: the last stage; None: all of them.
        without: stages that are left out; none that another one needs.
        on_start: called with a stage's name before it runs.
        on_end: called with its record afterwards.
        judge: may stop a training that is not worth its time.

    Returns:
        Stage → URI of its artifact.
    """
    run = open_run(run_uri)
    uris: dict[str, str] = {}
    for name, stage in stages.items():
        if name in without or (name == "simulate" and run.record.input):
            continue
        on_start(name)
        wanted = (i.removesuffix("?") for i in stage.inputs)
        uris[name] = run_stage(name, run_uri, *(uris.get(i) for i in wanted), judge=judge)
        on_end(next(record for record in run.stages() if record.stage == name))
        if name == until:
            break
    return uris


def run_stage(name: str, run_uri: str, *inputs: str | None, judge: Judge | None = None) -> str:
    """Run one stage of a run and return the URI of its artifact.

    Args:
        name: a key of `EVERY`.
        run_uri: what `start_run` gave.
        inputs: URIs of finished artifacts, whatever their order; None for one that is absent.
        judge: may stop a training that is not worth its time.

    Raises:
        UserError: also kept in the run's folder as `error.json` and `error-NAME.json`, for the closing message.
    """
    run = open_run(run_uri)
    started = time.monotonic()
    # Held until the record is kept: what is found finished may be old, and from then on this run names it.
    with using_artifacts(run.home):
        try:
            with at_work(run), _system_metrics(name, run):
                built = build_stage(name, run, [uri for uri in inputs if uri], report=_live_metrics(run), judge=judge)
        except UserError as error:
            told = {"stage": name, "message": str(error), "problem": error.problem, "next_step": error.next_step}
            run.note("error", told)
            run.note(f"error-{name}", told)
            raise
        record = StageRecord(
            stage=name,
            uri=built.artifact.uri,
            seconds=round(time.monotonic() - started, 3),
            reused=built.reused,
        )
        run.keep(record)
    return built.artifact.uri


def build_stage(
    name: str, run: Run, uris: list[str], *, report: Report | None = None, judge: Judge | None = None
) -> Built:
    """Make the artifact of one stage, or find it, without keeping that in the run's folder.

    Args:
        name: a key of `EVERY`.
        run: whose settings, log and store it is made with.
        uris: finished inputs, whatever their order.
        report: takes live figures of long work.
        judge: may stop a training that is not worth its time.
    """
    stage = EVERY[name]
    inputs = {artifact.manifest.stage: artifact for artifact in map(run.store.open, uris)}
    needed = {i for i in stage.inputs if not i.endswith("?")}
    allowed = {i.removesuffix("?") for i in stage.inputs}
    if not needed <= set(inputs) <= allowed:
        raise ValueError(f"stage {name} takes {stage.inputs}, not {sorted(inputs)}")
    if name not in BEFORE_IDS:
        _same_key(run)
    config = run.record.config
    settings = _slice(config, stage.sections)
    raw = run.record.input
    outside = _load(stage.outside)(raw, config, run.home) if stage.outside else {}
    earlier = _load(stage.earlier)(run.home, inputs) if stage.earlier else {}
    dated = {"day": run.record.day.isoformat()} if stage.dated else {}
    day = _load(stage.day)(run.record.as_of, run.record.day, config, inputs) if stage.day else None
    about = {"about": day.isoformat()} if day is not None else {}

    def do(out: Path, key: str) -> Output:
        job = Job(
            config=_only(settings, engine=config.engine),
            inputs=inputs,
            out=out,
            key=key,
            home=run.home,
            today=run.record.day,
            day=day,
            raw=raw,
            outside=outside,
            rejects=run.rejects,
            report=report,
            judge=judge,
        )
        # Loaded only now: what is found finished costs no import of what would make it.
        return _load(stage.work)(job)

    return run.store.build(
        stage=name,
        code=code_digest(stage.work.partition(":")[0], *stage.also),
        settings=settings,
        inputs={**{n: a.uri for n, a in sorted(inputs.items())}, **outside, **earlier, **dated, **about},
        work=do,
    )


def _same_key(run: Run) -> None:
    """Check that the key of the pseudonyms was not changed since this run read its log."""
    uri = next((record.uri for record in run.stages() if record.stage == "ingest"), None)
    # Old runs go on without their ingest, which retention may have let go.
    ingested = run.store.find("ingest", uri.rpartition("/")[2]) if uri else None
    if ingested is not None:
        stay_with(run.home, ingested.manifest.inputs.get("identity_key"))


def _live_metrics(run: Run) -> Report | None:
    """Return what takes the figures of a run while it runs; some runs have no MLflow run to show them in."""
    if run.record.trigger in UNTRACKED:
        return None
    from behavior_tasks.registry.live import LiveMetrics

    return LiveMetrics(run.home, run.record.config, run_id=run.record.run_id)


def _system_metrics(stage: str, run: Run) -> AbstractContextManager[None]:
    """Return a block in which the machine's load goes to MLflow: for the training, a process of its own."""
    if stage != "train" or run.record.trigger in UNTRACKED:
        return nullcontext()
    from behavior_tasks.registry.system import sampling

    return sampling(run.home, run.record.config, run_id=run.record.run_id)


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"behavior_tasks.{module}"), function)


def _slice(config: Config, sections: tuple[str, ...]) -> dict[str, Any]:
    """Return what a stage declares to read, as nested JSON-able settings."""
    dumped = config.model_dump(mode="json")
    settings: dict[str, Any] = {}
    for name in sections:
        section, _, key = name.partition(".")
        settings.setdefault(section, {}).update({key: dumped[section][key]} if key else dumped[section])
    return settings


def _only(settings: Mapping[str, Any], *, engine: EngineConfig) -> Config:
    """Return a configuration in which everything undeclared is at its default.

    A stage that reads a setting it does not declare then sees the same value in every run, so its key still
    says all that its result depends on. The engine's settings pass through: they say who does the work.
    """
    return Config.model_validate({**settings, "engine": engine.model_dump()})
