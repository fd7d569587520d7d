"""The curves of a training: its epochs in, two PNGs out, the losses and how well it did on validation.

The purchase losses of train and validation share a panel, because both are cross-entropies of the same question; every
other loss has a panel and a scale of its own. The one thing to know: a dotted line marks the epoch that was kept, which
is the best on validation and not the last.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from behavior_tasks.base.figures import BLUE, GREY, RED, canvas, canvases, dress, save
from behavior_tasks.model.work_folder import Epoch, best_epoch

LOOKS = {"train": (BLUE, "-", "o"), "validation": (RED, "--", "s")}
"""Colour, line and marker, so that they can be told apart without colours, too."""
PANELS = (
    ("purchase loss (nats an example)", {"train": "purchase_loss", "validation": "validation_loss"}),
    ("next-token loss (nats a token)", {"train": "next_token_loss"}),
    ("amount loss (nats a buyer)", {"train": "amount_loss"}),
)
"""Title → curve → figure of an epoch."""
PANEL_INCHES = (4.2, 3.6)


def plot_loss(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw the losses by epoch.

    Args:
        path: the PNG to write.
        epochs: at least one, in order. What was not trained on is zero or None and gets no panel.
    """
    figures = [epoch.model_dump() for epoch in epochs]
    panels = [(title, curves) for title, curves in PANELS if any(f[key] for f in figures for key in curves.values())]
    panels = panels or list(PANELS[:1])
    width, height = PANEL_INCHES
    figure, places = canvases(len(panels), size=(width * len(panels), height))
    for axes, (title, curves) in zip(places, panels, strict=True):
        dress(axes, title, "epoch")
        for split, key in curves.items():
            _curve(axes, split, [f["epoch"] for f in figures], [f[key] for f in figures])
        _mark(axes, epochs)
    save(figure, path)


def plot_learning_curve(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw the average precision on validation by epoch.

    Args:
        path: the PNG to write.
        epochs: at least one, in order.
    """
    figure, axes = canvas("Learning curve: average precision on validation", "epoch", "average precision")
    scores = [epoch.validation_average_precision for epoch in epochs]
    _curve(axes, "validation", [epoch.epoch for epoch in epochs], scores)
    _mark(axes, epochs)
    save(figure, path)


def _curve(axes: Axes, split: str, epochs: Sequence[int], values: Sequence[float | None]) -> None:
    color, style, marker = LOOKS[split]
    line = axes.plot(epochs, [float("nan") if v is None else v for v in values], color=color, label=split)[0]
    line.set(linewidth=1.8, linestyle=style, marker=marker, markersize=5)


def _mark(axes: Axes, epochs: Sequence[Epoch]) -> None:
    best = best_epoch(epochs)
    kept = f"kept: epoch {best.epoch}, AP {best.validation_average_precision:.3f}"
    axes.axvline(best.epoch, color=GREY, linewidth=1, linestyle=":", label=kept)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(fontsize=9, framealpha=0.9)
