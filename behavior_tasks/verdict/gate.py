"""The gate: metrics and predictions in, promote or keep out, with every rule's figures and words.

`judge` is a pure function over one list of rules. It fails closed: what is missing, not a finite number, or
measured on other examples means *keep*, and the verdict says which. Differences are paired bootstraps by shopper.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import GateConfig
from behavior_tasks.base.stage import Job
from behavior_tasks.verdict.metrics import (
    BASELINES,
    METRICS,
    Difference,
    Resampling,
    Scored,
    average_precision_difference,
    f1_difference,
    hash_examples,
)

NAMES: dict[str, str] = {"logistic": "logistic regression", "boosting": "gradient boosting"}
COLUMNS = ("example", "shopper", "label", "candidate", *BASELINES, "champion")
AGREE_WITHIN = 1e-9
"""An F1 read from the metrics and one computed from the predictions are the same up to rounding."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is to judge by: the evaluation's files, or why they can't be read."""

    measured: Mapping[str, Any] | None
    """Content of `metrics.json`."""
    predictions: pd.DataFrame | None
    """Content of `predictions.parquet`."""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule's outcome. `words` is a clause without a full stop."""

    name: str
    passed: bool
    figures: Mapping[str, float | int | str | None]
    words: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Promote or keep, and why."""

    decision: Literal["promote", "keep"]
    reason: str
    rules: tuple[Rule, ...]
    test_hash: str | None
    champion_version: str | None
    candidate: str | None


def judge(evidence: Evidence, config: GateConfig) -> Verdict:
    """Return promote when every rule passes, else keep.

    Args:
        evidence: metrics and predictions of candidate, baselines and champion on the same test examples.
        config: floor, margin and how the bootstrap is drawn.
    """
    case = _Case(evidence, config)
    complete = _complete(case)
    judged = [rule(case) for rule in RULES] if complete.passed else []
    rules = (complete, *judged)
    failed = [rule for rule in rules if not rule.passed]
    measured = _mapping(evidence.measured)
    champion = _mapping(measured.get("champion"))
    return Verdict(
        decision="keep" if failed else "promote",
        reason=_reason(rules, failed),
        rules=rules,
        test_hash=_text(measured.get("test_hash")),
        champion_version=_text(champion.get("version")),
        candidate=_text(measured.get("candidate")),
    )


def gate_stage(job: Job) -> Output:
    """Judge the evaluation and write `verdict.json`."""
    evidence = read_evidence(job.inputs["evaluate"].path)
    verdict = judge(evidence, job.config.gate)
    content = json.dumps(asdict(verdict), ensure_ascii=False, indent=2, allow_nan=False)
    (job.out / "verdict.json").write_text(content + "\n", encoding="utf-8")
    examples = 0 if evidence.predictions is None else len(evidence.predictions)
    return Output(
        rows=Rows(unit_in="examples", unit_out="verdicts", rows_in=examples, rows_out=1),
        facts={"decision": verdict.decision, "reason": verdict.reason},
    )


def read_evidence(folder: Path) -> Evidence:
    """Read an evaluation's `metrics.json` and `predictions.parquet`; what can't be read is a reason to keep."""
    problems = []
    measured = predictions = None
    try:
        measured = json.loads((folder / "metrics.json").read_bytes())
    except (FileNotFoundError, ValueError):
        problems.append("metrics.json is missing or not JSON")
    try:
        predictions = pd.read_parquet(folder / "predictions.parquet")
    except (FileNotFoundError, pa.ArrowException):
        problems.append("predictions.parquet is missing or not Parquet")
    return Evidence(measured=measured, predictions=predictions, problem="; ".join(problems) or None)


class _Case:
    """The evidence, with what several rules need computed once."""

    def __init__(self, evidence: Evidence, config: GateConfig) -> None:
        self.evidence = evidence
        self.config = config
        self.resampling = Resampling(resamples=config.bootstrap, confidence=config.confidence, seed=config.seed)

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        return _mapping(self.evidence.measured)

    @cached_property
    def champion(self) -> Mapping[str, Any]:
        return _mapping(self.measured.get("champion"))

    @cached_property
    def table(self) -> pd.DataFrame:
        return self.evidence.predictions if self.evidence.predictions is not None else pd.DataFrame()

    @property
    def labels(self) -> np.ndarray:
        return self.table["label"].to_numpy(dtype=float)

    def metrics(self, model: str) -> Mapping[str, Any]:
        return _mapping(_mapping(self.measured.get("models")).get(model))

    def scored(self, model: str) -> Scored:
        return Scored(
            probabilities=self.table[model].to_numpy(dtype=float), threshold=float(self.metrics(model)["threshold"])
        )

    @property
    def champion_measured(self) -> bool:
        """Whether there is a champion with scores of its own."""
        known = self.champion.get("version") is not None
        return known and not self.champion.get("problem") and not self.champion.get("same_model")

    def f1_against(self, model: str) -> Difference:
        shoppers = self.table["shopper"].to_numpy()
        return f1_difference(self.labels, self.scored("candidate"), self.scored(model), shoppers, self.resampling)

    def interval(self, difference: Difference) -> str:
        level = f"{100 * self.config.confidence:g} % interval"
        return (
            f"difference {_figure(difference.difference)}, "
            f"{level} {_figure(difference.lower)} to {_figure(difference.upper)}"
        )


def _complete(case: _Case) -> Rule:
    """Everything the other rules read is there, finite, and about the same test examples."""
    problem = case.evidence.problem or _missing(case) or _inconsistent(case)
    count = len(case.table)
    words = problem or f"all metrics are there, on {count:,} test examples that match their hash"
    return Rule(name="complete", passed=problem is None, figures={"examples": count}, words=words)


def _missing(case: _Case) -> str | None:
    if not isinstance(case.champion.get("same_model"), bool) or "version" not in case.champion:
        return "metrics.json does not say whether there is a champion"
    if _text(case.measured.get("candidate")) is None:
        return "metrics.json does not name the candidate"
    columns = [name for name in COLUMNS if name not in case.table.columns]
    if columns:
        return f"predictions.parquet lacks {', '.join(columns)}"
    for model in _models(case):
        metrics = case.metrics(model)
        undefined = [name for name in ("threshold", *METRICS) if not _finite(metrics.get(name))]
        if undefined:
            return f"{model} has no {', '.join(undefined)}: missing or not a finite number"
        if not np.isfinite(case.table[model].to_numpy(dtype=float)).all():
            return f"{model} has no probability for some test examples"
    return None


def _inconsistent(case: _Case) -> str | None:
    table = case.table
    if not set(table["label"].unique()) <= {0, 1}:
        return "a test example's label is neither 0 nor 1"
    if not table["example"].is_unique:
        return "a test example is there twice"
    if len(table) != case.measured.get("examples"):
        return f"the metrics are about {case.measured.get('examples')} examples, the predictions about {len(table)}"
    if hash_examples(table["example"], table["label"]) != case.measured.get("test_hash"):
        return "the predictions are not about the test examples that the metrics name: their hashes differ"
    for model in _models(case):
        told, found = float(case.metrics(model)["f1"]), _f1(case.labels, case.scored(model))
        if not abs(told - found) <= AGREE_WITHIN:
            return f"the metrics say F1 {told:.3f} for {model}, the predictions give {found:.3f}"
    return None


def _f1_floor(case: _Case) -> Rule:
    """F1 on test, at the threshold chosen on validation, reaches the floor."""
    f1, floor = float(case.metrics("candidate")["f1"]), case.config.min_f1
    passed = f1 >= floor
    words = f"F1 {f1:.3f} {'reaches' if passed else 'is below'} the floor of {floor:.3f} (gate.min_f1)"
    return Rule(name="f1_floor", passed=passed, figures={"f1": f1, "min_f1": floor}, words=words)


def _better_than_prior(case: _Case) -> Rule:
    """Average precision is above the prior's, beyond chance.

    Average precision and not F1, because the prior gives every shopper the same probability: it has no ranking,
    its F1 is that of calling everybody a buyer, and only a ranking better than a random one shows that the
    model learned anything about a single shopper. The prior's average precision is the share of buyers.
    """
    shoppers = case.table["shopper"].to_numpy()
    candidate, prior = (case.scored(name).probabilities for name in ("candidate", "prior"))
    difference = average_precision_difference(case.labels, candidate, prior, shoppers, case.resampling)
    passed = difference.lower > 0
    ap, base = (float(case.metrics(name)["average_precision"]) for name in ("candidate", "prior"))
    words = (
        f"AP {ap:.3f} is {'' if passed else 'not reliably '}above the prior's {base:.3f}; {case.interval(difference)}"
    )
    figures = {"candidate": ap, "prior": base, **_figures(difference)}
    return Rule(name="better_than_prior", passed=passed, figures=figures, words=words)


def _not_behind(model: str) -> Callable[[_Case], Rule]:
    """F1 is not behind a baseline's by more than the margin, within noise (non-inferiority)."""

    def rule(case: _Case) -> Rule:
        difference = case.f1_against(model)
        margin = case.config.margin
        passed = difference.lower >= -margin
        f1, other = (float(case.metrics(name)["f1"]) for name in ("candidate", model))
        words = (
            f"F1 {f1:.3f} {'is not' if passed else 'may be'} more than {margin:g} behind {NAMES[model]}'s "
            f"{other:.3f}; {case.interval(difference)}"
        )
        figures = {"candidate": f1, model: other, "margin": margin, **_figures(difference)}
        return Rule(name=f"not_behind_{model}", passed=passed, figures=figures, words=words)

    return rule


