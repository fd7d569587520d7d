"""The curves of a training: its epochs in, one PNG out.

The purchase losses of train and validation share a panel, because both are cross-entropies of the same question;
every other figure has a panel and a scale of its own. Drawn without pyplot, so nothing is shared between threads.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from behavior_tasks.model.work_folder import Epoch, best_epoch

LOOKS = {"train": ("#0072B2", "o"), "validation": ("#D55E00", "s")}
"""Okabe and Ito's colours, which colour-blind people can tell apart, and a marker for those who see none."""
PANELS = (
    ("purchase loss (nats an example)", {"train": "purchase_loss", "validation": "validation_loss"}),
    ("next-token loss (nats a token)", {"train": "next_token_loss"}),
    ("amount loss (nats a buyer)", {"train": "amount_loss"}),
    ("average precision", {"validation": "validation_average_precision"}),
)
"""Title → curve → figure of an epoch."""
PANEL_INCHES = (4.2, 3.6)
DOTS_PER_INCH = 120


def plot_training(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw the losses and the average precision by epoch; a line marks the epoch that was kept.

    Args:
        path: the PNG to write.
        epochs: at least one, in order. What was not trained on is zero or None and gets no panel.
    """
    figures = [epoch.model_dump() for epoch in epochs]
    panels = [(title, curves) for title, curves in PANELS if any(f[key] for f in figures for key in curves.values())]
    best = best_epoch(epochs)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=DOTS_PER_INCH, layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for split, key in curves.items():
            color, marker = LOOKS[split]
            line = axes.plot([f["epoch"] for f in figures], [f[key] for f in figures], color=color, label=split)[0]
            line.set(linewidth=1.8, marker=marker, markersize=5)
        _dress(axes, title, f"kept: epoch {best.epoch}, AP {best.validation_average_precision:.3f}", best.epoch)
    figure.savefig(path, format="png", metadata={"Software": None})


def _dress(axes: Axes, title: str, kept: str, epoch: int) -> None:
    axes.axvline(epoch, color="#666666", linewidth=1, linestyle=":", label=kept)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("epoch", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, framealpha=0.9)
