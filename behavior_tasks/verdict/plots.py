"""The plots of an evaluation: labels, answers and figures in; one PNG each out, with the same names in every run.

Two runs can be laid side by side file by file: a plot that has nothing to show says why instead of being left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from behavior_tasks.verdict.bootstrap import Resampling, percentile_interval, resample
from behavior_tasks.verdict.figures import TestSet
from behavior_tasks.verdict.intervals import figure_names, model_statistic
from behavior_tasks.verdict.metrics import Difference
from behavior_tasks.verdict.plots_counts import plot_confusion, plot_reliability, plot_scores
from behavior_tasks.verdict.plots_curves import plot_f1_threshold, plot_gains, plot_precision_recall, plot_roc
from behavior_tasks.verdict.plots_differences import plot_champion_difference, plot_slices

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
COMPARED: Mapping[str, str] = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "AP",
    "roc_auc": "AUC",
}
"""Figures of champion and candidate that are compared; of each, more is better."""


def draw_plots(folder: Path, test: TestSet, measured: Mapping[str, Any]) -> None:
    """Write every plot of PLOTS as `NAME.png`.

    Args:
        folder: made here.
        test: labels, shoppers and what every model says.
        measured: `models`, `slices`, `champion` and `resampling` of `metrics.json`.
    """
    folder.mkdir(parents=True)
    for name, draw in CURVES.items():
        draw(folder / f"{name}.png", test.labels, test.models)
    plot_slices(folder / "slices.png", measured["slices"], measured["models"]["candidate"]["f1"])
    drawn = measured["resampling"]
    resampling = Resampling(resamples=drawn["resamples"], confidence=drawn["confidence"], seed=drawn["seed"])
    champion = measured["champion"]
    differences = {} if champion["same_model"] else champion_differences(test, resampling)
    path = folder / "champion_difference.png"
    plot_champion_difference(path, differences, champion["version"], _why_none(champion))


def champion_differences(test: TestSet, resampling: Resampling) -> dict[str, Difference]:
    """Return champion − candidate of each of COMPARED, by a paired bootstrap; empty where one can't be measured.

    Args:
        test: the test examples.
        resampling: as the intervals are drawn, so that both see the same shoppers.
    """
    pair = [test.models[name] for name in ("champion", "candidate") if name in test.models]
    if len(pair) < 2 or not all(scored.usable for scored in pair) or not test.labels.any():
        return {}
    codes, count = test.codes
    champion, candidate = (model_statistic(test.labels, scored, codes) for scored in pair)

    def difference(draw: np.ndarray) -> np.ndarray:
        return champion(draw) - candidate(draw)

    names = figure_names(None)
    whole = dict(zip(names, difference(np.ones(count)), strict=True))
    drawn = dict(zip(names, resample({"": difference}, count, resampling)[""].T, strict=True))
    found = {}
    for name, words in COMPARED.items():
        lower, upper = percentile_interval(drawn[name], resampling.confidence)
        found[words] = Difference(difference=float(whole[name]), lower=lower, upper=upper)
    return found


def _why_none(champion: Mapping[str, Any]) -> str:
    if champion["same_model"]:
        return f"This model is already the champion, version {champion['version']}:\nthere is nothing to compare."
    if champion["problem"]:
        return f"The champion, version {champion['version']}, can't be compared:\n{champion['problem']}."
    if champion["version"] is None:
        return "There is no champion yet:\nthis is the first model."
    return "The difference is undefined on this test."
