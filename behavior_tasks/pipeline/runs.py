"""A run: what it was asked to do, and which artifact each stage gave.

`start_run` checks the settings once and keeps them in the run's folder; every task then opens the run by its
URI. Small records only: the results themselves are artifacts, shared by all runs that need the same ones.
"""

import json
import re
from collections.abc import Collection, Mapping
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.addresses import hide_secrets, shown_address
from behavior_tasks.base.artifacts import Artifact, ArtifactStore, write_durably
from behavior_tasks.base.config import DEFAULT_PRESET, Config, TrainConfig, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home, make_folder, sweep_temporary_folders
from behavior_tasks.base.records import read_record
from behavior_tasks.pipeline.stages import EVERY

RUN_SCHEME = "run://"
# An inspection (`behavior doctor`, `behavior simulate`) uses stages but trains nothing; a tuning and its trials
# train, but decide about no champion.
# A scoring asks the champions, and a monitoring looks at what they said; neither trains.
Trigger = Literal[
    "nightly",
    "manual",
    "command line",
    "inspection",
    "tuning",
    "tuning in airflow",
    "trial",
    "scoring",
    "scoring in airflow",
    "monitoring",
    "monitoring in airflow",
]
SCORING = frozenset({"scoring", "scoring in airflow"})
"""Triggers of runs that serve."""
UNTRACKED = SCORING | {"inspection", "monitoring", "monitoring in airflow"}
"""Triggers of runs whose stages show no live figures in MLflow."""
UNDECIDED = UNTRACKED | {"tuning", "tuning in airflow", "trial"}
"""Triggers of runs that end without a verdict."""


class Record(BaseModel):
    """Common rules of what is kept in a run's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyRecord = TypeVar("AnyRecord", bound=Record)


class RunRecord(Record):
    """What a run was asked to do."""

    run_id: str
    name: str
    """For people, e.g. `2026-11-23 nightly · gpt2-compact`."""
    day: date
    trigger: Trigger
    as_of: date | None = None
    """The local day at whose beginning a scoring looks at the log; None: the day after its last event."""
    input: str | None
    """The log as the user wrote it, without passwords; None: the simulated shop."""
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
            content = (self.folder / "run.json").read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"There is no run {run_id} in the state folder.", next_step="`behavior status` lists the runs"
            ) from None
        self.record = self._read(RunRecord, content, "run.json")
        self.store = ArtifactStore(home.artifacts, min_free_disk_mb=self.record.config.engine.min_free_disk_mb)

    @property
    def uri(self) -> str:
        """`run://<run id>`: what travels between tasks."""
        return RUN_SCHEME + self.record.run_id

    @property
    def log_name(self) -> str:
        """The log without its place, for people."""
        return Path(shown_address(self.record.input)).name if self.record.input else "simulated shop"

    @property
    def rejects(self) -> Path:
        """Where the quarantined rows of a log stand that this run refused; absent when it did not."""
        return self.folder / "quarantine.parquet"

    def stages(self) -> list[StageRecord]:
        """The stages done so far, in the order of the table."""
        files = {file.stem: file for file in (self.folder / "stages").glob("*.json")}
        return [
            self._read(StageRecord, files[name].read_bytes(), f"stages/{name}.json") for name in EVERY if name in files
        ]

    def _read(self, model: type[AnyRecord], content: bytes, name: str) -> AnyRecord:
        place = f"runs/{self.folder.name}"
        return read_record(model, content, f"{place}/{name}", mend=f"move {place} out of the state folder")

    def artifact(self, stage: str) -> Artifact | None:
        """The artifact that a stage gave in this run, or None when it has not run."""
        uris = {record.stage: record.uri for record in self.stages()}
        return self.store.open(uris[stage]) if stage in uris else None

    def need(self, stage: str) -> Artifact:
        """The artifact of a stage that this run is known to have done."""
        found = self.artifact(stage)
        assert found is not None
        return found

    def keep(self, record: StageRecord) -> None:
        """Keep what a stage gave."""
        write_durably(self.folder / "stages" / f"{record.stage}.json", record.model_dump_json().encode())

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
    as_of: date | None = None,
) -> str:
    """Check the settings, make the run's folder and return its URI. Starting again keeps what is done.

    Args:
        run_id: any text; characters that do not belong into a folder's name are replaced.
        day: the day the run is for.
        trigger: what started it.
        input_path: the user's log; None or empty: the simulated shop.
        preset: name of a file in `conf/`.
        config_file: the user's own YAML over the preset.
        overrides: dotted setting → value.
        as_of: for a scoring, the local day at whose beginning it looks at the log; None: the day after its last event.

    Raises:
        UserError: naming everything that is wrong with the settings, or hardware that they ask for and there is not.
    """
    config = check_settings(preset=preset, config_file=config_file, overrides=overrides)
    if trigger != "inspection":
        _refuse_missing_hardware(config.train)
    home = current_home()
    sweep_temporary_folders(home)
    record = RunRecord(
        run_id=safe_id(run_id),
        name=f"{day.isoformat()} {trigger} · {model_label(config)}",
        day=day,
        trigger=trigger,
        as_of=as_of,
        input=hide_secrets(input_path, home) if input_path else None,
        preset=preset,
        config=config,
    )
    return keep_run(home, record).uri


def check_settings(
    *,
    preset: str = DEFAULT_PRESET,
    config_file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    **_: Any,
) -> Config:
    """Check the settings that a run is asked for; the machine that shall run it is looked at by `start_run`.

    Raises:
        UserError: naming everything that is wrong with them.
    """
    return load_config(preset, file=Path(config_file) if config_file else None, overrides=overrides)


def safe_id(run_id: str) -> str:
    """Return a run's id as its folder is named.

    >>> safe_id("manual__2026-11-23T02:00:00+00:00")
    'manual__2026-11-23T02-00-00-00-00'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id)


