"""Sync: runs that nobody works on any more are ended, and what waits in the outbox goes to MLflow.

In comes the state folder; out comes what was closed, delivered and refused, and what still waits with the reason. The
one thing to know: every run does this when it starts, so that nobody has to; doing it twice changes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.runs import Run


@dataclass(kw_only=True)
class Synced:
    """What a sync has done, by run id."""

    closed: list[str] = field(default_factory=list)
    """Runs ended as FAILED because nobody works on them."""
    delivered: list[str] = field(default_factory=list)
    """Runs of which nothing waits any more."""
    promoted: dict[str, str] = field(default_factory=dict)
    """Run → the version that became champion."""
    refused: dict[str, str] = field(default_factory=dict)
    """Run → why its model did not become champion after all."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Run → why something of it waits."""


def sync(home: Home, *, only_run_of: str | None = None) -> Synced:
    """Close dead runs and deliver what waits. Without anything to do, MLflow is not even imported.

    Args:
        home: the state folder.
        only_run_of: a DAG that leads one run at a time, of which the caller is the one.
    """
    from behavior_tasks.registry.outbox import entries

    done = Synced()
    if next(entries(home), None) is None:
        return done
    from behavior_tasks.registry.delivery import deliver_all
    from behavior_tasks.registry.tracking import close_dead

    done.closed = close_dead(home, only_run_of=only_run_of)
    for delivery in deliver_all(home):
        if not delivery.waiting:
            done.delivered.append(delivery.run_id)
        _note(home, delivery.run_id, delivery.results, done)
    done.waiting = waiting(home)
    return done


def close_dead_runs(home: Home) -> list[str]:
    """End the runs as FAILED that nobody works on any more; return their ids."""
    from behavior_tasks.registry.outbox import entries

    if not any(entry.open for entry in entries(home)):
        return []
    from behavior_tasks.registry.tracking import close_dead

    return close_dead(home)


def waiting(home: Home) -> dict[str, str]:
    """Return the runs of which something waits in the outbox, each with the reason."""
    from behavior_tasks.registry.outbox import entries

    return {
        entry.run_id: entry.problem or "it was interrupted before MLflow took all of it"
        for entry in entries(home)
        if entry.waiting
    }


def _note(home: Home, run_id: str, results: dict[str, dict[str, Any]], done: Synced) -> None:
    """Keep in the run's folder, and in what is told, what became of its model."""
    run = Run(home, run_id) if (home.runs / run_id / "run.json").is_file() else None
    known = (run.noted("registered") if run is not None else None) or {}
    model = results.get("model", known)
    if run is not None and model:
        run.note("registered", {**model, "waiting": []})
    promotion = results.get("promotion")
    if promotion is None:
        return
    if promotion["promoted"]:
        done.promoted[run_id] = str(model.get("version", ""))
    else:
        done.refused[run_id] = str(promotion["refused"])
    if run is not None:
        told = {"promoted": promotion["promoted"], "waits": False, "reason": promotion["refused"]}
        run.note("promotion", told)
