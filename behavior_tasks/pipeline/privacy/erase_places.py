"""Places that hold people: the state folder and who goes in; every place rid of them, with how many rows went, out.

Artifacts first, then the copies of logs, what was handed out and taken away, and the rest. The one thing to know: each
artifact, date and list is replaced whole, so whoever is killed leaves each of them as before or as afterwards, and the
same work goes on from there. The user's own log is the user's: it is not touched, tombstones keep its rows out.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.config import EngineConfig, SourceConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import Home, sweep_temporary_folders
from behavior_tasks.base.rewriting import rewrite_artifact
from behavior_tasks.base.workfolder import REPLACEMENT, finish_exchange, sweep
from behavior_tasks.data.inputs import RawFile
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.raw_erase import count_raw_rows, erase_raw_rows
from behavior_tasks.data.rawstore import copy_name
from behavior_tasks.data.sources import layout_of
from behavior_tasks.pipeline.privacy.erase_files import How, Whom, count_in, mentions, take_out, told_without
from behavior_tasks.pipeline.privacy.erase_kinds import AUDIENCES, ENCODED, how_by_ending, how_of, require_known
from behavior_tasks.serve.audiences_taken import Record, rewrite_taken
from behavior_tasks.serve.served import FOLDER, applications, rewrite_date, served_dates

LOG = "events.csv"
"""The simulated shop's log."""
ROWS_A_MEGABYTE = 20_000
"""A low guess for Parquet, to know whether files are worth several processes."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done in a state folder."""

    home: Home
    whom: Whom
    request: str
    when: str
    identity_key: str
    """Fingerprint of the key of the pseudonyms."""
    engine: EngineConfig
    looking: bool = False
    """Only count; nothing is written."""


@dataclass(kw_only=True)
class Found:
    """What went, or would go."""

    rows: Counter[str] = field(default_factory=Counter)
    """Kind of place → rows, or mentions."""
    lists: list[Record] = field(default_factory=list)
    """Lists that somebody has taken away and that held them: whoever took one may hold it still."""
    other_keys: int = 0
    """Logs that were read under an identity key that has been changed since: nobody can be found in what they gave."""


@dataclass(frozen=True, kw_only=True)
class _FileJob:
    path: Path
    how: How
    whom: Whom


def erase_everywhere(task: Task) -> Found:
    """Take people out of every place of the state folder; whoever calls holds `alone_with_artifacts`.

    Raises:
        UserError: before anything is changed, when there is a kind of artifact that nobody told how to erase from.
    """
    found, store = Found(), ArtifactStore(task.home.artifacts)
    artifacts = _every_artifact(task.home, store)
    keys = (one.manifest.inputs.get("identity_key") for one in artifacts if one.manifest.stage == "ingest-part")
    found.other_keys = sum(key != task.identity_key for key in keys)
    for artifact in artifacts:
        require_known(artifact.path.parent.name)
        for name in artifact.manifest.files:
            how_of(artifact.path.parent.name, name)
    found.rows["raw"] += _erase_raw(task, artifacts)
    for artifact in artifacts:
        found.rows[artifact.manifest.stage] += _erase_artifact(task, artifact)
    for application in applications(task.home):
        for as_of in served_dates(task.home, application):
            found.rows["served"] += _erase_date(task, application, as_of)
    _erase_taken(task, found)
    for name, folder in (
        ("watch", task.home.watch),
        ("runs", task.home.runs),
        ("outbox", task.home.registry / "outbox"),
        ("tuning", task.home.tuning),
        ("cache", task.home.cache / "watch"),
    ):
        found.rows[name] += _erase_folder(task, folder)
    found.rows["mlflow"] += _erase_run_files(task)
    found.rows = +found.rows
    return found


def forget_unfinished(home: Home) -> None:
    """Delete what was begun with people who are erased: unfinished trainings, temporary folders, answers to texts."""
    sweep_temporary_folders(home)
    for folder in (home.work / "train", home.cache / "scores"):
        shutil.rmtree(folder, ignore_errors=True)


