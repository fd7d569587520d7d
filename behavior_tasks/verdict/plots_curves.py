"""Curves over all thresholds: precision and recall, ROC, F1, and gains, of every model at once.

In come labels and answers; out comes one PNG each. The one thing to know: a marker stands where a model's own threshold
lies, which was chosen on validation, so it need not be the best place on the curve.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from behavior_tasks.base.figures import GREY, canvas, legend_below, save, say
from behavior_tasks.verdict.metrics import Scored
from behavior_tasks.verdict.plots_look import LOOKS, Models, drawable, why_nothing

GAINS_AT = (0.01, 0.05, 0.10)
"""Shares of the examples at which gains are told in figures elsewhere."""
WITHOUT_RANKING = "prior"
"""It gives everybody the same probability, so over thresholds it has a single point."""


def plot_precision_recall(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw precision over recall of each usable model, its threshold as a marker, and the prevalence as a line.

    Args:
        path: the PNG to write.
        labels: 0 or 1, (n,).
        models: answers (n,) by name.
    """
    figure, axes = canvas("Precision and recall on test", "recall: share of buyers found", "precision")
    shown = drawable(labels, models)
    for name, scored in shown.items():
        precision, recall, thresholds = precision_recall_curve(labels, scored.probabilities)
        place = int(np.searchsorted(thresholds, scored.threshold))
        # The curve's last point stands for calling nobody a buyer; it gets no marker.
        marked = [place] if place < len(thresholds) else []
        score = f"AP {average_precision_score(labels, scored.probabilities):.3f}"
        _curve(axes, name, recall, precision, score, marked=marked, steps="steps-post")
    if shown:
        prevalence = float(np.mean(labels))
        axes.axhline(prevalence, color=GREY, linewidth=1, label=f"share of buyers {prevalence:.3f}")
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
        legend_below(figure, axes)
    else:
        say(axes, why_nothing(labels))
    save(figure, path)


def plot_roc(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw the share of buyers found over the share of others called buyers; arguments as above."""
    figure, axes = canvas("ROC on test", "share of the others called buyers", "share of buyers found")
    both = bool(labels.any()) and not bool(labels.all())
    shown = drawable(labels, models) if both else {}
    for name, scored in shown.items():
        others, found, thresholds = roc_curve(labels, scored.probabilities, drop_intermediate=False)
        # Thresholds fall: the last that is not below the model's own.
        marked = [int(np.searchsorted(-thresholds, -scored.threshold, side="right")) - 1]
        _curve(axes, name, others, found, f"AUC {roc_auc_score(labels, scored.probabilities):.3f}", marked=marked)
    if shown:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="chance")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        legend_below(figure, axes)
    else:
        say(axes, why_nothing(labels) if not labels.all() else "Every example of the test is a buyer.")
    save(figure, path)


def plot_f1_threshold(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw F1 over the threshold, the model's own as a marker; arguments as above."""
    figure, axes = canvas("F1 against the threshold, on test", "threshold", "F1")
    shown = {name: scored for name, scored in drawable(labels, models).items() if name != WITHOUT_RANKING}
    top = 0.05
    for name, scored in shown.items():
        precision, recall, thresholds = precision_recall_curve(labels, scored.probabilities)
        total = np.maximum(precision[:-1] + recall[:-1], np.finfo(float).tiny)
        f1 = 2 * precision[:-1] * recall[:-1] / total
        here = _f1_at(labels, scored)
        _curve(axes, name, thresholds, f1, f"F1 {here:.3f} at {scored.threshold:.3f}")
        look = LOOKS[name]
        axes.plot(scored.threshold, here, look.marker, color=look.color, markersize=9, markeredgecolor="white")
        top = max(top, float(thresholds.max()), min(1.0, scored.threshold))
    if shown:
        axes.set(xlim=(0, min(1.0, top * 1.03)), ylim=(0, None))
        legend_below(figure, axes)
    else:
        say(axes, why_nothing(labels))
    save(figure, path)


def plot_gains(path: Path, labels: np.ndarray, models: Models) -> None:
    """Draw the share of buyers found over the share of examples, most probable first; arguments as above."""
    figure, axes = canvas("Gains on test", "share of examples, most probable first", "share of buyers found")
    shown = drawable(labels, models)
    for name, scored in shown.items():
        called, found = gains(labels, scored.probabilities)
        tenth = float(np.interp(GAINS_AT[-1], called, found))
        _curve(axes, name, called, found, f"{tenth:.0%} in {GAINS_AT[-1]:.0%}")
    if shown:
        prevalence = float(np.mean(labels))
        axes.plot([0, prevalence, 1], [0, 1, 1], color=GREY, linewidth=1, linestyle="--", label="perfect order")
        for share in GAINS_AT:
            axes.axvline(share, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        legend_below(figure, axes)
    else:
        say(axes, why_nothing(labels))
    save(figure, path)


def gains(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of examples called and the share of buyers found, most probable first, from (0, 0) to (1, 1).

    Equal probabilities come together, so that no order among them counts.

    >>> gains(np.array([1, 0, 0, 1]), np.array([0.9, 0.5, 0.5, 0.1]))
    (array([0.  , 0.25, 0.75, 1.  ]), array([0. , 0.5, 0.5, 1. ]))
    """
    _, place = np.unique(-probabilities, return_inverse=True)
    called, found = np.bincount(place), np.bincount(place, weights=labels)
    return np.append(0, np.cumsum(called) / len(labels)), np.append(0, np.cumsum(found) / labels.sum())


def _f1_at(labels: np.ndarray, scored: Scored) -> float:
    return float(2 * (scored.decisions & (labels == 1)).sum() / (scored.decisions.sum() + labels.sum()))


def _curve(
    axes: Axes,
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    score: str,
    *,
    marked: list[int] | None = None,
    steps: str = "default",
) -> None:
    look = LOOKS[name]
    line = axes.plot(x, y, color=look.color, linestyle=look.line, label=f"{look.label} ({score})")[0]
    line.set(linewidth=1.8, drawstyle=steps, marker=look.marker, markersize=9, markeredgecolor="white")
    line.set_markevery(marked or [])
