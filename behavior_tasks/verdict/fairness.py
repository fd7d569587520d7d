"""Fairness: the candidate's answers and the shoppers' age bands or genders in; gaps between the groups out.

A gap is the largest difference of a measure between two groups: how often shoppers are called buyers, how many buyers
are found, how many others are called in vain, how far probabilities are off. The one thing to know: a gap says that
groups are treated differently, not why; groups that really buy more are called more often by any good model.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.verdict.bootstrap import Statistic, percentile_interval
from behavior_tasks.verdict.metrics import Scored, calibration_edges
from behavior_tasks.verdict.slices import MIN_BUYERS, MIN_EXAMPLES, outcome_cells, too_few
from behavior_tasks.verdict.traits import Trait

ATTRIBUTES = ("age_band", "gender")
MEASURES = ("call_rate", "recall", "false_positive_rate", "ece")


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of one attribute that are large enough to compare."""

    attribute: str
    values: np.ndarray
    """Group of every test example, (n,)."""
    compared: tuple[str, ...]
    left_out: tuple[str, ...]
    """The other groups, each with its size in words."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be compared; None when it can."""
        if len(self.compared) > 1:
            return None
        found = f" ({', '.join(self.left_out)})" if self.left_out else ""
        return f"fewer than two groups have {MIN_EXAMPLES} examples with {MIN_BUYERS} buyers{found}"


def find_groups(labels: np.ndarray, trait: Trait) -> Groups:
    """Return which groups can be compared. Shoppers of whom the attribute is not known are no group."""
    compared, left_out = [], []
    for value in trait.present:
        mine = labels[trait.values == value]
        if value == UNKNOWN:
            left_out.append(f"{value}: {len(mine):,} examples")
        elif reason := too_few(mine):
            left_out.append(f"{value}: {reason}")
        elif (mine == 1).all():
            left_out.append(f"{value}: every example is a buyer")
        else:
            compared.append(value)
    return Groups(attribute=trait.name, values=trait.values, compared=tuple(compared), left_out=tuple(left_out))


def group_statistic(labels: np.ndarray, scored: Scored, groups: Groups, codes: np.ndarray) -> Statistic:
    """Return the function of MEASURES of every compared group that a bootstrap resamples, one measure after another.

    The bins of a group's calibration error stay those of its examples as they are.
    """
    count = len(groups.compared)
    inside = np.isin(groups.values, groups.compared)
    answers = Scored(probabilities=scored.probabilities[inside], threshold=scored.threshold)
    cells = outcome_cells(labels[inside], answers, groups.values[inside], groups.compared)
    mine, gap = codes[inside], answers.probabilities - (labels[inside] == 1)
    bins, bounds = _bins(answers.probabilities, cells // 4, count)

    def measures(draw: np.ndarray) -> np.ndarray:
        weights = draw[mine]
        left, missed, false, hits = np.bincount(cells, weights=weights, minlength=4 * count).reshape(count, 4).T
        off = np.abs(np.bincount(bins, weights=weights * gap, minlength=bounds[-1]))
        total = left + missed + false + hits
        return np.concatenate(
            [
                _ratio(false + hits, total),
                _ratio(hits, hits + missed),
                _ratio(false, false + left),
                _ratio(np.add.reduceat(off, bounds[:-1]), total),
            ]
        )

    return measures


def measure_gaps(
    groups: Groups, measured: np.ndarray, resampled: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
    """Return one entry for every measure.

    Args:
        groups: at least two of them.
        measured: what the `group_statistic` gives for the examples as they are, (4 groups,).
        resampled: what a bootstrap gave for it, (resamples, 4 groups).
        confidence: of the intervals.

    Returns:
        attribute, measure, gap, interval, lowest and highest (groups), values (group → measure), groups (number) and
        left_out. The interval is that of the difference between the two groups named, so it may hold 0: then the
        gap may be chance.
    """
    count, entries = len(groups.compared), []
    for place, name in enumerate(MEASURES):
        mine = slice(place * count, (place + 1) * count)
        low, high = int(np.argmin(measured[mine])), int(np.argmax(measured[mine]))
        drawn = resampled[:, mine][:, high] - resampled[:, mine][:, low] if resampled.size else np.empty(0)
        lower, upper = percentile_interval(drawn, confidence)
        entries.append(
            {
                "attribute": groups.attribute,
                "measure": name,
                "gap": float(measured[mine][high] - measured[mine][low]),
                "interval": None if math.isnan(lower) else [lower, upper],
                "lowest": groups.compared[low],
                "highest": groups.compared[high],
                "values": dict(zip(groups.compared, measured[mine].tolist(), strict=True)),
                "groups": count,
                "left_out": list(groups.left_out),
            }
        )
    return entries


def _bins(probabilities: np.ndarray, group: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's bin, numbered through all groups, and where each group's bins begin (and the last end)."""
    bins, bounds = np.empty(len(group), dtype=np.intp), [0]
    for number in range(count):
        mine = group == number
        edges = calibration_edges(probabilities[mine])
        bins[mine] = bounds[-1] + np.searchsorted(edges, probabilities[mine], side="right")
        bounds.append(bounds[-1] + len(edges) + 1)
    return bins, np.array(bounds)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(len(top), math.nan), where=bottom > 0)