def erase_files(task: Task, folder: Path, files: Iterable[tuple[Path, How]]) -> int:
    """Take people out of files of a folder, each in its place; return how many rows went."""
    jobs = [_FileJob(path=path, how=how, whom=task.whom) for path, how in files if how != "keep"]
    held = _run(_count, jobs, task.engine, f"look into {folder.parent.name}")
    if not task.looking:
        some = [job for job, rows in zip(jobs, held, strict=True) if rows]
        _run(_take_out, some, task.engine, f"erase from {folder.parent.name}")
    return sum(held)


def _run(function: Callable[[_FileJob], int], jobs: list[_FileJob], engine: EngineConfig, what: str) -> list[int]:
    """Work on files, side by side where they are large; Spark's workers need not see the state folder."""
    if not jobs:
        return []
    rows = sum(job.path.stat().st_size for job in jobs) * ROWS_A_MEGABYTE >> 20
    return run_buckets(function, jobs, engine=engine.model_copy(update={"runner": "local"}), what=what, rows=rows)


def _count(job: _FileJob) -> int:
    return count_in(job.path, job.how, job.whom)


def _take_out(job: _FileJob) -> int:
    take_out(job.path, job.how, job.whom)
    return 0


def _every_artifact(home: Home, store: ArtifactStore) -> list[Artifact]:
    """Return every finished artifact; a replacement that a killed erasure left is brought to its place first."""
    found = []
    for stage in sorted(home.artifacts.iterdir()) if home.artifacts.is_dir() else ():
        if not stage.is_dir():
            continue
        for hidden in stage.glob(f".*{REPLACEMENT}"):
            finish_exchange(stage / hidden.name.removeprefix(".").removesuffix(REPLACEMENT))
        sweep(stage)
        keys = sorted(folder.name for folder in stage.iterdir() if folder.is_dir() and not folder.name.startswith("."))
        found += [artifact for key in keys if (artifact := store.find(stage.name, key)) is not None]
    return found


def _erase_artifact(task: Task, artifact: Artifact) -> int:
    stage = artifact.manifest.stage
    files = [(artifact.path / name, how_of(stage, name)) for name in artifact.manifest.files]
    jobs = [_FileJob(path=path, how=how, whom=task.whom) for path, how in files if how != "keep"]
    held = _run(_count, jobs, task.engine, f"look into {stage}")
    some = [(job.path, job.how) for job, rows in zip(jobs, held, strict=True) if rows]
    told = mentions(json.dumps(artifact.facts).encode(), task.whom)
    raw = _RawLog(artifact.path / LOG) if stage == "simulate" else None
    if task.looking:
        return sum(held) + told + (raw.count(task.whom) if raw else 0)
    if not some and not told and raw is None:
        return 0

    def work(folder: Path) -> int:
        moved = [(folder / path.relative_to(artifact.path), how) for path, how in some]
        if stage == ENCODED and moved:
            from behavior_tasks.pipeline.privacy.erase_arrays import cut_tokens

            cut_tokens(folder, task.whom)
        else:
            _run(_take_out, [_FileJob(path=p, how=h, whom=task.whom) for p, h in moved], task.engine, f"erase {stage}")
        if stage == AUDIENCES and moved:
            _draw(task, folder / FOLDER, artifact.facts)
        return sum(held) + told + (raw.take_out(folder / LOG, task.whom) if raw else 0)

    return rewrite_artifact(
        artifact,
        request=task.request,
        when=task.when,
        work=work,
        facts=lambda facts: told_without(facts, task.whom) if told else facts,
    )


def _draw(task: Task, folder: Path, facts: dict[str, object]) -> None:
    from behavior_tasks.pipeline.privacy.erase_arrays import draw_curves

    draw_curves(task.home, folder, holdout=float(str(facts["holdout"])))


