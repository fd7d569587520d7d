"""Watching a day: a run's stages in; what stands kept by day, in MLflow, and a training asked for where one helps, out.

The one thing to know: a day that can't be watched ends with its reason, a FAILED run in MLflow, and yesterday's page
still there.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.execute import run_stages
from behavior_tasks.pipeline.runs import Run, StageRecord, open_run
from behavior_tasks.pipeline.stages import WATCHING
from behavior_tasks.watch.alerts import claim_training

if TYPE_CHECKING:
    from behavior_tasks.watch.kept import Kept

RECORD = "watched"


def watch_stages(
    run_uri: str,
    *,
    on_start: Callable[[str], None] = lambda _: None,
    on_end: Callable[[StageRecord], None] = lambda _: None,
) -> "Kept":
    """Run the stages of the watch in this process, in their order, and keep what they found.

    Args:
        run_uri: what `start_run` gave.
        on_start: called with a stage's name before it runs.
        on_end: called with its record afterwards.

    Raises:
        UserError: when a stage fails; what was kept before is still there.
    """
    try:
        run_stages(run_uri, stages=WATCHING, on_start=on_start, on_end=on_end)
    except UserError:
        _keep_failure(open_run(run_uri))
        raise
    return conclude_watch(run_uri)


def conclude_watch(run_uri: str) -> "Kept":
    """Keep what a day's watch found: journal, folder and MLflow run; doing it again changes nothing.

    Raises:
        UserError: when the watch did not come to its end, with the reason.
    """
    run = open_run(run_uri)
    artifact = run.artifact("watch")
    if artifact is None:
        _keep_failure(run)
        error = run.noted("error") or {"stage": "start", "message": "the log of the task that failed says why"}
        raise UserError(
            f"The day was not watched: the run stopped in the stage {error['stage']}.",
            found=error["message"],
            next_step="behavior watch, when that is mended; what was kept before is still there",
        )
    # Heavy libraries are loaded only now, so that the DAG's file may import this module.
    from behavior_tasks.pipeline.nights import missed_nights
    from behavior_tasks.pipeline.privacy.erase_models import overdue_findings
    from behavior_tasks.pipeline.privacy.retention import retention_findings
    from behavior_tasks.registry.watch_run import keep_watch_run
    from behavior_tasks.watch.kept import keep, metrics_of

    # A monitoring made up for an old day must not speak of nights after it.
    moment = min(datetime.now(UTC), datetime.combine(run.record.day + timedelta(days=1), time(), UTC))
    further = [
        *missed_nights(run.home, moment),
        *overdue_findings(run.home, run.record.day),
        *retention_findings(run.home, moment),
    ]
    kept = keep(run.home, artifact, further=further)
    run.note(RECORD, {"day": kept.day.isoformat()})
    champions = {f"champion.{unit}": str(version) for unit, version in artifact.facts["champions"].items() if version}
    keep_watch_run(
        run.home,
        run.record.config,
        day=kept.day,
        metrics=metrics_of(kept),
        tags={
            **champions,
            "alerts": ", ".join(sorted({alert.code for alert in kept.standing.alerts})) or "none",
            "watched": artifact.uri,
        },
        plots=sorted((kept.folder / "plots").glob("*.png")),
        files=[*sorted(kept.folder.glob("*.parquet")), kept.folder / "alerts.json", kept.folder / "report.html"],
    )
    return kept


def ask_for_training(run_uri: str) -> str | None:
    """Ask for a training because of what a watch found, once a calendar day.

    Returns:
        None when a training is to be started now, else why not.
    """
    run, kept = open_run(run_uri), kept_of(run_uri)
    if kept is None:
        return "the day was not watched"
    return claim_training(run.home, today=run.record.day, run_id=run.record.run_id, alerts=kept.standing.alerts)


def retention_of(run_uri: str) -> str:
    """Delete what is older than its age limit, and return what went and what can't go, in one line.

    Raises:
        UserError: when the ledger is damaged.
    """
    from behavior_tasks.pipeline.privacy.retention import nightly_retention

    return nightly_retention(run_uri)


def watched_problems(run_uri: str) -> list[str]:
    """Return what somebody has to look at, a paragraph each: the severe alerts that stand on the watched day."""
    kept = kept_of(run_uri)
    return [alert.paragraph for alert in kept.standing.alerts if alert.level == "severe"] if kept else []


def kept_of(run_uri: str) -> "Kept | None":
    """Return what a run has kept; None when it did not come so far."""
    from behavior_tasks.watch.kept import find_kept

    run = open_run(run_uri)
    noted = run.noted(RECORD)
    return find_kept(run.home, date.fromisoformat(noted["day"])) if noted else None


def _keep_failure(run: Run) -> None:
    """End the day's MLflow run as FAILED, where the day is known and was not watched before."""
    artifact, error = run.artifact("moment"), run.noted("error")
    day = date.fromisoformat(artifact.facts["as_of"]) if artifact is not None else run.record.as_of
    from behavior_tasks.registry.watch_run import keep_watch_run
    from behavior_tasks.watch.kept import find_kept

    if day is None or find_kept(run.home, day) is not None:
        return
    told: Mapping[str, Any] = error or {"stage": "start", "message": "a fault of the program, or a killed task"}
    first = str(told["message"]).partition("\n")[0]
    keep_watch_run(run.home, run.record.config, day=day, metrics={}, tags={}, failed=f"{told['stage']}: {first}")
