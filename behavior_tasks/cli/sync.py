"""`behavior sync`: ends runs that nobody works on any more, and delivers to MLflow what waits for it."""

import typer

from behavior_tasks.base.home import Home, current_home
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Synced, waiting
from behavior_tasks.pipeline import sync as sync_runs


def sync() -> None:
    """Deliver to MLflow what it did not take while it was away, and end runs that were killed.

    Every run does the same when it starts. Exit code 0: nothing waits any more; 1: something still waits.
    """
    done = sync_runs(current_home())
    console.print("\n".join(_lines(done)), markup=False, highlight=False, soft_wrap=True)
    if done.waiting:
        raise typer.Exit(1)


def waiting_line(home: Home) -> str | None:
    """Return one line on what waits for MLflow, or None when nothing does."""
    reasons = list(waiting(home).values())
    if not reasons:
        return None
    why = reasons[0].splitlines()[0].rstrip(".")
    what = "1 run waits" if len(reasons) == 1 else f"{len(reasons)} runs wait"
    return f"MLflow has not taken everything ({why}): {what}; `behavior sync` delivers."


def _lines(done: Synced) -> list[str]:
    lines = [f"Ended as FAILED, nobody worked on it any more: {run}" for run in done.closed]
    lines += [f"Delivered: {run}" for run in done.delivered]
    lines += [f"Champion since now: version {version}, of the run {run}" for run, version in done.promoted.items()]
    lines += [f"Not promoted, of the run {run}: {reason}" for run, reason in done.refused.items()]
    lines += [f"Waits: {run}: {reason}" for run, reason in done.waiting.items()]
    return lines or ["Nothing waits; no run is left open."]