def _refuse_missing_hardware(settings: TrainConfig) -> None:
    """Refuse before the first stage what the training would refuse after minutes of work."""
    usual = settings.device in {"auto", "cpu"} and settings.precision != "bf16" and not settings.compile
    if usual and settings.processes == 1:
        return  # Every machine can do that, so torch is not loaded to ask.
    from behavior_tasks.model.launch import check_hardware

    check_hardware(settings)


def keep_run(home: Home, record: RunRecord) -> Run:
    """Make the folder of a run below a state folder, or open it again with what is done in it."""
    folder = make_folder(home.runs / record.run_id)
    make_folder(folder / "stages")
    stale = ("approval.json", "error.json", "registered.json", "promotion.json", "scored.json", "quarantine.parquet")
    for file in (*(folder / name for name in stale), *folder.glob("error-*.json")):
        file.unlink(missing_ok=True)
    write_durably(folder / "run.json", record.model_dump_json(indent=2).encode())
    return Run(home, record.run_id)


def open_run(uri: str) -> Run:
    """Return a started run by its URI (or its bare id)."""
    return Run(current_home(), uri.removeprefix(RUN_SCHEME))


def last_runs(
    home: Home, *, most: int, inspections: bool = False, triggers: Collection[str] | None = None
) -> list[Run]:
    """Return the training runs started last, newest first.

    Args:
        home: the state folder.
        most: how many.
        inspections: whether inspections, trials and what else ends without a verdict count too.
        triggers: only runs that these started, whatever they are for; None: as `inspections` says.
    """
    files = sorted(home.runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    runs = (Run(home, file.parent.name) for file in files)
    if triggers is not None:
        wanted = (run for run in runs if run.record.trigger in triggers)
    else:
        wanted = (run for run in runs if inspections or run.record.trigger not in UNDECIDED)
    return list(islice(wanted, most))


def model_label(config: Config) -> str:
    """A short name of the model for run names, e.g. `gpt2-compact` or the checkpoint's name.

    >>> model_label(Config())
    'gpt2-compact'
    """
    if config.model.checkpoint == "scratch":
        return f"gpt2-{config.model.size}"
    return Path(config.model.checkpoint).name
