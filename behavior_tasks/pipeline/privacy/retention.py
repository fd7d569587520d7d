"""Retention: age limits for each kind of what is kept in; what is too old gone, and a line of what went, out.

The limits (`privacy.keep`) stand above `behavior gc`, which lets go only what nobody needs: what is too old goes though
somebody might want it again. The one thing to know: what can't go all the same (the model that serves, what the runs of
these days read) is told with what to do, and stands as an alert until it is gone.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from filelock import FileLock

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.in_use import BusyError, alone_with_artifacts
from behavior_tasks.base.journal import OWNER_ONLY, append_line, whole_lines
from behavior_tasks.base.privacy_config import KeptKind
from behavior_tasks.pipeline.privacy.kept import Aged, everything_kept
from behavior_tasks.pipeline.runs import open_run
from behavior_tasks.registry import store, title
from behavior_tasks.registry.retention import DAY_SECONDS, Policy, Retention
from behavior_tasks.watch.alerts import Finding

LOG = "retention.jsonl"
KINDS: tuple[KeptKind, ...] = get_args(KeptKind)
LATE = timedelta(days=3)
"""Without a retention for so long, somebody is told."""
TOLD_HELD = 3
"""Most things of a kind that are named with what holds them."""
NIGHTLY = "behavior_monitoring"


@dataclass(frozen=True, kw_only=True)
class KindReport:
    """How it stands with one kind."""

    kind: KeptKind
    limit_days: int
    oldest_days: int | None
    """Age of the oldest thing before anything went; None: there is none, or MLflow does not say."""
    over: int
    """Things older than the limit."""
    bytes: int
    """Of these."""
    deleted: int
    held: int
    """Of those that are too old, the ones that can't go."""
    why_held: tuple[str, ...]
    """The first of them, each with what holds it and what to do."""


def plan_retention(home: Home, config: Config, *, now: float) -> list[KindReport]:
    """Return how each kind stands with its limit; delete nothing.

    Args:
        home: the state folder.
        config: `privacy.keep`; the experiment and the registered model in MLflow.
        now: Unix seconds.

    Raises:
        ledger.LedgerError: when the ledger is damaged: nobody knows then which model serves.
    """
    return _go_through(home, config, now, delete=False)


def keep_limits(home: Home, config: Config, *, now: float, who: str) -> list[KindReport]:
    """Delete what is older than its limit, note it in `privacy/retention.jsonl`, and return how each kind stood.

    Killed at any step, it leaves each thing there or gone; the next one goes on.

    Args:
        home: the state folder.
        config: as above.
        now: Unix seconds.
        who: for the note.

    Raises:
        UserError: when a stage is at work.
        ledger.LedgerError: as above.
    """
    with alone_with_artifacts(home):
        found = _go_through(home, config, now, delete=True)
        _note(home, found, datetime.fromtimestamp(now, UTC), who)
    return found


def nightly_retention(run_uri: str) -> str:
    """Keep the limits of a run's settings, and return what went and what can't go in one line, for people.

    While another run is at work nothing goes; the next night does it, and after LATE of such nights there is an alert.

    Raises:
        ledger.LedgerError: as `keep_limits`.
    """
    run = open_run(run_uri)
    now = datetime.now(UTC).timestamp()
    try:
        return in_one_line(keep_limits(run.home, run.record.config, now=now, who=NIGHTLY))
    except BusyError as busy:
        return f"{busy.problem} The next night tries again."


def in_one_line(found: Sequence[KindReport]) -> str:
    """Return a retention in words, without a path or a name."""
    gone = [f"{one.deleted:,} of {one.kind}" for one in found if one.deleted]
    held = [f"{one.held:,} of {one.kind}" for one in found if one.held]
    told = f"too old and deleted: {', '.join(gone)}" if gone else "nothing was too old" if not held else "nothing went"
    if not held:
        return told
    return f"{told}; too old but held: {', '.join(held)} (behavior privacy retention --dry-run says why)"


