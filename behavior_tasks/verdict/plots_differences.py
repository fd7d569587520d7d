"""Plots of differences: between groups of examples, and between the champion and the candidate.

In come figures with their intervals; out comes one PNG each. The one thing to know: an interval that holds the line
says that the difference may be chance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from behavior_tasks.base.figures import BLUE, GREY, INK, RED, SIZE_INCHES, canvas, legend_below, save, say
from behavior_tasks.verdict.metrics import Difference

MOST_SLICES = 30
"""Most slices that are drawn; the table of the report has all."""
LONGEST_VALUE = 24
ROW_INCHES, HEAD_INCHES = 0.27, 1.1


def plot_slices(path: Path, slices: Sequence[Mapping[str, Any]] | None, whole: float | None) -> None:
    """Draw the candidate's F1 of each slice, with its interval, beside that of the whole test.

    Args:
        path: the PNG to write.
        slices: `slice`, `value`, `examples`, `buyers`, `f1` and `f1_interval` each; what is undefined is None.
        whole: F1 of the whole test; None: undefined.
    """
    rows = list(slices or ())[:MOST_SLICES]
    names = len({row["slice"] for row in rows})
    height = max(SIZE_INCHES[1] * 0.6, HEAD_INCHES + ROW_INCHES * (len(rows) + names))
    figure, axes = canvas("F1 of groups of shoppers, on test", "F1", size=(SIZE_INCHES[0], height))
    if not rows:
        say(axes, "This run measured no groups of shoppers.")
        save(figure, path)
        return
    place, last, ticks = 0, None, []
    for row in rows:
        if row["slice"] != last:
            last, place = row["slice"], place + 1
            heading: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 10, "color": INK, "weight": "bold"}
            axes.text(-0.01, place, last.replace("_", " "), transform=axes.get_yaxis_transform(), **heading)
        place += 1
        # How many there are of a group that is too small to judge would tell of a handful of people.
        size = f"({row['examples']:,}, {row['buyers']:,})" if row["f1"] is not None else ""
        ticks.append((place, f"{_short(row['value'])}  {size}".rstrip()))
        _draw_slice(axes, place, row)
    if whole is not None:
        axes.axvline(whole, color=INK, linewidth=1.2, linestyle="--", label=f"whole test {whole:.3f}")
        axes.plot([], [], "o-", color=BLUE, label="group, with its interval")
        legend_below(figure, axes)
    axes.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(place + 0.8, 0.2)
    axes.set_xlim(0, None)
    axes.set_xlabel("F1; in brackets: examples, buyers")
    save(figure, path)


def _draw_slice(axes: Axes, place: int, row: Mapping[str, Any]) -> None:
    if row.get("f1") is None:
        axes.text(0.01, place, "too few to judge", va="center", fontsize=9, color=GREY)
        return
    interval = row.get("f1_interval")
    if interval and None not in interval:
        axes.plot(interval, [place, place], color=BLUE, linewidth=2, solid_capstyle="butt")
    axes.plot(row["f1"], place, "o", color=BLUE, markersize=6, markeredgecolor="white")


def plot_champion_difference(path: Path, differences: Mapping[str, Difference], champion: str | None, why: str) -> None:
    """Draw champion − candidate of each figure with its interval, or why there is nothing to compare.

    Args:
        path: the PNG to write.
        differences: name of the figure, in words → champion minus candidate, on the same examples.
        champion: its version; None: there is none.
        why: what stands in the panel when there are no differences.
    """
    title = "Champion − candidate on the same examples\n(with interval; hollow: may be chance)"
    figure, axes = canvas(title, size=(SIZE_INCHES[0], SIZE_INCHES[1] * 0.75))
    known = {name: d for name, d in differences.items() if np.isfinite([d.difference, d.lower, d.upper]).all()}
    if not known:
        say(axes, why)
        save(figure, path)
        return
    for place, difference in enumerate(known.values()):
        _draw_difference(axes, place, difference)
    axes.axvline(0, color=INK, linewidth=1.2)
    widest = max(max(abs(d.lower), abs(d.upper)) for d in known.values()) or 0.01
    axes.set_xlim(-1.35 * widest, 1.35 * widest)
    axes.set_yticks(range(len(known)), list(known))
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.set_xlabel(f"← the candidate is better        champion {champion} is better →")
    save(figure, path)


def _draw_difference(axes: Axes, place: int, difference: Difference) -> None:
    """Draw one row; the marker is hollow where zero lies within the interval."""
    behind = difference.difference > 0
    color, marker = (RED, "s") if behind else (BLUE, "o")
    face = color if difference.lower > 0 or difference.upper < 0 else "white"
    axes.plot([difference.lower, difference.upper], [place, place], color=color, linewidth=2.5)
    axes.plot(difference.difference, place, marker, color=color, markersize=9, markerfacecolor=face)
    text = f"{difference.difference:+.3f}".replace("-", "−")
    axes.annotate(text, (difference.upper, place), (6, 0), textcoords="offset points", va="center", fontsize=10)


def _short(value: object) -> str:
    text = str(value)
    # matplotlib reads what stands between dollar signs as a formula.
    text = text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
    return text.replace("$", r"\$")