@dataclass(frozen=True)
class _RawLog:
    """The simulated shop's log, which is ours: raw ids in the canonical columns."""

    path: Path

    def count(self, whom: Whom) -> int:
        return count_raw_rows(self.path, *self._read_as(self.path), whom.tombstones, shown=LOG)

    def take_out(self, path: Path, whom: Whom) -> int:
        return erase_raw_rows(path, *self._read_as(path), whom.tombstones, shown=LOG)

    def _read_as(self, path: Path) -> tuple[Layout, SourceConfig]:
        config = SourceConfig()
        return layout_of(_raw_file(path, LOG), config), config


def _raw_file(path: Path, name: str) -> RawFile:
    held = path.stat()
    return RawFile(path=path, shown=name, name=name, bytes=held.st_size, sha256="", mtime_ns=held.st_mtime_ns)


def _erase_raw(task: Task, artifacts: list[Artifact]) -> int:
    """Take people out of the copies of logs; a copy that no reading explains goes: it is fetched anew when needed."""
    copies = {file.name: file for file in task.home.raw.glob("[!.]*") if file.is_file()}
    rows = 0
    for artifact in artifacts:
        if artifact.manifest.stage != "source" or not copies:
            continue
        config = SourceConfig.model_validate(artifact.manifest.settings["source"])
        for told in artifact.facts["files"]:
            names = [name for name in copies if name.startswith(copy_name(told["sha256"], ""))]
            for name in names:
                rows += _erase_copy(task, copies.pop(name), told["name"], config)
    for file in copies.values():
        if not task.looking:
            file.unlink(missing_ok=True)
            log.info("erase: the copy raw/%s, of which no reading is left, is deleted", file.name)
    return rows


def _erase_copy(task: Task, path: Path, name: str, config: SourceConfig) -> int:
    work = count_raw_rows if task.looking else erase_raw_rows
    return work(path, layout_of(_raw_file(path, name), config), config, task.whom.tombstones, shown=name)


def _erase_date(task: Task, application: str, as_of: date) -> int:
    place = task.home.served / application / f"date={as_of.isoformat()}"

    def files(folder: Path) -> list[tuple[Path, How]]:
        names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        return [(folder / name, how_by_ending(name)) for name in names]

    def work(folder: Path) -> int:
        rows = erase_files(task, folder, files(folder))
        if rows and application == AUDIENCES:
            _draw(task, folder, json.loads((folder / "served.json").read_bytes())["facts"])
        return rows

    return erase_files(task, place, files(place)) if task.looking else rewrite_date(task.home, application, as_of, work)


def _erase_taken(task: Task, found: Found) -> None:
    def files(folder: Path) -> list[tuple[Path, How]]:
        return [(file, how_by_ending(file.name)) for file in sorted(folder.iterdir())]

    if task.looking:
        for folder in task.home.campaigns.glob("*/date=*/[!.]*"):
            found.rows["campaigns"] += erase_files(task, folder, files(folder))
        return
    for record, rows in rewrite_taken(task.home, partial(_work, task, files)):
        found.rows["campaigns"] += rows
        found.lists.append(record)


def _work(task: Task, files: Callable[[Path], list[tuple[Path, How]]], folder: Path) -> int:
    return erase_files(task, folder, files(folder))


def _erase_folder(task: Task, folder: Path) -> int:
    """Take people out of files that are no artifacts, each in its place."""
    if not folder.is_dir():
        return 0
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    told = ((file, "unnamed" if file.name == "quarantine.parquet" else how_by_ending(file.name)) for file in files)
    return erase_files(task, folder, told)


def _erase_run_files(task: Task) -> int:
    """Take people out of the tables, pages and texts of the runs in MLflow, each put back in its place."""
    from behavior_tasks.registry.erased import each_run_file

    rows = 0
    for name, path, put_back in each_run_file(task.home, lambda name: how_by_ending(name) != "keep"):
        held = count_in(path, how_by_ending(name), task.whom)
        rows += held
        if held and not task.looking:
            take_out(path, how_by_ending(name), task.whom)
            put_back()
    return rows
