"""Intervals of a model's figures: labels, answers and shoppers in; a bootstrap interval of each figure out.

Everything is sorted, binned and looked up once; a resample then is a walk along the sorted examples with whole
numbers as weights. The one thing to know: all models, slices and groups see the same resampled shoppers.
"""

import math
from collections.abc import Mapping

import numpy as np

from behavior_tasks.verdict.bootstrap import Statistic
from behavior_tasks.verdict.metrics import FIGURES, Costs, Scored, calibration_edges, profit_per_1000, surprises
from behavior_tasks.verdict.ranking import Ranking


def model_statistic(labels: np.ndarray, scored: Scored, codes: np.ndarray, costs: Costs | None = None) -> Statistic:
    """Return the function of FIGURES, and of the profit when there are costs, that a bootstrap resamples.

    The bins of the calibration error stay those of the examples as they are.

    Args:
        labels: 0 or 1, (n,), at least one.
        scored: finite answers (n,).
        codes: number of each example's shopper, (n,).
        costs: what a contact costs and a sale is worth.
    """
    ranking = Ranking.of(labels, scored.probabilities)
    order, buys = ranking.order, ranking.buys
    mine, probabilities = codes[order], scored.probabilities[order]
    # In descending order those called come first, and each bin is one stretch.
    called_until = int(scored.decisions.sum())
    place = np.searchsorted(calibration_edges(probabilities), probabilities, side="right")
    starts = np.append(0, np.flatnonzero(np.diff(place)) + 1)
    losses, squares = surprises(buys, probabilities), (probabilities - buys) ** 2
    gap = probabilities - buys

    def figures(draw: np.ndarray) -> np.ndarray:
        weights = draw[mine]
        total, buyers = float(weights.sum()), float(weights @ buys)
        called, hits = float(weights[:called_until].sum()), float(weights[:called_until] @ buys[:called_until])
        walk = ranking.walk(weights)
        found = {
            "accuracy": (total - called - buyers + 2 * hits) / total,
            "precision": hits / called if called else 0.0,
            "recall": hits / buyers if buyers else math.nan,
            "f1": 2 * hits / (called + buyers) if buyers else math.nan,
            "average_precision": walk.average_precision(),
            "roc_auc": walk.roc_auc(),
            "log_loss": float(weights @ losses) / total,
            "ece": float(np.abs(np.add.reduceat(weights * gap, starts)).sum()) / total,
            "brier": float(weights @ squares) / total,
        }
        profit = [profit_per_1000(hits, called, total, costs)] if costs else []
        return np.array([*found.values(), *walk.gains(), *profit])

    return figures


def figure_names(costs: Costs | None) -> tuple[str, ...]:
    """Return the names of what `model_statistic` gives, in its order."""
    return (*FIGURES, *(["profit_per_1000"] if costs else []))


def usable_models(labels: np.ndarray, models: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models whose every answer is a finite number; none without examples."""
    return {name: scored for name, scored in models.items() if len(labels) and scored.usable}
