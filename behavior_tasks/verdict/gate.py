"""The gate: metrics, predictions and the checks before them in; promote or keep out, with every rule's words.

`judge` is a pure function over one list of rules (`gate_rules`). It fails closed: what is missing, not a finite number,
or measured on other examples means *keep*, and the verdict says which. Where the language model is kept out, gradient
boosting is judged by the same rules and may be promoted in its place.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import GateConfig
from behavior_tasks.base.stage import Job
from behavior_tasks.verdict.gate_evidence import (
    NAMES,
    Case,
    Evidence,
    Judged,
    mapping,
    read_document,
    read_evidence,
    text,
)
from behavior_tasks.verdict.gate_rules import RULES, Outcome, apply, undefined

LABELS: dict[Judged, Literal["language_model", "boosting"]] = {"candidate": "language_model", "boosting": "boosting"}
SIMPLER: tuple[Literal["logistic", "boosting"], ...] = ("logistic", "boosting")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Promote or keep, and why."""

    decision: Literal["promote", "keep"]
    model: Literal["language_model", "boosting"]
    """Which model the decision is about."""
    candidate: str | None
    """URI of the artifact whose `model/` it is."""
    reason: str
    advice: str | None
    """What a person had better do, when a simpler model does as well."""
    rules: tuple[Outcome, ...]
    """Of the language model."""
    boosting_rules: tuple[Outcome, ...] | None
    """Of gradient boosting; None when it was not judged."""
    test_hash: str | None
    champion_version: str | None
    approval: Literal["off", "required"]
    """Whether a person must say yes before the promotion."""


def judge(evidence: Evidence, config: GateConfig) -> Verdict:
    """Return promote when every rule passes, else keep; for the language model, else for boosting.

    Args:
        evidence: metrics and predictions of candidate, baselines and champion on the same test examples, and what the
            checks before the gate found.
        config: floors, ceilings, margin and how the bootstrap is drawn.
    """
    case = Case(evidence, config, "candidate")
    rules = _outcomes(case)
    model: Judged = "candidate"
    boosting_rules = None
    if not _passed(rules) and _may_ask_boosting(case):
        boosting_rules = _outcomes(Case(evidence, config, "boosting"))
        if _passed(boosting_rules):
            model = "boosting"
    promoted = model == "boosting" or _passed(rules)
    uris = {name: text(mapping(of).get("uri")) for name, of in mapping(evidence.run.get("models")).items()}
    candidate = text(case.measured.get("candidate")) if model == "candidate" else uris.get("boosting")
    if promoted and candidate is None:
        promoted, reason = False, "keep: the run does not say which model is judged"
    else:
        reason = _promoted_boosting(boosting_rules) if model == "boosting" and boosting_rules else _reason(rules)
        reason += _about_boosting(boosting_rules or ())
    return Verdict(
        decision="promote" if promoted else "keep",
        model=LABELS[model],
        candidate=candidate,
        reason=reason,
        advice=_advice(case),
        rules=rules,
        boosting_rules=boosting_rules,
        test_hash=text(case.measured.get("test_hash")),
        champion_version=text(case.champion.get("version")),
        approval=config.approval,
    )


def gate_stage(job: Job) -> Output:
    """Judge the evaluation and write `verdict.json`."""
    evidence = gather(job)
    verdict = judge(evidence, job.config.gate)
    content = json.dumps(asdict(verdict), ensure_ascii=False, indent=2, allow_nan=False)
    (job.out / "verdict.json").write_text(content + "\n", encoding="utf-8")
    examples = 0 if evidence.predictions is None else len(evidence.predictions)
    return Output(
        rows=Rows(unit_in="examples", unit_out="verdicts", rows_in=examples, rows_out=1),
        facts={"decision": verdict.decision, "model": verdict.model, "reason": verdict.reason},
    )


