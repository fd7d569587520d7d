"""The pipeline: every stage in one table, and the run that leads through them.

The DAG and the command line both call `start_run` once and then `run_stage` by name with the URIs of the
finished inputs; what comes back is the URI of the new artifact. A run's folder keeps its settings and one
small record a stage, from which the closing table is made.
"""

import importlib
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Built, Output, write_durably
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.config import DEFAULT_PRESET, Config, EngineConfig, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home, make_folder
from behavior_tasks.base.stage import Job

RUN_SCHEME = "run://"
Trigger = Literal["nightly", "manual", "command line"]


class Record(BaseModel):
    """Common rules of what is kept in a run's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Record):
    """One row of the table of stages."""

    work: str
    """`module:function` below `behavior_tasks`, called with a Job; loaded only when the stage runs."""
    sections: tuple[str, ...] = ()
    """What the work reads of the configuration: sections (`clean`) or single keys (`source.timezone`)."""
    inputs: tuple[str, ...] = ()
    """Stages whose artifacts it takes; a trailing `?` marks one that may be absent."""
    outside: str | None = None
    """`module:function` that names what the stage reads from outside the store, called with the raw log's path
    (or None), the configuration and the state folder; its answer, name → hash, is part of the key."""


TIMELINE = (
    "source.timezone",
    "examples.horizon_days",
    "examples.train_cutoffs",
    "examples.train_every_days",
)
STAGES: dict[str, Stage] = {
    "simulate": Stage(work="data.simulate:simulate_stage", sections=("simulate", "examples.lookback_days", *TIMELINE)),
    "source": Stage(
        work="data.sources:source_stage",
        sections=("source",),
        inputs=("simulate?",),
        outside="data.sources:hash_raw_files",
    ),
    "ingest": Stage(
        work="data.ingest:ingest_stage",
        sections=("source", "engine.buckets"),
        inputs=("source", "simulate?"),
    ),
    "clean": Stage(work="data.clean:clean_stage", sections=("clean", *TIMELINE), inputs=("ingest",)),
    "identities": Stage(
        work="data.identities:identities_stage",
        inputs=("clean",),
        outside="data.identities:key_fingerprint",
    ),
    "cutoffs": Stage(
        work="examples.cutoffs:cutoffs_stage", sections=("examples", "source.timezone"), inputs=("identities",)
    ),
    "features": Stage(
        work="examples.features:features_stage",
        sections=("examples.horizon_days", "examples.lookback_days", "source.timezone"),
        inputs=("cutoffs", "identities"),
    ),
    "verbalize": Stage(
        work="text.verbalize:verbalize_stage",
        sections=("text", "examples.lookback_days", "source.timezone"),
        inputs=("features", "identities"),
    ),
    "encode": Stage(work="text.encode:encode_stage", sections=("model",), inputs=("verbalize",)),
    "train": Stage(work="model.train:train_stage", sections=("model", "train"), inputs=("encode", "verbalize")),
    "baselines": Stage(work="model.baselines:baselines_stage", sections=("train.seed",), inputs=("features",)),
    "champion": Stage(
        work="registry.versions:champion_stage",
        sections=("registry",),
        outside="registry.versions:champion_identity",
    ),
    "evaluate": Stage(
        work="verdict.evaluate:evaluate_stage",
        sections=("train.device", "train.threads"),
        inputs=("train", "encode", "baselines", "features", "identities", "champion", "simulate?"),
    ),
    "gate": Stage(work="verdict.gate:gate_stage", sections=("gate",), inputs=("evaluate",)),
}


class RunRecord(Record):
    """What a run was asked to do."""

    run_id: str
    name: str
    """For people, e.g. `2026-11-23 nightly · gpt2-compact`."""
    day: date
    trigger: Trigger
    input: str | None
    """The log's path as the user wrote it; None: the simulated shop."""
    preset: str
    config: Config


class StageRecord(Record):
    """What a stage gave in this run."""

    stage: str
    uri: str
    seconds: float
    reused: bool


