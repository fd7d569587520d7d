"""Slices: the test examples cut by a trait of their shoppers in; the candidate's figures of every slice out.

A good average can hide a model that fails new shoppers. The one thing to know: a slice with too few examples or buyers
gets no figures, but says so, because a noisy figure would be read as a finding.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.few import is_few
from behavior_tasks.verdict.bootstrap import Statistic, percentile_interval
from behavior_tasks.verdict.metrics import Scored, measure
from behavior_tasks.verdict.traits import Trait

MIN_EXAMPLES = 50
MIN_BUYERS = 10
"""Below either, a slice is too small to judge: with ten buyers one more found moves the recall by a tenth."""
SLICE_FIGURES = ("accuracy", "precision", "recall", "f1", "average_precision", "ece")
OTHER = "other"
"""Name of what is put together in a report because each of it is too small."""
NO_FIGURES = {**dict.fromkeys((*SLICE_FIGURES, "mean_probability", "call_rate", "f1_interval"), None)}


def measure_slices(
    labels: np.ndarray,
    scored: Scored,
    shoppers: np.ndarray,
    traits: Sequence[Trait],
    resampled: Mapping[str, np.ndarray],
    confidence: float,
) -> list[dict[str, Any]]:
    """Return one entry for every value of every trait.

    Args:
        labels: 0 or 1, (n,).
        scored: the candidate's answers (n,).
        shoppers: whose example it is, (n,).
        traits: how to cut.
        resampled: trait → what a bootstrap gave for its `slice_statistic`.
        confidence: of the intervals.

    Returns:
        slice, value, meaning, examples, shoppers, buyers, SLICE_FIGURES, mean_probability, call_rate, f1_interval, and
        `reason`: why there are no figures, or None. The figures are those of the threshold that the whole test set
        is judged by.
    """
    entries = []
    for trait in traits:
        intervals = dict(zip(trait.present, resampled[trait.name].T, strict=False)) if trait.name in resampled else {}
        for value in trait.present:
            mine = trait.values == value
            of = labels[mine]
            entry: dict[str, Any] = {
                "slice": trait.name,
                "value": value,
                "meaning": trait.meanings.get(value),
                "examples": int(mine.sum()),
                "shoppers": len(np.unique(shoppers[mine])),
                "buyers": int((of == 1).sum()),
            }
            answers = Scored(probabilities=scored.probabilities[mine], threshold=scored.threshold)
            reason = too_few(of) or (None if answers.usable else "a probability is not a finite number")
            figures = NO_FIGURES if reason else _figures(of, answers, intervals.get(value), confidence)
            entries.append({**entry, **figures, "reason": reason})
    return entries


def too_few(labels: np.ndarray) -> str | None:
    """Return why examples with these labels are too few to judge; None when they are enough.

    >>> too_few(np.array([1, 0, 0]))
    'too few to judge: fewer than 50 examples or 10 buyers'
    """
    if len(labels) >= MIN_EXAMPLES and int((labels == 1).sum()) >= MIN_BUYERS:
        return None
    # How few is not told: it would be a count of a handful of people of one age or gender.
    return f"too few to judge: fewer than {MIN_EXAMPLES} examples or {MIN_BUYERS} buyers"


def shown_slices(entries: Sequence[Mapping[str, Any]], least: int) -> list[dict[str, Any]]:
    """Return the entries that a report shows: of each trait, values with too few people become one called `other`.

    Args:
        entries: what `measure_slices` gives.
        least: fewest people that anything is told of; an `other` that has fewer is left out, too.
    """
    shown: list[dict[str, Any]] = []
    for trait, some in groupby(entries, key=lambda one: one["slice"]):
        every = list(some)
        small = [one for one in every if is_few(_people(one), least)]
        shown += [dict(one) for one in every if not is_few(_people(one), least)]
        together = {name: sum(one[name] for one in small) for name in ("examples", "buyers")}
        if small and not is_few(sum(map(_people, small)), least):
            other = {"slice": trait, "value": OTHER, "meaning": None, **together, **NO_FIGURES}
            shown.append({**other, "reason": f"{len(small)} groups with fewer than {least} people each"})
    return shown


def _people(entry: Mapping[str, Any]) -> int:
    return int(entry.get("shoppers", entry["examples"]))


def slice_statistic(labels: np.ndarray, scored: Scored, trait: Trait, codes: np.ndarray) -> Statistic:
    """Return the function of the F1 of each of a trait's present values that a bootstrap resamples."""
    count = len(trait.present)
    cells = outcome_cells(labels, scored, trait.values, trait.present)

    def f1(draw: np.ndarray) -> np.ndarray:
        weights = np.bincount(cells, weights=draw[codes], minlength=4 * count).reshape(count, 4)
        missed, false, hits = weights[:, 1], weights[:, 2], weights[:, 3]
        buyers = missed + hits
        return np.divide(2 * hits, 2 * hits + missed + false, out=np.full(count, math.nan), where=buyers > 0)

    return f1


def outcome_cells(labels: np.ndarray, scored: Scored, values: np.ndarray, present: Sequence[str]) -> np.ndarray:
    """Return 4 times the place of an example's value, plus 0: rightly left, 1: missed, 2: called in vain, 3: hit."""
    groups = pd.Index(present).get_indexer(pd.Index(values.astype(object)))
    return 4 * groups + 2 * scored.decisions + (labels == 1)


def _figures(labels: np.ndarray, scored: Scored, resampled: np.ndarray | None, confidence: float) -> dict[str, Any]:
    measured = measure(labels, scored)
    lower, upper = percentile_interval(resampled, confidence) if resampled is not None else (math.nan, math.nan)
    return {
        **{name: measured[name] for name in SLICE_FIGURES},
        "mean_probability": float(scored.probabilities.mean()),
        "call_rate": float(scored.decisions.mean()),
        "f1_interval": None if math.isnan(lower) else [lower, upper],
    }
