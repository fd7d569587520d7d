"""Runs that nobody ran: their records and small artifacts, for what only reads them."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.runs import Run, RunRecord, StageRecord, keep_run

ONE = Rows(unit_in="things", unit_out="things", rows_in=1, rows_out=1)
LABELS = [1, 0] * 30


def make_artifact(home: Home, stage: str, name: str, files: Mapping[str, str] | None = None) -> Artifact:
    """Make an artifact with small files; the same stage and name give the same one."""

    def write(out: Path) -> None:
        for file, content in (files or {"data.txt": name * 100}).items():
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_text(content)

    return build(home, stage, name, write)


def build(
    home: Home, stage: str, name: str, write: Callable[[Path], object], content_hash: str | None = None
) -> Artifact:
    """Make an artifact of what `write` puts into its folder."""

    def work(out: Path, key: str) -> Output:
        write(out)
        return Output(rows=ONE, content_hash=content_hash)

    made = ArtifactStore(home.artifacts).build(stage=stage, code="c", settings={"name": name}, inputs={}, work=work)
    return made.artifact


def make_run(home: Home, run_id: str, artifacts: Mapping[str, Artifact], *, nth: int = 1, **settings: Any) -> Run:
    """Keep the record of a run that made these artifacts; of two runs, the one with the higher `nth` is newer."""
    config = Config.model_validate({"gate": {"bootstrap": 100}, **settings})
    record = RunRecord(
        run_id=run_id,
        name=f"run {run_id}",
        day=date(2026, 11, 23),
        trigger="nightly",
        input="log.csv",
        preset="canonical",
        config=config,
    )
    run = keep_run(home, record)
    for stage, artifact in artifacts.items():
        run.keep(StageRecord(stage=stage, uri=artifact.uri, seconds=1.0, reused=False))
    os.utime(run.folder / "run.json", (nth, nth))
    return run


def measured(home: Home, name: str, probabilities: list[float], *, test_hash: str = "a" * 64) -> Artifact:
    """Make an evaluation: figures that are only told, and predictions that stand for them."""
    f1 = sum(probabilities) / len(probabilities)
    model = {"threshold": 0.5, "f1": f1, "average_precision": 0.5, "roc_auc": None}
    metrics = {
        "test_hash": test_hash,
        "unit": "shopper",
        "examples": len(LABELS),
        "buyers": sum(LABELS),
        "models": {"candidate": model, "boosting": {**model, "f1": 0.25}},
        "best_possible": None,
        "amount": None,
    }
    table = pd.DataFrame(
        {
            "example": [f"e{n}" for n in range(len(LABELS))],
            "shopper": [f"s{n}" for n in range(len(LABELS))],
            "label": LABELS,
            "candidate": probabilities,
            "boosting": [0.25] * len(LABELS),
        }
    )

    def write(out: Path) -> None:
        (out / "metrics.json").write_text(json.dumps(metrics))
        table.to_parquet(out / "predictions.parquet")

    return build(home, "evaluate", name, write)
