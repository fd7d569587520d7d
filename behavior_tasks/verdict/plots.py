"""The plots of an evaluation: labels, answers and figures in; one PNG each out, with the same names in every run.

Two runs can be laid side by side file by file: a plot that has nothing to show says why instead of being left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from behavior_tasks.verdict.metrics import (
    Difference,
    Resampling,
    average_precision_difference,
    f1_difference,
)
from behavior_tasks.verdict.plots_counts import plot_confusion, plot_reliability, plot_scores
from behavior_tasks.verdict.plots_curves import plot_f1_threshold, plot_gains, plot_precision_recall, plot_roc
from behavior_tasks.verdict.plots_differences import plot_champion_difference, plot_slices
from behavior_tasks.verdict.plots_look import Models

CURVES = {
    "precision_recall": plot_precision_recall,
    "roc": plot_roc,
    "confusion": plot_confusion,
    "f1_threshold": plot_f1_threshold,
    "reliability": plot_reliability,
    "scores": plot_scores,
    "gains": plot_gains,
}
"""Name of a plot → what draws it from labels and answers."""
PLOTS: tuple[str, ...] = (*CURVES, "slices", "champion_difference")
"""The names of all plots, without `.png`."""
RESAMPLING = Resampling(resamples=500, confidence=0.95, seed=7)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What there is to draw."""

    labels: np.ndarray
    """0 or 1, (n,)."""
    shoppers: np.ndarray
    """Whose example it is, (n,)."""
    models: Models
    slices: Sequence[Mapping[str, Any]] | None
    """As `metrics.json` has them; None: not measured."""
    champion: Mapping[str, Any]
    """`version`, `problem` and `same_model`, as `metrics.json` has them."""


def draw_plots(folder: Path, shown: Shown) -> None:
    """Write every plot of PLOTS as `NAME.png` into a folder that is made here."""
    folder.mkdir(parents=True)
    for name, draw in CURVES.items():
        draw(folder / f"{name}.png", shown.labels, shown.models)
    candidate = shown.models.get("candidate")
    buyers, called = float(shown.labels.sum()), 0.0
    whole = None
    if candidate is not None and candidate.usable and buyers:
        called = float(candidate.decisions.sum())
        whole = float(2 * (candidate.decisions & (shown.labels == 1)).sum() / (called + buyers))
    plot_slices(folder / "slices.png", shown.slices, whole)
    plot_champion_difference(
        folder / "champion_difference.png", champion_differences(shown), shown.champion["version"], _why_none(shown)
    )


def champion_differences(shown: Shown) -> dict[str, Difference]:
    """Return champion − candidate of F1 and average precision, by a paired bootstrap; empty without a champion."""
    candidate, champion = shown.models.get("candidate"), shown.models.get("champion")
    if candidate is None or champion is None or shown.champion["same_model"]:
        return {}
    arguments = shown.shoppers, RESAMPLING
    return {
        "F1": f1_difference(shown.labels, champion, candidate, *arguments),
        "average\nprecision": average_precision_difference(
            shown.labels, champion.probabilities, candidate.probabilities, *arguments
        ),
    }


def _why_none(shown: Shown) -> str:
    version, problem = shown.champion["version"], shown.champion["problem"]
    if shown.champion["same_model"]:
        return f"This model is already the champion, version {version}:\nthere is nothing to compare."
    if problem:
        return f"The champion, version {version}, can't be compared:\n{problem}."
    if version is None:
        return "There is no champion yet:\nthis is the first model."
    return "The difference is undefined on this test."
