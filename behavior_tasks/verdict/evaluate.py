"""Evaluation: the finished models and the test examples in; predictions, metrics and plots out.

Candidate, baselines and champion are measured on the same test examples, each at the threshold it brought along. The
one thing to know: nothing here is chosen or fitted; what can't be measured is null, with the reason, and the gate keeps
the champion.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, hash_rows, write_parquet
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.network import read_config
from behavior_tasks.model.predict import Scorer
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.verdict.behaviour import test_model
from behavior_tasks.verdict.bootstrap import Resampling
from behavior_tasks.verdict.figures import TestSet, finite, measure_all
from behavior_tasks.verdict.metrics import BASELINES, Costs, Scored, explain_undefined, hash_examples, measure
from behavior_tasks.verdict.plots import draw_plots
from behavior_tasks.verdict.scoring import Candidate, Champion, read_baselines, score_candidate, score_champion
from behavior_tasks.verdict.traits import Traits, read_traits

HEADS = ("purchase", "amount", "next_token")


def evaluate_stage(job: Job) -> Output:
    """Measure candidate, baselines and champion on test; write `predictions.parquet`, `metrics.json`, `plots/`."""
    model = job.inputs["train"].path / "model"
    scorer = Scorer.load(model, device=job.config.train.device, threads=job.config.train.threads)
    candidate = score_candidate(job, scorer)
    test = candidate.table[candidate.table["split"] == "test"]
    scored = Scored(probabilities=test["candidate"].to_numpy(), threshold=scorer.decision.threshold)
    champion = score_champion(job, test, scored)
    settings = TextSettings.load(model / "text.json")
    traits = read_traits(job, test["example"].tolist(), settings)
    tested = _test_set(job, test, scored, champion, traits, scorer.decision)
    gate = job.config.gate
    figures = measure_all(tested, Resampling(resamples=gate.bootstrap, confidence=gate.confidence, seed=gate.seed))
    validation, undefined = _validation(candidate, scored.threshold)
    behaviour = None if candidate.problem else test_model(job, scorer, test["example"].tolist())
    if candidate.problem:
        undefined |= {"models.candidate": candidate.problem, "behaviour": candidate.problem}
    measured = {
        "test_hash": hash_examples(test["example"], tested.labels),
        "unit": job.inputs["features"].facts["unit"],
        "examples": len(test),
        "buyers": int(tested.labels.sum()),
        "candidate": job.inputs["train"].uri,
        "best_possible": _best_possible(job),
        "champion": {"version": champion.version, "problem": champion.problem, "same_model": champion.same_model},
        "validation": {"candidate": validation},
        "candidate_model": _describe(model, scorer.decision),
        "decision_policy": _describe_policy(scorer.decision),
        "language": settings.language,
        "behaviour": behaviour,
        **figures,
        "undefined": {**figures["undefined"], **undefined},
    }
    content_hash = _write_predictions(job.out / "predictions.parquet", test, tested)
    text = json.dumps(finite(measured), ensure_ascii=False, indent=2, allow_nan=False)
    (job.out / "metrics.json").write_text(text + "\n", encoding="utf-8")
    draw_plots(job.out / "plots", tested, measured)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=len(test), rows_out=len(test)),
        content_hash=content_hash,
        facts=_facts(measured),
    )


def _test_set(
    job: Job, test: pd.DataFrame, candidate: Scored, champion: Champion, traits: Traits, decision: Decision
) -> TestSet:
    """Put together what all models say of the test examples."""
    baselines, amounts = read_baselines(job, test)
    models = {"candidate": candidate, **baselines}
    expected = test["candidate_amount"].to_numpy(dtype=float)
    told = {} if np.isnan(expected).all() else {"candidate": expected}
    if champion.scored is not None:
        models["champion"] = champion.scored
        told |= {} if champion.expected is None else {"champion": champion.expected}
    cost, value = decision.cost_of_contact, decision.value_of_sale
    return TestSet(
        labels=test["label"].to_numpy(),
        shoppers=test["shopper"].to_numpy(),
        models=models,
        amounts=test["amount"].to_numpy(dtype=float),
        expected={**told, **amounts},
        traits=traits,
        costs=None if cost is None or value is None else Costs(contact=cost, sale=value),
    )


def _validation(candidate: Candidate, threshold: float) -> tuple[dict[str, float], dict[str, str]]:
    """Return the candidate's figures on validation, and why some are undefined."""
    table = candidate.table[candidate.table["split"] == "validation"]
    labels = table["label"].to_numpy()
    scored = Scored(probabilities=table["candidate"].to_numpy(), threshold=threshold)
    reasons = explain_undefined(labels, scored)
    return measure(labels, scored), {f"validation.candidate.{name}": why for name, why in reasons.items()}


def _describe(model: Path, decision: Decision) -> dict[str, Any]:
    """Return which heads the candidate has, and how its probabilities were calibrated."""
    on = read_config(model)["heads"]
    return {
        "heads": {head: head in on for head in HEADS},
        "calibration": decision.calibration,
        "calibration_reason": decision.reason,
    }


def _describe_policy(decision: Decision) -> dict[str, Any]:
    """Return how the candidate's threshold was chosen on validation."""
    return {
        "policy": decision.objective,
        "threshold": decision.threshold,
        "min_precision": decision.min_precision,
        "cost_of_contact": decision.cost_of_contact,
        "value_of_sale": decision.value_of_sale,
        "reason": decision.threshold_reason,
    }


def _write_predictions(path: Path, test: pd.DataFrame, tested: TestSet) -> str:
    """Write one row per test example: every model's probability, amounts, and the slices that it belongs to.

    Returns:
        The hash of the rows.
    """
    models = tested.models
    columns = {name: models[name].probabilities for name in ("candidate", *BASELINES)}
    champion = models["champion"].probabilities if "champion" in models else np.full(len(test), np.nan)
    frame = test[["example", "shopper", "cutoff", "label"]].assign(
        **columns,
        champion=champion,
        candidate_amount=test["candidate_amount"],
        amount=test["amount"],
        **{f"{name}_amount": tested.expected[name] for name in BASELINES if name in tested.expected},
        **{f"slice_{trait.name}": trait.values for trait in tested.traits.told},
    )
    with connect() as connection:
        # Arrow turns NaN into NULL: no probability, rather than one that is not a number.
        connection.register("predictions", pa.Table.from_pandas(frame, preserve_index=False))
        write_parquet(connection, "SELECT * FROM predictions ORDER BY example", path)
        return hash_rows(connection, path)


def _best_possible(job: Job) -> dict[str, Any] | None:
    """Return what a perfect reader of a simulated log reaches on test; None for a real log.

    The simulator knows its shoppers' probabilities of buying anything, not of buying one product.
    """
    simulated = job.inputs.get("simulate")
    if simulated is None or job.inputs["features"].facts["unit"] != "shopper":
        return None
    best: dict[str, Any] = json.loads((simulated.path / "oracle.json").read_bytes())["test"]
    return best


def _facts(measured: Mapping[str, Any]) -> dict[str, Any]:
    models = measured["models"]
    return {
        "test_hash": measured["test_hash"],
        "f1": {name: metrics["f1"] for name, metrics in models.items()},
        "average_precision": {name: metrics["average_precision"] for name, metrics in models.items()},
        "champion": measured["champion"],
    }
