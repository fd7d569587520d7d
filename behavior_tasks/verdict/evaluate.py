"""Evaluation: the finished models and the test examples in; predictions, metrics and plots out.

Candidate, baselines and champion are measured on the same test examples, each at the threshold it brought
along. The champion reads the shoppers' histories with its own text settings and its own tokenizer, as it would
when it scores; where it can't, the reason is written down and the gate keeps it.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors import SafetensorError

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, hash_rows, write_parquet
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.network import read_config
from behavior_tasks.model.predict import Scorer, open_scorer, predict
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.verdict.champion import champion_inputs
from behavior_tasks.verdict.metrics import BASELINES, Scored, hash_examples, measure, measure_amounts
from behavior_tasks.verdict.plots import plot_precision_recall, plot_reliability

HEADS = ("purchase", "amount", "next_token")
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion on the test examples."""

    version: str | None = None
    problem: str | None = None
    """Why it could not be measured."""
    same_model: bool = False
    """Whether it is the very model that this run trained."""
    scored: Scored | None = None


def evaluate_stage(job: Job) -> Output:
    """Measure candidate, baselines and champion on test; write `predictions.parquet`, `metrics.json`, `plots/`."""
    model = job.inputs["train"].path / "model"
    table = score_candidate(job)
    test = table[table["split"] == "test"]
    labels = test["label"].to_numpy()
    scored = _baselines(job, test)
    candidate = Scored(probabilities=test["candidate"].to_numpy(), threshold=Decision.load(model).threshold)
    champion = score_champion(job, test, candidate)
    scored = {"candidate": candidate, **scored}
    if champion.scored is not None:
        scored["champion"] = champion.scored
    validation = table[table["split"] == "validation"]
    on_validation = Scored(probabilities=validation["candidate"].to_numpy(), threshold=candidate.threshold)
    measured = {
        "test_hash": hash_examples(test["example"], labels),
        "unit": job.inputs["features"].facts["unit"],
        "examples": len(test),
        "buyers": int(labels.sum()),
        "candidate": job.inputs["train"].uri,
        "models": {name: _json(measure(labels, answers)) for name, answers in scored.items()},
        "best_possible": _best_possible(job),
        "champion": {"version": champion.version, "problem": champion.problem, "same_model": champion.same_model},
        "validation": {"candidate": _json(measure(validation["label"].to_numpy(), on_validation))},
        "candidate_model": _describe(model),
        "amount": _measure_amounts(test),
    }
    content_hash = _write_predictions(job.out / "predictions.parquet", test, scored)
    text = json.dumps(measured, ensure_ascii=False, indent=2, allow_nan=False)
    (job.out / "metrics.json").write_text(text + "\n", encoding="utf-8")
    (job.out / "plots").mkdir()
    plot_precision_recall(job.out / "plots" / "precision_recall.png", labels, scored)
    plot_reliability(job.out / "plots" / "reliability.png", labels, scored)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=len(test), rows_out=len(test)),
        content_hash=content_hash,
        facts=_facts(measured),
    )


def score_candidate(job: Job) -> pd.DataFrame:
    """Score validation and test with the model that this run trained.

    Returns:
        example, shopper, split, cutoff, label, amount, candidate (probability), candidate_amount (expected; NaN when
        the head is off); in order of the example's id, so that the number of buckets plays no part.
    """
    tokens = TokenSet.load(job.inputs["encode"].path)
    rows = np.concatenate([tokens.rows("validation"), tokens.rows("test")])
    answers = predict(
        job.inputs["train"].path / "model",
        tokens.sequences,
        rows,
        device=job.config.train.device,
        threads=job.config.train.threads,
    )
    expected = answers.expected_amount
    table = tokens.index.iloc[rows].assign(
        candidate=answers.probability, candidate_amount=math.nan if expected is None else expected
    )
    return table.sort_values("example", kind="stable", ignore_index=True)


def score_champion(job: Job, test: pd.DataFrame, candidate: Scored) -> Champion:
    """Measure the champion on the test examples, or say why that is not possible.

    Args:
        job: the evaluation's inputs.
        test: the test examples in order.
        candidate: the candidate's answers; they are the champion's too when it is the same model.
    """
    artifact = job.inputs["champion"]
    version, problem = artifact.facts["version"], artifact.facts["problem"]
    if version is None or problem:
        return Champion(version=version, problem=problem)
    if artifact.facts["model"] == job.inputs["train"].uri:
        return Champion(version=version, same_model=True, scored=candidate)
    model = artifact.path / "model"
    try:
        scorer = open_scorer(model, device=job.config.train.device, threads=job.config.train.threads)
        if isinstance(scorer, Scorer):
            # The tokenizers library raises nothing more precise than Exception for a file that is gone or damaged.
            json.loads((model / "tokenizer" / "tokenizer.json").read_bytes())
        inputs = champion_inputs(job, model).loc[test["example"]]
        answers = scorer.score_parts([list(parts) for parts in inputs["parts"]], inputs.drop(columns="parts"))
        scored = Scored(probabilities=answers.probability, threshold=scorer.decision.threshold)
    except UserError as error:
        return Champion(version=version, problem=_one_line(error))
    except (FileNotFoundError, KeyError, TypeError, ValueError, SafetensorError) as error:
        # A damaged or foreign bundle: a missing file, JSON or weights that don't parse or don't fit.
        log.warning("The champion, version %s, can't be measured; it is kept.", version, exc_info=True)
        return Champion(version=version, problem=f"its files can't be used ({type(error).__name__})")
    return Champion(version=version, scored=scored)


def _describe(model: Path) -> dict[str, Any]:
    """Return which heads the candidate has, and how its probabilities were calibrated."""
    decision, on = Decision.load(model), read_config(model)["heads"]
    return {
        "heads": {head: head in on for head in HEADS},
        "calibration": decision.calibration,
        "calibration_reason": decision.reason,
    }


def _measure_amounts(test: pd.DataFrame) -> dict[str, float | None] | None:
    """Return how well the candidate's expected amounts fit; None without an amount head or without amounts."""
    expected, amounts = test["candidate_amount"].to_numpy(dtype=float), test["amount"].to_numpy(dtype=float)
    if np.isnan(expected).all() or np.isnan(amounts).all():
        return None
    return _json(measure_amounts(amounts, expected))


def _baselines(job: Job, test: pd.DataFrame) -> dict[str, Scored]:
    """Return the baselines' answers on the test examples; NaN where one has none, which the gate refuses."""
    artifact = job.inputs["baselines"]
    table = pd.read_parquet(artifact.path / "predictions.parquet").set_index("example")
    table = table.reindex(test["example"])
    thresholds = artifact.facts["thresholds"]
    return {
        name: Scored(probabilities=table[name].to_numpy(dtype=float), threshold=float(thresholds[name]))
        for name in BASELINES
    }


def _write_predictions(path: Path, test: pd.DataFrame, scored: Mapping[str, Scored]) -> str:
    """Write one row per test example with every model's probability and the candidate's expected amount.

    Returns:
        The hash of the rows.
    """
    columns = {name: scored[name].probabilities for name in ("candidate", *BASELINES)}
    champion = scored["champion"].probabilities if "champion" in scored else np.full(len(test), np.nan)
    frame = test[["example", "shopper", "cutoff", "label"]].assign(
        **columns, champion=champion, candidate_amount=test["candidate_amount"]
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


def _json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what is undefined becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _one_line(error: UserError) -> str:
    problem = error.problem[:1].lower() + error.problem[1:].rstrip(".")
    return problem + (f" ({error.found})" if error.found and "\n" not in error.found else "")