def _champion(case: _Case) -> Rule:
    """F1 is above the champion's on the same examples, and not behind it by more than the margin within noise."""
    version = _text(case.champion.get("version"))
    if version is None and not case.champion.get("problem") and not case.champion.get("same_model"):
        words = "there is no champion yet: this is the first model"
        return Rule(name="champion", passed=True, figures={"version": None}, words=words)
    figures: dict[str, float | int | str | None] = {"version": version}
    if case.champion.get("same_model"):
        words = f"this model is already the champion (version {version}): nothing changed"
        return Rule(name="champion", passed=False, figures=figures, words=words)
    if case.champion.get("problem"):
        named = f"the champion (version {version})" if version else "the champion"
        words = f"{named} can't be compared: {case.champion['problem']}"
        return Rule(name="champion", passed=False, figures=figures, words=words.rstrip("."))
    f1, other = (float(case.metrics(name)["f1"]) for name in ("candidate", "champion"))
    difference, margin = case.f1_against("champion"), case.config.margin
    passed = f1 > other and difference.lower >= -margin
    words = f"the champion scores {other:.3f} on the same {len(case.table):,} examples; {case.interval(difference)}"
    if f1 == other:
        words += "; a tie keeps the champion"
    elif f1 > other and not passed:
        words += f"; better by chance can't be told apart from more than {margin:g} worse"
    figures |= {"candidate": f1, "champion": other, "margin": margin, **_figures(difference)}
    return Rule(name="champion", passed=passed, figures=figures, words=words)


