"""Evidence for the tests of the gate: models that make so many mistakes, and the checks beside them, all in order."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.config import GateConfig
from behavior_tasks.verdict.gate_evidence import Evidence
from behavior_tasks.verdict.gate_rules import Outcome
from behavior_tasks.verdict.metrics import Scored, hash_examples, measure

SIZE = 400
LABELS = (np.arange(SIZE) % 4 == 0).astype(int)
CONFIG = GateConfig(min_f1=0.3, margin=0.02, bootstrap=200, max_ece=0.3)
"""The made-up probabilities say yes and no and are not calibrated."""
CANDIDATE, BOOSTING, CHAMPION = "artifact://train/new", "artifact://baselines/new", "artifact://train/old"
HALVES = np.where(np.arange(SIZE) % 8 < 4, "new", "returning")
"""A slice of the shoppers: 50 buyers in each half."""
SERVED = {
    "loads": True,
    "serves": True,
    "problem": None,
    "examples": 200,
    "largest_difference": 1e-9,
    "latency_ms": {"median": 3.0, "p95": 8.0},
    "size_mb": 12.0,
    "load_seconds": 4.0,
}


def answers(wrong: int, *, last: bool = False) -> Scored:
    """A model that calls `wrong` buyers non-buyers (the first, or the last), and as many others buyers."""
    calls = LABELS.copy()
    for label in (1, 0):
        places = np.flatnonzero(label == LABELS)
        calls[places[len(places) - wrong :] if last else places[:wrong]] = 1 - label
    # Every example its own probability: a yes lies above a half.
    return Scored(probabilities=0.1 + 0.5 * calls + np.arange(SIZE) / (10 * SIZE), threshold=0.5)


def evidence(
    *, candidate: int = 30, logistic: int = 45, boosting: int = 40, champion: int | None = None, **about: Any
) -> Evidence:
    """Evidence in which each model makes so many mistakes; `about` overrides what is said of the champion."""
    scored = {
        "candidate": answers(candidate),
        "prior": Scored(probabilities=np.full(SIZE, 0.25), threshold=0.25),
        "logistic": answers(logistic),
        "boosting": answers(boosting),
    }
    if champion is not None:
        scored["champion"] = answers(champion)
    return of_models(scored, **{"version": None if champion is None else "3", **about})


def of_models(scored: dict[str, Scored], labels: np.ndarray = LABELS, **about: Any) -> Evidence:
    """Evidence of models on as many shoppers as there are labels."""
    size = len(labels)
    examples = [f"s{i:04d}@2026-01-01" for i in range(size)]
    table = pd.DataFrame({"example": examples, "shopper": [name.partition("@")[0] for name in examples]})
    halves = HALVES[:size]
    table = table.assign(cutoff=pd.Timestamp("2026-01-01"), label=labels, champion=np.nan, slice_history=halves)
    table = table.assign(**{name: model.probabilities for name, model in scored.items()})
    measured = {
        "test_hash": hash_examples(examples, labels),
        "examples": size,
        "buyers": int(labels.sum()),
        "candidate": CANDIDATE,
        "models": {name: measure(labels, model) for name, model in scored.items()},
        "champion": {"version": None, "problem": None, "same_model": False, **about},
        "slices": [
            {
                "slice": "history",
                "value": value,
                "examples": int((halves == value).sum()),
                "buyers": int(labels[halves == value].sum()),
                "f1": measure(labels[halves == value], _inside(scored["candidate"], halves == value))["f1"],
            }
            for value in np.unique(halves).tolist()
        ],
    }
    known = measured["champion"]["version"] is not None
    return Evidence(
        measured=measured,
        predictions=table,
        audit={"clean": True, "checks": 50, "events": 20_000, "failed": [], "problem": None},
        package={"models": {"candidate": dict(SERVED), "boosting": dict(SERVED)}},
        run={
            "day": "2026-01-09",
            "doctor": True,
            "models": {
                "candidate": {"uri": CANDIDATE, "epsilon": None},
                "boosting": {"uri": BOOSTING, "epsilon": None},
            },
            "champion": {
                "version": measured["champion"]["version"],
                "problem": measured["champion"]["problem"],
                "model": CHAMPION if known else None,
                "day": "2026-01-02" if known else None,
            },
        },
    )


def _inside(scored: Scored, inside: np.ndarray) -> Scored:
    return Scored(probabilities=scored.probabilities[inside], threshold=scored.threshold)


def changed(found: Evidence, *path: str, value: object = None, remove: bool = False, of: str = "measured") -> Evidence:
    """The evidence with one entry of a document replaced or taken out."""
    document = copy.deepcopy(dict(getattr(found, of) or {}))
    inner: Any = document
    for key in path[:-1]:
        inner = inner[int(key) if isinstance(inner, list) else key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return replace(found, **{of: document})


def with_model(found: Evidence, name: str, scored: Scored) -> Evidence:
    """The evidence with other answers of one model."""
    found = replace(found, predictions=found.predictions.assign(**{name: scored.probabilities}))
    return changed(found, "models", name, value=measure(LABELS, scored))


def failed(rules: tuple[Outcome, ...]) -> list[str]:
    return [rule.name for rule in rules if not rule.passed]