def retention_findings(home: Home, moment: datetime) -> Iterator[Finding]:
    """Yield what the last retention could not let go, by kind, and whether the last one is too long ago.

    Args:
        home: the state folder.
        moment: as of when, with its zone.
    """
    last = last_retention(home)
    if last is not None and moment - datetime.fromisoformat(last["when"]) > LATE:
        yield Finding(
            code="retention_late",
            about="retention",
            level="warning",
            words=f"Nothing has gone with its age since {last['when'][:10]}: some run was at work every night.",
            next_step="behavior privacy retention, at an hour at which no run is at work",
        )
    for kind, told in (last["kinds"] if last else {}).items():
        if told["held"]:
            yield Finding(
                code="too_old",
                about=kind,
                level="warning",
                words=f"Of {kind}, {told['held']:,} are older than {told['limit_days']} days (privacy.keep) and can't "
                "go.",
                next_step="behavior privacy retention --dry-run names them, with what holds them and what to do",
            )


def last_retention(home: Home) -> dict[str, Any] | None:
    """Return the last line of `privacy/retention.jsonl`; None when nothing was let go yet."""
    path = home.privacy / LOG
    lines = whole_lines(path.read_bytes()).splitlines() if path.is_file() else []
    found: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return found


def _go_through(home: Home, config: Config, now: float, *, delete: bool) -> list[KindReport]:
    kept: dict[str, list[Aged]] = {kind: [] for kind in KINDS}
    for one in everything_kept(home, now=now):
        kept[one.kind].append(one)
    reports = [_kind(kind, kept[kind], config, now, delete=delete) for kind in KINDS if kind != "mlflow"]
    reports.insert(KINDS.index("mlflow"), _mlflow(home, config, now, delete=delete))
    return reports


def _kind(kind: KeptKind, kept: Sequence[Aged], config: Config, now: float, *, delete: bool) -> KindReport:
    limit = config.privacy.keep_days(kind)
    over = [one for one in kept if now - one.since > limit * DAY_SECONDS]
    held = [one for one in over if one.held is not None]
    going = [one for one in over if one.held is None]
    for one in going if delete else ():
        one.go()
    oldest = min((one.since for one in kept), default=None)
    return KindReport(
        kind=kind,
        limit_days=limit,
        oldest_days=None if oldest is None else int((now - oldest) // DAY_SECONDS),
        over=len(over),
        bytes=sum(one.bytes for one in over),
        deleted=len(going) if delete else 0,
        held=len(held),
        why_held=tuple(f"{one.name}: {one.held}" for one in held[:TOLD_HELD]),
    )


def _mlflow(home: Home, config: Config, now: float, *, delete: bool) -> KindReport:
    """Let go versions that never were champion and files of runs; an unreachable or damaged store is told."""
    limit = config.privacy.keep_days("mlflow")
    told: dict[str, Any] = {"kind": "mlflow", "limit_days": limit, "oldest_days": None}
    nothing: dict[str, Any] = {"over": 0, "bytes": 0, "deleted": 0, "held": 0, "why_held": ()}
    if not store.exists(home):
        return KindReport(**told, **nothing)
    try:
        with title.hold(home, config) as desk:
            retention = Retention(desk, config, Policy(keep_versions=0, keep_days=limit, keep_runs=0, now=now))
            over = retention.plan()
            for item in over if delete else []:
                retention.delete(item)
    except UserError as error:
        why = f"MLflow: {error.problem} {error.next_step or ''}".strip()
        return KindReport(**told, **{**nothing, "held": 1, "why_held": (why,)})
    size = sum(item.bytes for item in over)
    return KindReport(**told, over=len(over), bytes=size, deleted=len(over) if delete else 0, held=0, why_held=())


def _note(home: Home, found: Sequence[KindReport], when: datetime, who: str) -> None:
    kept = ("limit_days", "oldest_days", "over", "bytes", "deleted", "held")
    kinds = {one.kind: {name: value for name, value in asdict(one).items() if name in kept} for one in found}
    line = {"when": when.isoformat(timespec="seconds"), "who": who, "kinds": kinds}
    path = make_folder(home.privacy) / LOG
    content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    with FileLock(path.with_name(f".{LOG}.lock")):
        append_line(path, lambda _: content, mode=OWNER_ONLY)
