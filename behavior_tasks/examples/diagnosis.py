"""The diagnosis: everything the doctor finds about a log, as the stage `doctor` and `behavior doctor` show it.

In come the clean events, the rows set aside while the log was read and the counts of the examples; out come findings,
in the stage also as `doctor.json`. The one thing to know: the stage stops a run before any training only over a
finding that fails; warnings are kept beside the run for whoever reads its verdict.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.cutoffs import count_log, plan_windows, read_counts
from behavior_tasks.examples.doctor import Finding, LogCounts, amounts_needed
from behavior_tasks.examples.doctor_clock import clock_findings
from behavior_tasks.examples.doctor_signs import (
    Horizon,
    is_weak,
    log_findings,
    other_horizon_advice,
    power_findings,
)
from behavior_tasks.examples.survey import survey_log

REPORT = "doctor.json"
LONGER = (2, 4)
"""By how much the horizon is made longer to see what that would give."""


def doctor_stage(job: Job) -> Output:
    """Write `doctor.json`: the findings.

    Raises:
        UserError: with the findings, when one of them fails.
    """
    clean, cutoffs = job.inputs["clean"], job.inputs["cutoffs"]
    read = job.inputs["ingest"].manifest.rows
    findings = diagnose(clean, job.config, read=read, counts=read_counts(cutoffs))
    refuse_if_hopeless(findings)
    text = json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
    (job.out / REPORT).write_text(text + "\n", encoding="utf-8")
    levels = [finding.level for finding in findings]
    return Output(
        rows=Rows(
            unit_in="examples", unit_out="findings", rows_in=cutoffs.manifest.rows.rows_out, rows_out=len(levels)
        ),
        facts={"warnings": levels.count("warn"), "warned": [f.what for f in findings if f.level == "warn"]},
    )


def diagnose(clean: Artifact, config: Config, *, read: Rows, counts: LogCounts | None = None) -> list[Finding]:
    """Look at a log from all sides.

    Args:
        clean: the artifact of the clean events.
        read: the rows of the stage `ingest`.
        counts: what `cutoffs` counted; counted here when None.

    Returns:
        Findings on amounts, power, bad rows, amounts of money, ids, drift, then clocks.
    """
    events, timeline = open_events(clean), plan_windows(clean.facts, config)
    counts = counts or count_log(events, clean.facts, config)
    survey = survey_log(
        events,
        timeline,
        horizon_days=config.examples.horizon_days,
        timezone=config.source.timezone,
        engine=config.engine,
        rows=clean.manifest.rows.rows_out,
    )
    horizons = _count_horizons(clean, config) if is_weak(counts, config) else []
    return [
        *_with_horizons(amounts_needed(counts, config), horizons, config),
        *power_findings(counts, config, horizons),
        *log_findings(counts, survey, config, read),
        *clock_findings(survey, read.removed, timeline, config),
    ]


def refuse_if_hopeless(findings: Sequence[Finding]) -> None:
    """Refuse a log over findings that fail.

    Raises:
        UserError: naming each with its number, what is needed and what to do.
    """
    failed = [finding for finding in findings if finding.level == "fail"]
    if failed:
        raise UserError(
            f"This log can't be learned from: {', '.join(finding.what for finding in failed)}.",
            found="\n".join(f"{finding.what}: {finding.number}" for finding in failed),
            expected="\n".join(f"{finding.what}: {finding.needed}" for finding in failed),
            next_step="\n".join(finding.advice for finding in failed if finding.advice),
        )


def _count_horizons(clean: Artifact, config: Config) -> list[Horizon]:
    """Count the test split under longer horizons, as far as the log is long enough for them."""
    found = []
    for factor in LONGER:
        days = factor * config.examples.horizon_days
        longer = config.model_copy(update={"examples": config.examples.model_copy(update={"horizon_days": days})})
        if plan_windows(clean.facts, longer) is not None:
            test = count_log(open_events(clean), clean.facts, longer).splits["test"]
            found.append(Horizon(days=days, test=test))
    return found


def _with_horizons(findings: Sequence[Finding], horizons: Sequence[Horizon], config: Config) -> list[Finding]:
    """Add to a lack of test buyers what a longer horizon would really give."""
    found = other_horizon_advice(horizons, config)
    return [
        replace(f, advice=f"{f.advice}; {found}") if found and f.what == "test: buyers" and f.level == "fail" else f
        for f in findings
    ]
