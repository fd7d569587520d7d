"""What is kept, and since when: the state folder in; every thing in it that has an age limit, with how it goes, out.

Artifacts count from when they were made, lists from when they were taken, logs from their last line. The one thing to
know: the model that serves and what the runs of these days read are held back from their age; so is the newest date of
what was handed out. Who lets things go is told what holds them, and what to do.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from behavior_tasks.base.artifacts import SCHEME
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.privacy_config import KeptKind
from behavior_tasks.pipeline.gc import artifacts_named_by
from behavior_tasks.pipeline.runs import SCORING, Run, last_runs
from behavior_tasks.registry.retention import DAY_SECONDS, every_line
from behavior_tasks.serve.audiences_taken import PLACE, RECORD, Record
from behavior_tasks.serve.served import OldDate, served_artifacts, served_dates, withdraw
from behavior_tasks.watch.folders import day_folder, kept_days, let_go

STAGE_KINDS: Mapping[str, KeptKind] = {
    **dict.fromkeys(("simulate", "source", "ingest", "ingest-part", "clean", "clean-part"), "events"),
    **dict.fromkeys(("report", "cutoffs", "doctor", "features", "audit"), "examples"),
    **dict.fromkeys(("verbalize", "encode"), "texts"),
    **dict.fromkeys(("baselines", "train", "package", "champion", "champions"), "models"),
    **dict.fromkeys(("evaluate", "gate", "model_report"), "models"),
    **dict.fromkeys(("moment", "readiness", "shopper_scores", "product_scores"), "scores"),
    **dict.fromkeys(("audiences", "recommendations", "demand", "risk"), "scores"),
    "watch": "watch",
}
"""Stage → the kind of its artifacts; a row that was set aside goes with the events that it was set aside from."""
OTHER_STAGES: KeptKind = "examples"
MODEL_STAGES = ("baselines", "train", "package", "evaluate")
"""What the champion's own run made, that serves or is looked at while it serves."""
AT_WORK_DAYS = 7
"""What a run read that began so lately, is read today."""
WATCHERS = ("monitoring", "monitoring in airflow")
CHAMPION = "the champion's own; train anew, so that another serves (behavior run), or keep models longer (privacy.keep)"
READ_TODAY = {
    "events": "the runs of these days read it; leave its days out of the log (source.period_start), or keep events "
    "longer (privacy.keep)",
}
READ_TODAY_ELSE = "the runs of these days read it; it goes when the log or the settings change"
NEWEST = "nothing newer is there to take its place; {command}, or delete its folder by hand"


@dataclass(frozen=True, kw_only=True)
class Aged:
    """One thing that is kept."""

    kind: KeptKind
    name: str
    """Its place below the state folder."""
    since: float
    """Unix seconds."""
    bytes: int
    go: Callable[[], object]
    """Lets it go: renamed first, then deleted, so that what is killed leaves nothing that looks whole."""
    held: str | None = None
    """Why it can't go however old it is, and what to do; None: it can."""


def everything_kept(home: Home, *, now: float) -> Iterator[Aged]:
    """Yield all that has an age limit, but what MLflow keeps.

    Args:
        home: the state folder.
        now: Unix seconds.

    Raises:
        ledger.LedgerError: when the ledger is damaged: nobody knows then which model serves.
    """
    champions = _champions_runs(home)
    young = _runs_at_work(home, now)
    yield from _artifacts(home, champions, young)
    yield from _files(home, "raw", (file for file in _children(home.raw) if file.is_file()))
    yield from _files(home, "events", home.runs.glob("*/quarantine.parquet"))
    yield from _served(home)
    yield from _campaigns(home)
    yield from _watched(home)
    yield from _runs(home, {*champions, *(run.record.run_id for run in young)})
    yield from _files(home, "logs", _below(home.airflow / "logs"))
    yield from _files(home, "logs", home.services.glob("*.log"))
    yield from _folders(home, "work", home.work / "train")
    yield from _folders(home, "cache", home.cache / "scores")
    shelves = home.cache / "scores"
    yield from _files(home, "cache", (file for file in _below(home.cache) if shelves not in file.parents))
    yield from _files(home, "certificates", _below(home.privacy / "certificates"))


