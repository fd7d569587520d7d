"""Approval: a verdict that a person must confirm in; the question in words, and the answer kept for the run, out.

The question shows the champion against the model that would take its place. The one thing to know: an answer is about
one verdict, by the URI of the gate's artifact; no answer, or one about another verdict, means the champion is kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from behavior_tasks.model.formats import BOOSTING, LANGUAGE_MODEL, measured_as
from behavior_tasks.pipeline.runs import Run, open_run

RECORD = "approval"
FIGURES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "ece": "ECE",
}
NAMES = {LANGUAGE_MODEL: "language model", BOOSTING: "gradient boosting"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a person is asked."""

    subject: str
    body: str
    """Markdown."""
    hours: float
    """How long an answer is waited for."""


def ask(run_uri: str, gate_uri: str) -> Question | None:
    """Return what a person must be asked before the promotion, or None when nobody has to be.

    Nobody is asked when the verdict is to keep, or `gate.approval` is off.
    """
    run = open_run(run_uri)
    verdict = read_verdict(run, gate_uri)
    if verdict["decision"] != "promote" or verdict["approval"] != "required":
        return None
    name = NAMES[verdict["model"]]
    over = f"champion version {verdict['champion_version']}" if verdict["champion_version"] else "no champion yet"
    return Question(
        subject=f"{run.record.name}: may the new {name} become the champion ({over})?",
        body=_body(run, verdict),
        hours=run.record.config.gate.approval_hours,
    )


def answer(run_uri: str, gate_uri: str, *, approved: bool, who: str | None, why: str = "") -> None:
    """Keep a person's answer about a verdict; with `who` None, nobody answered in time."""
    content = {"verdict": gate_uri, "approved": approved and who is not None, "who": who, "why": why}
    open_run(run_uri).note(RECORD, content)


def refused(run: Run, gate_uri: str) -> str | None:
    """Return why a verdict that needs a person's yes does not have it, or None when it has."""
    found = _answer(run, gate_uri)
    if found is None:
        return "keep: the gate passed, but a person must approve (gate.approval) and nobody was asked"
    said = f": {found['why']}" if found["why"] else ""
    if found["who"] is None:
        return f"keep: the gate passed, but nobody approved in time{said}"
    return None if found["approved"] else f"keep: the gate passed, but {found['who']} said no{said}"


def approver(run: Run, gate_uri: str) -> tuple[str, str] | None:
    """Return who approved a verdict and why; None when nobody did."""
    found = _answer(run, gate_uri)
    return (found["who"], found["why"]) if found is not None and found["approved"] else None


def read_verdict(run: Run, gate_uri: str) -> dict[str, Any]:
    """Return the content of a gate's `verdict.json`."""
    found: dict[str, Any] = json.loads((run.store.open(gate_uri).path / "verdict.json").read_bytes())
    return found


def _answer(run: Run, gate_uri: str) -> dict[str, Any] | None:
    found = run.noted(RECORD)
    return found if found is not None and found.get("verdict") == gate_uri else None


def _body(run: Run, verdict: Mapping[str, Any]) -> str:
    """Return the figures of both models side by side, what the gate says, and what happens without an answer."""
    kind = verdict["model"]
    rules = verdict["boosting_rules"] if kind == BOOSTING else verdict["rules"]
    lines = [f"**{verdict['reason']}**", "", *_table(run, measured_as(kind), NAMES[kind]), ""]
    lines += [f"- {rule['words']}" for rule in rules if rule["name"] != "complete"]
    if verdict["advice"]:
        lines += ["", f"Advice: {verdict['advice']}"]
    hours = run.record.config.gate.approval_hours
    lines += ["", f"Without an answer within {hours:g} hours the champion is kept."]
    return "\n".join(lines)


def _table(run: Run, model: str, name: str) -> list[str]:
    evaluated = run.artifact("evaluate")
    if evaluated is None:
        return []
    measured = json.loads((evaluated.path / "metrics.json").read_bytes())
    known = measured["models"]
    columns = {"champion": known["champion"]} if "champion" in known else {}
    columns |= {f"new {name}": known[model]}
    head = [f"On the same {measured['examples']:,} test examples with {measured['buyers']:,} buyers:", ""]
    head += [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return head + [
        f"| {label} | {' | '.join(_figure(figures.get(key)) for figures in columns.values())} |"
        for key, label in FIGURES.items()
    ]


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"
