"""Garbage collection: the retention policy in; what nobody needs any more out, and, when asked for, gone.

An artifact stays while a kept run, a kept version, a ledger line, an undelivered record or something handed out names
it; a watched day while it is young; what is cached while somebody reads it. The one thing to know: it is renamed before
it is deleted, so that a killed collection leaves nothing that looks finished.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from uuid import uuid4

from behavior_tasks.base.artifacts import MANIFEST, SCHEME
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.in_use import alone_with_artifacts
from behavior_tasks.base.workfolder import sweep
from behavior_tasks.pipeline.runs import SCORING, Run, last_runs
from behavior_tasks.registry import outbox, store, title
from behavior_tasks.registry.retention import DAY_SECONDS, Policy, Retention, Unneeded, champions_artifacts
from behavior_tasks.serve.served import old_dates, served_artifacts, withdraw
from behavior_tasks.watch.folders import day_folder, let_go, old_days

NAMED = re.compile(rb"artifact://([A-Za-z0-9_-]+/[0-9a-f]+)")


def plan_collection(home: Home, config: Config, *, now: float) -> list[Unneeded]:
    """Return what may be deleted under `registry.keep_…`, `serve.keep_days` and `watch.keep_days`; delete nothing.

    Args:
        home: the state folder.
        config: the policy, the experiment and the registered model.
        now: Unix seconds.

    Raises:
        ledger.LedgerError: when the ledger is damaged: nobody knows then what was champion.
    """
    return _collect(home, config, Policy.of(config, now), delete=False)


def collect(
    home: Home, config: Config, *, now: float, on_deleted: Callable[[Unneeded], None] = lambda _: None
) -> list[Unneeded]:
    """Delete what `plan_collection` returns, one thing after the other, and return it.

    Args:
        home: the state folder.
        config: the policy, the experiment and the registered model.
        now: Unix seconds.
        on_deleted: called with each thing that is gone.

    Raises:
        UserError: when a stage is at work.
        ledger.LedgerError: when the ledger is damaged.
    """
    with alone_with_artifacts(home):
        found = _collect(home, config, Policy.of(config, now), delete=True, on_deleted=on_deleted)
        for stage in _folders(home.artifacts):
            sweep(stage)
    return found


def _collect(
    home: Home,
    config: Config,
    policy: Policy,
    *,
    delete: bool,
    on_deleted: Callable[[Unneeded], None] = lambda _: None,
) -> list[Unneeded]:
    needed = _needed_by_runs(home, policy) | champions_artifacts(home) | outbox.artifacts(home)
    found: list[Unneeded] = []
    for item, go in [*_served(home, config, policy), *_watched(home, config, policy), *_caches(home, policy)]:
        found.append(item)
        if delete:
            go()
            on_deleted(item)
    needed |= served_artifacts(home)
    if store.exists(home):
        with title.hold(home, config) as desk:
            retention = Retention(desk, config, policy)
            needed |= retention.needed_artifacts()
            planned = retention.plan()
            found += planned
            for item in planned if delete else []:
                retention.delete(item)
                on_deleted(item)
    for item, folder in [*_artifacts(home, policy, needed), *_trainings(home, policy)]:
        found.append(item)
        if delete:
            _delete(folder)
            on_deleted(item)
    return found


def _served(home: Home, config: Config, policy: Policy) -> Iterable[tuple[Unneeded, Callable[[], None]]]:
    """Yield the dates that were handed out too long ago, each with how it goes."""
    why = f"handed out more than {config.serve.keep_days} days ago"
    for old in old_dates(home, before=policy.now - config.serve.keep_days * DAY_SECONDS):
        name = f"{old.application}/{old.as_of}"
        yield Unneeded(kind="served date", name=name, bytes=_size(old.folder), why=why), partial(withdraw, old)


def _watched(home: Home, config: Config, policy: Policy) -> Iterable[tuple[Unneeded, Callable[[], None]]]:
    """Yield the days that were watched too long ago; the journal of alerts is no day."""
    why = f"watched more than {config.watch.keep_days} days ago"
    for day in old_days(home, before=policy.now - config.watch.keep_days * DAY_SECONDS):
        size = _size(day_folder(home, day))
        yield Unneeded(kind="watched day", name=f"watch/{day}", bytes=size, why=why), partial(let_go, home, day)


def _caches(home: Home, policy: Policy) -> Iterable[tuple[Unneeded, Callable[[], None]]]:
    """Yield what nobody has read for long: files of the watch, by folder, and whole shelves of answers."""
    last = f"not used for {policy.keep_days:g} days"
    watch = home.cache / "watch"
    for folder in (watch, *_folders(watch)) if watch.is_dir() else ():
        old = [file for file in folder.iterdir() if file.is_file() and policy.is_old(file.stat().st_mtime)]
        if old:
            size, name = sum(file.stat().st_size for file in old), f"cache/{folder.relative_to(home.cache)}"
            why = f"{len(old):,} {'file' if len(old) == 1 else 'files'} {last}"
            yield Unneeded(kind="cache", name=name, bytes=size, why=why), partial(_unlink, old)
    for shelf in _folders(home.cache / "scores"):
        if policy.is_old(_changed(shelf)):  # a shelf is touched whenever its model answers
            name = f"cache/scores/{shelf.name}"
            yield Unneeded(kind="cache", name=name, bytes=_size(shelf), why=last), partial(_delete, shelf)


def _needed_by_runs(home: Home, policy: Policy) -> set[str]:
    """Return the artifacts of the last trainings and scorings, of all young runs, and what those name in turn."""
    last = {
        run.record.run_id
        for triggers in (None, SCORING)
        for run in last_runs(home, most=policy.keep_runs, triggers=triggers)
    }
    runs = [Run(home, file.parent.name) for file in home.runs.glob("*/run.json")]
    return artifacts_named_by(
        home, [run for run in runs if run.record.run_id in last or not policy.is_old(_changed(run.folder))]
    )


def artifacts_named_by(home: Home, runs: Iterable[Run]) -> set[str]:
    """Return the URIs of the artifacts that runs made or found, and of what those name in turn."""
    needed: set[str] = set()
    waiting = [record.uri for run in runs for record in run.stages()]
    while waiting:
        uri = waiting.pop()
        if uri not in needed:
            needed.add(uri)
            waiting += _named_in(home.artifacts / uri.removeprefix(SCHEME))
    return needed


def _named_in(artifact: Path) -> list[str]:
    """Return the artifacts that an artifact's own JSON files name, e.g. the parts of a log; not what it was made of."""
    files = [file for file in artifact.glob("*.json") if file.name != MANIFEST]
    return [SCHEME + name.decode() for file in files for name in NAMED.findall(file.read_bytes())]


def _artifacts(home: Home, policy: Policy, needed: set[str]) -> Iterable[tuple[Unneeded, Path]]:
    for stage in _folders(home.artifacts):
        for folder in _folders(stage):
            name = f"{stage.name}/{folder.name}"
            if SCHEME + name in needed or not policy.is_old(_changed(folder)):
                continue
            why = f"no run of the last {policy.keep_runs}, no kept version and no champion needs it"
            yield Unneeded(kind="artifact", name=name, bytes=_size(folder), why=why), folder


def _trainings(home: Home, policy: Policy) -> Iterable[tuple[Unneeded, Path]]:
    for folder in _folders(home.work / "train"):
        if policy.is_old(_changed(folder)):
            why = f"not resumed for {policy.keep_days:g} days"
            size = _size(folder)
            yield Unneeded(kind="unfinished training", name=f"train/{folder.name}", bytes=size, why=why), folder


def _changed(folder: Path) -> float:
    """Return when a folder, or a file in it, last changed, in Unix seconds."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _delete(folder: Path) -> None:
    """Delete a folder; renamed first, into what the next build sweeps away should this process be killed."""
    gone = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    folder.rename(gone)
    shutil.rmtree(gone)