class Run:
    """A started run: its record, its folder, and the stages done so far."""

    def __init__(self, home: Home, run_id: str) -> None:
        self.home = home
        self.folder = home.runs / run_id
        try:
            self.record = RunRecord.model_validate_json((self.folder / "run.json").read_bytes())
        except FileNotFoundError:
            raise UserError(
                f"There is no run {run_id} in the state folder.", next_step="`behavior status` lists the runs"
            ) from None
        self.store = ArtifactStore(home.artifacts, min_free_disk_mb=self.record.config.engine.min_free_disk_mb)

    @property
    def uri(self) -> str:
        """`run://<run id>`: what travels between tasks."""
        return RUN_SCHEME + self.record.run_id

    def stages(self) -> list[StageRecord]:
        """The stages done so far, in the order of the table."""
        files = {file.stem: file for file in (self.folder / "stages").glob("*.json")}
        return [StageRecord.model_validate_json(files[name].read_bytes()) for name in STAGES if name in files]

    def artifact(self, stage: str) -> Artifact | None:
        """The artifact that a stage gave in this run, or None when it has not run."""
        uris = {record.stage: record.uri for record in self.stages()}
        return self.store.open(uris[stage]) if stage in uris else None

    def note(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a small JSON record in the run's folder, e.g. the registered version."""
        text = json.dumps(content, ensure_ascii=False, indent=2)
        write_durably(self.folder / f"{name}.json", text.encode())

    def noted(self, name: str) -> dict[str, Any] | None:
        """Return a record kept by `note`, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_bytes()) if path.is_file() else None


def start_run(
    run_id: str,
    *,
    day: date,
    trigger: Trigger,
    input_path: str | None = None,
    preset: str = DEFAULT_PRESET,
    config_file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """Check the settings, make the run's folder and return its URI. Starting again keeps what is done.

    Args:
        run_id: any text; characters that do not belong into a folder's name are replaced.
        day: the day the run is for.
        overrides: dotted setting → value.

    Raises:
        UserError: naming everything that is wrong with the settings.
    """
    config = load_config(preset, file=Path(config_file) if config_file else None, overrides=overrides)
    safe_id = re.sub(r"[^A-Za-z0-9._-]+", "-", run_id)
    home = current_home()
    folder = make_folder(home.runs / safe_id)
    make_folder(folder / "stages")
    (folder / "error.json").unlink(missing_ok=True)
    record = RunRecord(
        run_id=safe_id,
        name=f"{day.isoformat()} {trigger} · {model_label(config)}",
        day=day,
        trigger=trigger,
        input=input_path or None,
        preset=preset,
        config=config,
    )
    write_durably(folder / "run.json", record.model_dump_json(indent=2).encode())
    return RUN_SCHEME + safe_id


def open_run(uri: str) -> Run:
    """Return a started run by its URI (or its bare id)."""
    return Run(current_home(), uri.removeprefix(RUN_SCHEME))


def model_label(config: Config) -> str:
    """A short name of the model for run names, e.g. `gpt2-compact` or the checkpoint's name.

    >>> model_label(Config())
    'gpt2-compact'
    """
    if config.model.checkpoint == "scratch":
        return f"gpt2-{config.model.size}"
    return Path(config.model.checkpoint).name


def run_stage(name: str, run_uri: str, *inputs: str | None) -> str:
    """Run one stage of a run and return the URI of its artifact.

    Args:
        inputs: URIs of finished artifacts, whatever their order; None for one that is absent.

    Raises:
        UserError: also kept in the run's folder as `error.json`, for the closing message.
    """
    run = open_run(run_uri)
    started = time.monotonic()
    try:
        built = _build(name, run, [uri for uri in inputs if uri])
    except UserError as error:
        run.note("error", {"stage": name, "message": str(error)})
        raise
    record = StageRecord(
        stage=name,
        uri=built.artifact.uri,
        seconds=round(time.monotonic() - started, 3),
        reused=built.reused,
    )
    make_folder(run.folder / "stages")
    write_durably(run.folder / "stages" / f"{name}.json", record.model_dump_json().encode())
    return built.artifact.uri


def _build(name: str, run: Run, uris: list[str]) -> Built:
    stage = STAGES[name]
    inputs = {artifact.manifest.stage: artifact for artifact in map(run.store.open, uris)}
    needed = {i for i in stage.inputs if not i.endswith("?")}
    allowed = {i.removesuffix("?") for i in stage.inputs}
    if not needed <= set(inputs) <= allowed:
        raise ValueError(f"stage {name} takes {stage.inputs}, not {sorted(inputs)}")
    config = run.record.config
    settings = _slice(config, stage.sections)
    raw = Path(run.record.input) if run.record.input else None
    outside = _load(stage.outside)(raw, config, run.home) if stage.outside else {}
    work = _load(stage.work)

    def do(out: Path, key: str) -> Output:
        job = Job(
            config=_only(settings, engine=config.engine),
            inputs=inputs,
            out=out,
            key=key,
            home=run.home,
            today=run.record.day,
            raw=raw,
        )
        return work(job)

    return run.store.build(
        stage=name,
        code=code_digest(f"behavior_tasks.{stage.work.partition(':')[0]}"),
        settings=settings,
        inputs={**{n: a.uri for n, a in sorted(inputs.items())}, **outside},
        work=do,
    )


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
