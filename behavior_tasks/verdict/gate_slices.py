"""Slices for the gate: the slices that the metrics name and the predictions in; each one's F1 with its noise out.

The F1 is taken anew from the predictions, for whichever model is judged. The one thing to know: the upper bound is that
of a ratio estimator over shoppers (Cochran 1977, "Sampling techniques", section 6.3), because examples of one shopper
are not independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from behavior_tasks.verdict.gate_evidence import AGREE_WITHIN, Case, finite, mapping, text


@dataclass(frozen=True, kw_only=True)
class SliceF1:
    """One slice of the test examples."""

    name: str
    """E.g. `history = new`."""
    buyers: int
    f1: float
    upper: float
    """Upper end of the interval for F1, at `gate.confidence`."""


def slice_f1s(case: Case, slices: Sequence[Any]) -> tuple[list[SliceF1], str | None]:
    """Return the slices that have `gate.slice_buyers` buyers, or why the slices can't be judged.

    Args:
        case: the judged model with its predictions.
        slices: the entries of `metrics.json`.
    """
    found = []
    for number, entry in enumerate(map(mapping, slices)):
        column, value = f"slice_{entry.get('slice')}", text(entry.get("value"))
        if text(entry.get("slice")) is None or value is None or not finite(entry.get("buyers")):
            return [], f"slices.{number} of metrics.json has no slice, value or buyers"
        if column not in case.table.columns:
            return [], f"predictions.parquet lacks {column}"
        judged = _one(case, column, value)
        if judged.buyers != entry["buyers"]:
            told = f"{entry['buyers']} buyers with {judged.name}, the predictions {judged.buyers}"
            return [], f"the metrics count {told}"
        if judged.buyers < case.config.slice_buyers:
            continue
        if not finite(entry.get("f1")):
            return [], f"slices.{number}.f1 of metrics.json ({judged.name}) is missing or not a finite number"
        if case.model == "candidate" and not abs(entry["f1"] - judged.f1) <= AGREE_WITHIN:
            return [], f"the metrics say F1 {entry['f1']:.3f} with {judged.name}, the predictions give {judged.f1:.3f}"
        found.append(judged)
    return found, None


def _one(case: Case, column: str, value: str) -> SliceF1:
    inside = (case.table[column] == value).to_numpy(dtype=bool)
    labels, calls = case.labels[inside] == 1, case.scored(case.model).decisions[inside]
    _, shoppers = np.unique(case.table["shopper"].to_numpy(dtype=str)[inside], return_inverse=True)
    hits = np.bincount(shoppers, weights=labels & calls)
    total = np.bincount(shoppers, weights=labels.astype(float) + calls)
    buyers, f1, error = int(labels.sum()), 0.0, 0.0
    if total.sum():
        f1 = 2 * float(hits.sum()) / float(total.sum())
        error = math.sqrt(float(((2 * hits - f1 * total) ** 2).sum())) / float(total.sum())
    reach = NormalDist().inv_cdf(0.5 + case.config.confidence / 2)
    name = f"{column.removeprefix('slice_')} = {value}"
    return SliceF1(name=name, buyers=buyers, f1=f1, upper=min(1.0, f1 + reach * error))
