"""A tiny shop for tests that need a whole run: small enough to train in seconds, real in every part."""

from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path

import pandas as pd

from behavior_tasks.base.config import DEFAULT_PRESET
from behavior_tasks.pipeline import Run, open_run, run_stages, start_run

TINY: dict[str, object] = {
    "simulate.shoppers": 300,
    "simulate.days": 60,
    "simulate.products": 60,
    "simulate.rollouts": 20,
    "examples.train_cutoffs": 2,
    "model.size": "tiny",
    "model.vocabulary": 400,
    "model.max_tokens": 96,
    "train.epochs": 1,
    "train.batch_size": 16,
    "gate.bootstrap": 200,
    "gate.audit_events": 0,
    "engine.buckets": 2,
    "engine.workers": 1,
}


def run_until(
    last: str,
    run_id: str,
    *,
    log: Path | None = None,
    preset: str = DEFAULT_PRESET,
    overrides: Mapping[str, object] | None = None,
    without: Collection[str] = (),
) -> Run:
    """Start a run on a log (or the simulated shop) and go through the stages up to and including `last`."""
    uri = start_run(
        run_id,
        day=date(2026, 11, 23),
        trigger="command line",
        input_path=str(log) if log else None,
        preset=preset,
        overrides={**TINY, **(overrides or {})},
    )
    run_stages(uri, until=last, without=without)
    return open_run(uri)


def check_verdict(run: Run, unit: str, *, most: int) -> None:
    """Check a run up to its gate: a decision, and every model's answer about every test example of its unit.

    Args:
        run: whose gate is done.
        unit: what an example is.
        most: examples of a shopper in test.
    """
    gate, evaluated = run.need("gate"), run.need("evaluate")
    assert gate.facts["decision"] in ("promote", "keep")
    assert run.need("cutoffs").facts["unit"] == run.need("features").facts["unit"] == unit
    predictions = pd.read_parquet(evaluated.path / "predictions.parquet")
    assert predictions.groupby("shopper").size().max() == most
    assert predictions[["candidate", "prior", "logistic", "boosting"]].notna().all().all()
    # Probabilities are those of all candidates, though train knew a sample of the negatives.
    share = predictions["label"].mean()
    assert share / 2 < predictions["candidate"].mean() < share * 2


def content_hashes(run: Run) -> dict[str, str | None]:
    """Return each finished stage's hash of ordered rows."""
    artifacts = {record.stage: run.artifact(record.stage) for record in run.stages()}
    return {name: a.manifest.content_hash for name, a in artifacts.items() if a is not None}
