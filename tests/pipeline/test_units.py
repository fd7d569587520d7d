"""The whole run for both units: from the simulated shop to a verdict, and a champion of the other unit."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import Run
from tests.shop import run_until

PRODUCTS: dict[str, object] = {"examples.unit": "shopper_product", "examples.candidates": 12}


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path


def facts(run: Run, stage: str) -> dict[str, object]:
    artifact = run.artifact(stage)
    assert artifact is not None
    return artifact.facts


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "more"), [("shopper", {}), ("shopper_product", PRODUCTS)])
def test_a_run_reaches_its_verdict(unit: str, more: dict[str, object]) -> None:
    run = run_until("gate", unit, overrides=more)
    assert facts(run, "gate")["decision"] in ("promote", "keep")
    assert facts(run, "cutoffs")["unit"] == facts(run, "features")["unit"] == unit
    evaluated = run.artifact("evaluate")
    assert evaluated is not None
    predictions = pd.read_parquet(evaluated.path / "predictions.parquet")
    per_shopper = predictions.groupby("shopper").size()
    assert per_shopper.max() == (1 if unit == "shopper" else 12)
    assert predictions[["candidate", "prior", "logistic", "boosting"]].notna().all().all()
    # Probabilities are those of all candidates, though train knew a sample of the negatives.
    share = predictions["label"].mean()
    assert share / 2 < predictions["candidate"].mean() < share * 2
