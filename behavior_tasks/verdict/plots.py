"""Plots: labels and every model's answers in; a precision-recall and a reliability diagram as PNG out.

Colours are Okabe and Ito's, which colour-blind people can tell apart; each model also has its own line style
and marker. Figures are drawn without pyplot, so nothing is shared between processes or threads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from behavior_tasks.verdict.metrics import Scored, calibration_bins, expected_calibration_error


class Look(NamedTuple):
    """How a model is drawn and called."""

    label: str
    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str


LOOKS: dict[str, Look] = {
    "candidate": Look("language model", "#0072B2", "-", "o"),
    "champion": Look("champion", "#D55E00", "--", "s"),
    "boosting": Look("gradient boosting", "#009E73", "-.", "^"),
    "logistic": Look("logistic regression", "#CC79A7", ":", "D"),
    "prior": Look("prior", "#000000", (0, (1, 4)), "P"),
}
SIZE_INCHES = (8.0, 6.0)
DOTS_PER_INCH = 120


def plot_precision_recall(path: Path, labels: np.ndarray, models: Mapping[str, Scored]) -> None:
    """Draw precision over recall of each usable model, its threshold as a marker, and the prevalence as a line.

    Args:
        path: the PNG to write.
        labels: 0 or 1, (n,).
        models: name (a key of LOOKS) → answers (n,).
    """
    figure, axes = _canvas("Precision and recall on test", "recall: share of buyers found", "precision")
    prevalence = float(np.mean(labels)) if len(labels) else 0.0
    axes.axhline(prevalence, color="#666666", linewidth=1, label=f"share of buyers {prevalence:.3f}")
    for name, scored in _drawable(labels, models).items():
        look = LOOKS[name]
        precision, recall, thresholds = precision_recall_curve(labels, scored.probabilities)
        place = int(np.searchsorted(thresholds, scored.threshold))
        label = f"{look.label} (AP {average_precision_score(labels, scored.probabilities):.3f})"
        line = axes.plot(recall, precision, color=look.color, linestyle=look.line, drawstyle="steps-post", label=label)[
            0
        ]
        # The curve's last point stands for calling nobody a buyer; it gets no marker.
        marked = [place] if place < len(thresholds) else []
        line.set(linewidth=1.8, marker=look.marker, markersize=9, markeredgecolor="white", markevery=marked)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.annotate("markers: at the threshold chosen on validation", (0.01, 0.01), xycoords="axes fraction", fontsize=9)
    _save(figure, axes, path)


def plot_reliability(path: Path, labels: np.ndarray, models: Mapping[str, Scored]) -> None:
    """Draw the share of buyers over the mean probability, in ten bins of equal mass, of each usable model.

    Args:
        path: the PNG to write.
        labels: 0 or 1, (n,).
        models: name (a key of LOOKS) → answers (n,).
    """
    figure, axes = _canvas(
        "Reliability on test: do p % of those with probability p % buy?", "mean probability of a bin", "share of buyers"
    )
    top = 0.05
    for name, scored in _drawable(labels, models).items():
        look, bins = LOOKS[name], calibration_bins(labels, scored.probabilities)
        label = f"{look.label} (ECE {expected_calibration_error(labels, scored.probabilities):.3f})"
        line = axes.plot(bins.predicted, bins.observed, color=look.color, linestyle=look.line, label=label)[0]
        line.set(marker=look.marker, linewidth=1.8)
        top = max(top, float(bins.predicted.max()), float(bins.observed.max()))
    top = min(1.0, top * 1.05)
    axes.plot([0, top], [0, top], color="#666666", linewidth=1, label="perfect")
    axes.set(xlim=(0, top), ylim=(0, top))
    _save(figure, axes, path)


def _drawable(labels: np.ndarray, models: Mapping[str, Scored]) -> dict[str, Scored]:
    if not labels.any():
        return {}
    return {name: models[name] for name in LOOKS if name in models and models[name].usable}


def _canvas(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.grid(color="#dddddd", linewidth=0.6)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend(fontsize=10, framealpha=0.9)
    figure.savefig(path, format="png")
