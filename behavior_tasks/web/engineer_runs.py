"""Runs: the runs' folders in; the last gates with their reasons, how fresh each stage is, and what it took, out.

Seconds and peak memory are those of the artifact's manifest: of when it was made, not of when it was taken again. The
one thing to know: a stage of an old run whose artifact is gone stays in the table, without its cost.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import Run, last_runs
from behavior_tasks.pipeline.stages import EVERY, SERVING, STAGES, WATCHING
from behavior_tasks.web.remember import remembered

GATES, LOOKED_AT = 10, 40
"""Verdicts that are shown, and runs that are looked at for stages."""
GROUPS: Mapping[str, Iterable[str]] = {"training": STAGES, "scoring": SERVING, "monitoring": WATCHING}
STALE_HOURS = 36.0
"""A nightly stage that is older has missed a night."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How a training run ended."""

    run_id: str
    name: str
    decision: str
    """promote, passed (the gate, but it is not champion, or not yet), keep, failed or unfinished."""
    reason: str
    rules: Sequence[Mapping[str, Any]]
    """Of the model that was decided about: `name`, `passed`, `words`."""
    version: str | None
    reports: Sequence[str]
    """Which reports there are: data, model."""


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """The last time that a stage was asked for."""

    stage: str
    group: str
    when: datetime
    run_id: str
    reused: bool
    seconds: float | None
    """When it was made."""
    memory_mb: float | None
    """Peak, when it was made."""


def run_files(home: Home) -> list[Path]:
    """Return what changes when a run does, of the runs that are looked at."""
    folders = [run.folder for run in last_runs(home, most=LOOKED_AT, inspections=True)]
    return [home.runs, *(file for one in folders for file in (one, one / "stages"))]


def read_gates(home: Home) -> list[Gate]:
    """Return the last verdicts, newest first."""
    return remembered(
        ("gates", str(home.root)), run_files(home), lambda: [_gate(run) for run in last_runs(home, most=GATES)]
    )


def read_stages(home: Home) -> list[StageLine]:
    """Return every stage that was ever asked for, of the last runs, in the order in which data walks."""
    return remembered(("stages", str(home.root)), run_files(home), lambda: _stages(home))


def reports_of(run: Run) -> list[str]:
    """Return which reports of a run there are: `data`, `model`."""
    there = []
    for name, stage in (("data", "report"), ("model", "model_report")):
        try:
            artifact = run.artifact(stage)
        except UserError:
            artifact = None
        if artifact is not None and (artifact.path / "report.html").is_file():
            there.append(name)
    return there


def _gate(run: Run) -> Gate:
    error, registered = run.noted("error"), run.noted("registered") or {}
    verdict: Mapping[str, Any] | None = None
    try:
        artifact = run.artifact("gate")
        verdict = None if artifact is None else json.loads((artifact.path / "verdict.json").read_bytes())
    except (UserError, OSError):
        verdict = None
    told = verdict or {}
    rules = told.get("boosting_rules") if told.get("model") == "boosting" else told.get("rules")
    stages = run.stages()
    last = f"after {stages[-1].stage}" if stages else ""
    promotion = run.noted("promotion") or {}
    decision = str(told["decision"]) if verdict else "failed" if error else "unfinished"
    if decision == "promote" and not promotion.get("promoted"):
        decision = "passed"
    return Gate(
        run_id=run.record.run_id,
        name=run.record.name,
        decision=decision,
        reason=str(promotion.get("reason") or told.get("reason") or (error or {}).get("message") or last),
        rules=list(rules or ()),
        version=registered.get("version"),
        reports=reports_of(run),
    )


def _stages(home: Home) -> list[StageLine]:
    newest: dict[tuple[str, str], tuple[float, Run]] = {}
    for run in islice(last_runs(home, most=LOOKED_AT, inspections=True), LOOKED_AT):
        group = _group_of(run)
        for file in (run.folder / "stages").glob("*.json"):
            key, when = (group, file.stem), file.stat().st_mtime
            if file.stem in EVERY and (key not in newest or newest[key][0] < when):
                newest[key] = (when, run)
    order = {name: number for number, name in enumerate(EVERY)}
    rows = sorted(newest.items(), key=lambda row: (list(GROUPS).index(row[0][0]), order[row[0][1]]))
    return [_stage_line(group, stage, when, run) for (group, stage), (when, run) in rows]


def _group_of(run: Run) -> str:
    trigger = run.record.trigger
    return "scoring" if "scoring" in trigger else "monitoring" if "monitoring" in trigger else "training"


def _stage_line(group: str, stage: str, when: float, run: Run) -> StageLine:
    record = next(one for one in run.stages() if one.stage == stage)
    try:
        manifest = run.store.open(record.uri).manifest
    except UserError:
        manifest = None
    return StageLine(
        stage=stage,
        group=group,
        when=datetime.fromtimestamp(when, UTC),
        run_id=run.record.run_id,
        reused=record.reused,
        seconds=manifest.seconds if manifest else None,
        memory_mb=manifest.peak_memory_mb if manifest else None,
    )