RULES: tuple[Callable[[_Case], Rule], ...] = (
    _f1_floor,
    _better_than_prior,
    _not_behind("logistic"),
    _not_behind("boosting"),
    _champion,
)
"""What a candidate must pass once `complete` holds; order is the order of the report."""


def _reason(rules: tuple[Rule, ...], failed: list[Rule]) -> str:
    """One short sentence for a person who sees nothing else."""
    by_name = {rule.name: rule for rule in rules}
    if not failed:
        floor, champion = by_name["f1_floor"], by_name["champion"]
        return f"promote: {floor.words}, no baseline is ahead by more than gate.margin, and {champion.words}"
    champion_rule = by_name.get("champion")
    if champion_rule in failed and "candidate" not in champion_rule.figures:
        # Nothing could be compared, or nothing changed: that comes before any figure.
        return f"keep: {champion_rule.words}"
    first = failed[0]
    if first is champion_rule:
        return f"keep: {by_name['f1_floor'].words}, but {first.words}"
    others = ", ".join(rule.name for rule in failed[1:])
    return f"keep: {first.words}" + (f" (failed too: {others})" if others else "")


def _models(case: _Case) -> list[str]:
    return ["candidate", *BASELINES, *(["champion"] if case.champion_measured else [])]


def _f1(labels: np.ndarray, scored: Scored) -> float:
    hits, total = float(scored.decisions @ labels), float(scored.decisions.sum() + labels.sum())
    return 2 * hits / total if labels.any() else math.nan


def _figures(difference: Difference) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(difference).items()}


def _figure(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
