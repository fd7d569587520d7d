"""Plots of counted examples: reliability, scores of both classes, and who was rightly and wrongly called a buyer.

In come labels and answers; out comes one PNG each. The one thing to know: bins of the reliability diagram hold about
equal numbers of examples, since with few buyers nearly all probabilities are small.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import PercentFormatter

from behavior_tasks.base.figures import BLUE, GREY, INK, ORANGE, canvas, canvases, dress, legend_below, save, say
from behavior_tasks.verdict.metrics import Scored, calibration_bins, expected_calibration_error
from behavior_tasks.verdict.plots_look import LOOKS, Models, drawable, why_nothing

SCORE_BINS = 40
MATRICES = ("candidate", "champion", "boosting")
"""Models whose decisions are counted, side by side."""
MATRIX_INCHES = (2.9, 3.3)
DARK = 0.55
"""Share from which on a cell is so dark that its figures are white."""


def plot_reliability(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw the share of buyers over the mean probability, in ten bins of equal mass, of each usable model.

    Args:
        path: the PNG to write.
        labels: 0 or 1, (n,).
        models: answers (n,) by name.
    """
    title = "Reliability on test: do p % of those with probability p % buy?"
    figure, axes = canvas(title, "mean probability of a bin", "share of buyers")
    shown, top = drawable(labels, models), 0.05
    for name, scored in shown.items():
        look, bins = LOOKS[name], calibration_bins(labels, scored.probabilities)
        label = f"{look.label} (ECE {expected_calibration_error(labels, scored.probabilities):.3f})"
        line = axes.plot(bins.predicted, bins.observed, color=look.color, linestyle=look.line, label=label)[0]
        line.set(marker=look.marker, markersize=6, linewidth=1.8)
        top = max(top, float(bins.predicted.max()), float(bins.observed.max()))
    if shown:
        top = min(1.02, top * 1.05)
        axes.plot([0, top], [0, top], color=GREY, linewidth=1, label="perfect")
        axes.set(xlim=(0, top), ylim=(0, top))
        legend_below(figure, axes)
    else:
        say(axes, why_nothing(labels))
    save(figure, path)


def plot_scores(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw how the candidate's probabilities lie among buyers and among the others; arguments as above."""
    figure, axes = canvas("Probabilities of the language model on test", "probability", "share of the class")
    candidate = models.get("candidate")
    if candidate is None or not candidate.usable or not len(labels):
        say(axes, why_nothing(labels))
    else:
        edges = np.linspace(
            0, min(1.0, max(float(candidate.probabilities.max()), candidate.threshold) * 1.02), SCORE_BINS
        )
        classes = (("others", 0, ORANGE, "", 0.55), ("buyers", 1, BLUE, "////", 0.25))
        for name, label, color, hatch, alpha in classes:
            mine = candidate.probabilities[labels == label]
            shares = np.histogram(mine, edges)[0] / max(1, len(mine))
            axes.stairs(shares, edges, fill=True, color=color, alpha=alpha, hatch=hatch, linewidth=0)
            axes.stairs(
                shares,
                edges,
                color=color,
                linewidth=1.8,
                linestyle="-" if label else "--",
                label=f"{name}: {len(mine):,}",
            )
        threshold = f"threshold {candidate.threshold:.3f}"
        axes.axvline(candidate.threshold, color=INK, linewidth=1.2, linestyle=":", label=threshold)
        axes.set_xlim(edges[0], edges[-1])
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        legend_below(figure, axes, columns=3)
    save(figure, path)


def plot_confusion(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw who was called what, for the candidate, and beside it the champion and boosting; arguments as above."""
    shown = {name: models[name] for name in MATRICES if name in models and models[name].usable and len(labels)}
    width, height = MATRIX_INCHES
    figure, panels = canvases(max(1, len(shown)), size=(max(2, len(shown)) * width, height))
    for axes, (name, scored) in zip(panels, shown.items(), strict=False):
        _matrix(axes, LOOKS[name].label, labels, scored)
    if not shown:
        dress(panels[0], "Decisions on test")
        say(panels[0], why_nothing(labels))
    save(figure, path)


def _matrix(axes: Axes, name: str, labels: np.ndarray, scored: Scored) -> None:
    cells = np.array(
        [[int(((labels == truth) & (scored.decisions == call)).sum()) for call in (0, 1)] for truth in (0, 1)]
    )
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    ramp = LinearSegmentedColormap.from_list("ramp", ["#ffffff", BLUE])
    dress(axes, name, "called", "in truth")
    axes.grid(visible=False)
    axes.imshow(shares, cmap=ramp, vmin=0, vmax=1)
    words = ["other", "buyer"]
    axes.set_xticks([0, 1], words)
    axes.set_yticks([0, 1], words, rotation=90, va="center")
    for truth in (0, 1):
        for call in (0, 1):
            color = "#ffffff" if shares[truth, call] > DARK else INK
            text = f"{cells[truth, call]:,}\n{shares[truth, call]:.0%}"
            axes.text(call, truth, text, ha="center", va="center", fontsize=12, color=color)
