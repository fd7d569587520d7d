"""The answers that are measured: models and examples in; probabilities, thresholds and expected amounts out.

The candidate is scored on its tokens, the baselines were scored when they were fitted. The champion reads the shoppers'
histories with its own text settings and its own tokenizer, as it would when it scores; where it can't, the reason is
written down and the gate keeps it.
"""

import json
import logging
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.model.predict import NotFiniteError, Scorer, open_scorer
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.verdict.champion import champion_inputs
from behavior_tasks.verdict.metrics import BASELINES, Scored

log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What the model that this run trained says of validation and test."""

    table: pd.DataFrame
    """example, shopper, split, cutoff, label, amount, candidate (probability), candidate_amount (expected; NaN when the
    head is off); in order of the example's id, so that the number of buckets plays no part."""
    problem: str | None = None
    """Why its answers are NaN throughout."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion on the test examples."""

    version: str | None = None
    problem: str | None = None
    """Why it could not be measured."""
    same_model: bool = False
    """Whether it is the very model that this run trained."""
    scored: Scored | None = None
    expected: np.ndarray | None = None
    """Expected amounts, (n,); None when it tells none."""


def score_candidate(job: Job, scorer: Scorer) -> Candidate:
    """Score validation and test with the model that this run trained."""
    tokens = TokenSet.load(job.inputs["encode"].path)
    rows = np.concatenate([tokens.rows("validation"), tokens.rows("test")])
    problem = None
    probability, expected = np.full(len(rows), math.nan), None
    try:
        answers = scorer.predict(tokens.sequences, rows)
        probability, expected = answers.probability, answers.expected_amount
    except NotFiniteError as error:
        problem = one_line(error)
        log.warning("The trained model can't be measured: %s.", problem)
    table = tokens.index.iloc[rows].assign(
        candidate=probability, candidate_amount=math.nan if expected is None else expected
    )
    return Candidate(table=table.sort_values("example", kind="stable", ignore_index=True), problem=problem)


def score_champion(job: Job, test: pd.DataFrame, candidate: Scored) -> Champion:
    """Measure the champion on the test examples, or say why that is not possible.

    Args:
        job: the evaluation's inputs.
        test: the test examples in order, with `candidate_amount`.
        candidate: the candidate's answers; they are the champion's too when it is the same model.
    """
    artifact = job.inputs["champion"]
    version, problem = artifact.facts["version"], artifact.facts["problem"]
    if version is None or problem:
        return Champion(version=version, problem=problem)
    if artifact.facts["model"] == job.inputs["train"].uri:
        expected = test["candidate_amount"].to_numpy(dtype=float)
        told = None if np.isnan(expected).all() else expected
        return Champion(version=version, same_model=True, scored=candidate, expected=told)
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
        return Champion(version=version, problem=one_line(error))
    except (FileNotFoundError, KeyError, TypeError, ValueError, SafetensorError) as error:
        # A damaged or foreign bundle: a missing file, JSON or weights that don't parse or don't fit.
        log.warning("The champion, version %s, can't be measured; it is kept.", version, exc_info=True)
        return Champion(version=version, problem=f"its files can't be used ({type(error).__name__})")
    return Champion(version=version, scored=scored, expected=answers.expected_amount)


def read_baselines(job: Job, test: pd.DataFrame) -> tuple[dict[str, Scored], dict[str, np.ndarray]]:
    """Return the baselines' answers on the test examples, and the expected amounts of those that tell them.

    A probability is NaN where a baseline has none, which the gate refuses.
    """
    artifact = job.inputs["baselines"]
    table = pd.read_parquet(artifact.path / "predictions.parquet").set_index("example")
    table = table.reindex(test["example"])
    thresholds = artifact.facts["thresholds"]
    scored = {
        name: Scored(probabilities=table[name].to_numpy(dtype=float), threshold=float(thresholds[name]))
        for name in BASELINES
    }
    amounts = {name: f"{name}_amount" for name in BASELINES if f"{name}_amount" in table.columns}
    return scored, {name: table[column].to_numpy(dtype=float) for name, column in amounts.items()}


def one_line(error: UserError) -> str:
    """Return an error's problem, with what was found, as a clause without a full stop."""
    problem = error.problem[:1].lower() + error.problem[1:].rstrip(".")
    return problem + (f" ({error.found})" if error.found and "\n" not in error.found else "")