def gather(job: Job) -> Evidence:
    """Read what there is to judge by from the artifacts before the gate."""
    inputs = job.inputs
    champion = inputs["champion"].facts
    run: dict[str, Any] = {
        "day": job.today.isoformat(),
        "doctor": "warnings" in inputs["doctor"].facts,
        "models": {name: _model(inputs[stage]) for name, stage in (("candidate", "train"), ("boosting", "baselines"))},
        "champion": {name: champion.get(name) for name in ("version", "problem", "model", "day")},
    }
    return read_evidence(
        inputs["evaluate"].path,
        audit=read_document(inputs["audit"].path / "audit.json"),
        package=read_document(inputs["package"].path / "package.json"),
        run=run,
    )


def _model(artifact: Artifact) -> dict[str, Any]:
    return {"uri": artifact.uri, "epsilon": artifact.facts.get("epsilon")}


def _outcomes(case: Case) -> tuple[Outcome, ...]:
    """Ask every rule; when metrics and predictions can't be judged by, say that alone."""
    problem, count = case.incomplete, len(case.table)
    words = problem or f"all metrics are there, on {count:,} test examples that match their hash"
    complete = Outcome(name="complete", passed=problem is None, figures={"examples": count}, words=words)
    judged = [apply(rule, case) for rule in RULES if case.model in rule.models] if problem is None else []
    return complete, *judged


def _may_ask_boosting(case: Case) -> bool:
    """Whether boosting may take the place of a language model that did not pass.

    Not when something is broken, which a person has to see; nor when the language model is the champion itself.
    """
    broken = case.incomplete is not None or any(undefined(rule, case) for rule in RULES if case.model in rule.models)
    return case.config.allow_baseline_champion and not broken and not case.same_as_champion


def _passed(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome.passed for outcome in outcomes)


def _reason(rules: Sequence[Outcome]) -> str:
    """One short sentence for a person who sees nothing else."""
    failed = [rule for rule in rules if not rule.passed]
    by_name = {rule.name: rule for rule in rules}
    if not failed:
        floor, champion = by_name["f1_floor"], by_name["champion"]
        return f"promote: {floor.words}, no baseline stands in the way, and {champion.words}"
    champion_rule = by_name.get("champion")
    if champion_rule in failed and "difference" not in champion_rule.figures:
        # Nothing could be compared, or nothing changed: that comes before any figure.
        return f"keep: {champion_rule.words}"
    first = failed[0]
    if first is champion_rule:
        return f"keep: {by_name['f1_floor'].words}, but {first.words}"
    others = ", ".join(rule.name for rule in failed[1:])
    return f"keep: {first.words}" + (f" (failed too: {others})" if others else "")


def _promoted_boosting(rules: Sequence[Outcome]) -> str:
    by_name = {rule.name: rule for rule in rules}
    return (
        f"promote gradient boosting in the language model's place: its {by_name['above_language_model'].words}, "
        f"and {by_name['champion'].words}"
    )


def _about_boosting(rules: Sequence[Outcome]) -> str:
    """Say what stands in the way of a boosting that is better than the language model; nothing of a worse one."""
    failed = [rule.name for rule in rules if not rule.passed]
    if not failed or "above_language_model" in failed:
        return ""
    return f"; gradient boosting is better but did not pass itself: {', '.join(failed)}"


def _advice(case: Case) -> str | None:
    """Say which simpler baseline does at least as well as the language model; None where none does."""
    if case.incomplete is not None:
        return None
    f1s = {name: float(case.metrics(name)["f1"]) for name in ("candidate", *SIMPLER)}
    best = max(SIMPLER, key=lambda name: f1s[name])
    if f1s[best] < f1s["candidate"]:
        return None
    return (
        f"use the simpler one: {NAMES[best]} scores F1 {f1s[best]:.3f} on the same {len(case.table):,} examples, "
        f"the language model {f1s['candidate']:.3f}; {case.interval(case.f1_against(best))}"
    )