def _artifacts(home: Home, champions: Mapping[str, Run | None], young: Collection[Run]) -> Iterator[Aged]:
    own = {r.uri for run in champions.values() if run for r in run.stages() if r.stage in MODEL_STAGES}
    read = artifacts_named_by(home, young) | served_artifacts(home)
    for stage in _children(home.artifacts):
        kind = STAGE_KINDS.get(stage.name, OTHER_STAGES)
        for folder in _children(stage):
            name = f"{stage.name}/{folder.name}"
            uri, held = SCHEME + name, None
            if uri in own:
                held = CHAMPION
            elif uri in read:
                held = READ_TODAY.get(kind, READ_TODAY_ELSE)
            yield _folder(home, kind, folder, held=held)


def _served(home: Home) -> Iterator[Aged]:
    for parent in _children(home.served):
        dates = served_dates(home, parent.name)
        for as_of in dates:
            folder = parent / f"date={as_of.isoformat()}"
            old = OldDate(application=parent.name, as_of=as_of, folder=folder)
            held = NEWEST.format(command="behavior score") if as_of == dates[-1] else None
            name = str(folder.relative_to(home.root))
            since, size = folder.stat().st_mtime, _size(folder)
            yield Aged(kind="scores", name=name, since=since, bytes=size, go=partial(withdraw, old), held=held)


def _campaigns(home: Home) -> Iterator[Aged]:
    for folder in sorted(home.campaigns.glob("*/date=*/*")):
        if not PLACE.fullmatch(folder.name):
            continue
        one = _folder(home, "campaigns", folder)
        try:
            # A list from which somebody was erased was written anew, and is as old as it was.
            since = Record.model_validate_json((folder / RECORD).read_bytes()).taken_at.timestamp()
        except (FileNotFoundError, ValidationError):
            since = one.since
        yield Aged(kind=one.kind, name=one.name, since=since, bytes=one.bytes, go=one.go)


def _watched(home: Home) -> Iterator[Aged]:
    days = kept_days(home)
    for day in days:
        folder = day_folder(home, day)
        yield Aged(
            kind="watch",
            name=str(folder.relative_to(home.root)),
            since=folder.stat().st_mtime,
            bytes=_size(folder),
            go=partial(let_go, home, day),
            held=NEWEST.format(command="behavior watch") if day == days[-1] else None,
        )


def _runs(home: Home, needed: Collection[str]) -> Iterator[Aged]:
    for folder in _children(home.runs):
        held = "the champion's, or of these days; it goes when another serves" if folder.name in needed else None
        yield _folder(home, "runs", folder, held=held)


def _champions_runs(home: Home) -> dict[str, Run | None]:
    """Return the runs whose models serve, by id: for each registered model that of the ledger's last line."""
    last = {line.get("model"): str(line["run_id"]) for line in every_line(home) if line.get("run_id")}
    return {run: Run(home, run) if (home.runs / run / "run.json").is_file() else None for run in last.values()}


def _runs_at_work(home: Home, now: float) -> list[Run]:
    """Return the newest training, scoring and watching, as far as they began these days."""
    found = [run for triggers in (None, SCORING, WATCHERS) for run in last_runs(home, most=1, triggers=triggers)]
    oldest = now - AT_WORK_DAYS * DAY_SECONDS
    return [run for run in found if (run.folder / "run.json").stat().st_mtime >= oldest]


def _files(home: Home, kind: KeptKind, files: Iterable[Path]) -> Iterator[Aged]:
    for file in sorted(files):
        if file.name.startswith(".") or file.suffix == ".lock" or file.is_symlink():
            continue
        told = file.stat()
        go = partial(file.unlink, missing_ok=True)
        yield Aged(kind=kind, name=_name(home, file), since=told.st_mtime, bytes=told.st_size, go=go)


def _folders(home: Home, kind: KeptKind, parent: Path) -> Iterator[Aged]:
    return (_folder(home, kind, folder) for folder in _children(parent) if folder.is_dir())


def _folder(home: Home, kind: KeptKind, folder: Path, *, held: str | None = None) -> Aged:
    since = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    go = partial(_delete, home, folder)
    return Aged(kind=kind, name=_name(home, folder), since=since, bytes=_size(folder), go=go, held=held)


def _delete(home: Home, folder: Path) -> None:
    """Delete a folder; moved first to where what a killed process left is swept."""
    gone = make_folder(home.work) / f".gone.{uuid4().hex[:8]}"
    folder.rename(gone)
    shutil.rmtree(gone)


def _name(home: Home, path: Path) -> str:
    return str(path.relative_to(home.root))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else iter(())


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
