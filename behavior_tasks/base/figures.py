"""Figures: what every plot of the project has in common, its colours, its canvas and how it is saved.

In come a size and what to draw; out comes a PNG, byte for byte the same for the same figures. The one thing to know:
pyplot is used nowhere, so nothing is shared between processes or threads.
"""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PINK = (
    *("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7"),
)
"""Okabe and Ito's colours, which colour-blind people can tell apart."""
INK, GREY, FAINT = "#1f2933", "#666666", "#dddddd"
SIZE_INCHES = (6.6, 4.6)
DOTS_PER_INCH = 150
"""Shown at about 600 pixels, letters of 11 points are as large as a page's text."""


def canvas(
    title: str = "", x: str = "", y: str = "", *, size: tuple[float, float] = SIZE_INCHES
) -> "tuple[Figure, Axes]":
    """Return a figure with one panel, dressed.

    Args:
        title: what it shows.
        x: name of the axis, with its unit.
        y: the same.
        size: width and height, inches.
    """
    figure, panels = canvases(1, size=size)
    dress(panels[0], title, x, y)
    return figure, panels[0]


def canvases(panels: int, *, size: tuple[float, float] = SIZE_INCHES) -> "tuple[Figure, list[Axes]]":
    """Return a figure with panels side by side, not dressed yet."""
    from matplotlib.figure import Figure  # takes a second to import, and not everybody who names a colour draws

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def dress(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Give a panel its title, names of axes, grid and sizes of letters."""
    axes.set_title(title, fontsize=12, color=INK)
    axes.set_xlabel(x, fontsize=11, color=INK)
    axes.set_ylabel(y, fontsize=11, color=INK)
    axes.tick_params(labelsize=10, colors=INK)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(GREY)


def legend_below(figure: "Figure", axes: "Axes", *, columns: int = 2) -> None:
    """Put a panel's legend below everything, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=10, frameon=False)


def say(axes: "Axes", words: str) -> None:
    """Write words into a panel that has nothing to show."""
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    place: dict[str, Any] = {"ha": "center", "va": "center", "wrap": True}
    axes.text(0.5, 0.5, words, transform=axes.transAxes, fontsize=12, color=INK, **place)


def save(figure: "Figure", path: Path | BytesIO) -> None:
    """Write the PNG, without what would tell one version of a library from another."""
    figure.savefig(path, format="png", metadata={"Software": None})
