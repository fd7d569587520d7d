"""The data report's plots: figures in, PNG out, each once on a light and once on a dark ground.

Colours are Okabe and Ito's, which colour-blind people can tell apart. A plot for which the log has nothing is left
out. Drawn without pyplot, so nothing is shared between processes or threads.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

SIZE_INCHES = (5.8, 3.7)
BAR_INCHES = 0.45
"""Height of a named bar with its space; a plot of few bars is low."""
DOTS_PER_INCH = 160
BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PINK = (
    *("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7"),
)
ACTION_COLORS = {
    "browse": SKY,
    "search": PINK,
    "click": BLUE,
    "favourite": YELLOW,
    "add_to_cart": ORANGE,
    "purchase": GREEN,
    "return": RED,
}
SPLITS = {"train": (SKY, "train"), "validation": (ORANGE, "val."), "test": (RED, "test")}
LOOKS = {
    "light": {"ground": "#ffffff", "ink": "#1f2933", "faint": "#d5dae0", "grey": "#8a939d"},
    "dark": {"ground": "#1c2127", "ink": "#dfe4ea", "faint": "#3b434c", "grey": "#9aa4af"},
}
ENGINEER = EngFormatter(sep="")
MOST_BARS = 800
"""Days drawn one by one; a longer log is drawn by month."""
Look = Mapping[str, str]


def draw_plots(figures: Mapping[str, Any], folder: Path) -> dict[str, dict[str, bytes]]:
    """Write the light plots as `<name>.png` and return all: name → `light` and `dark` → PNG bytes.

    Args:
        figures: what `report.json` holds.
        folder: made here.
    """
    folder.mkdir(parents=True)
    plots: dict[str, dict[str, bytes]] = {}
    for name, (wanted, draw) in PLOTS.items():
        if not wanted(figures):
            continue
        plots[name] = {look: _png(draw, figures, colors) for look, colors in LOOKS.items()}
        (folder / f"{name}.png").write_bytes(plots[name]["light"])
    return plots


def _png(draw: Callable[[Axes, Mapping[str, Any], Look], None], figures: Mapping[str, Any], look: Look) -> bytes:
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained", facecolor=look["ground"])
    axes = figure.add_subplot(facecolor=look["ground"])
    axes.tick_params(colors=look["ink"], labelsize=10.5)
    axes.xaxis.label.set(color=look["ink"], fontsize=11)
    axes.yaxis.label.set(color=look["ink"], fontsize=11)
    axes.spines[:].set_color(look["grey"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    draw(axes, figures, look)
    stream = BytesIO()
    figure.savefig(stream, format="png", facecolor=look["ground"], metadata={"Software": None})
    return stream.getvalue()


def _draw_days(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    """Stack the actions of every day; bands above say which days are predicted, ticks below which are empty."""
    days = figures["days"]
    by_month = len(days) > MOST_BARS
    rows = figures["periods"]["rows"] if by_month else days
    starts = [date.fromisoformat(row["start" if by_month else "day"]) for row in rows]
    places = mdates.date2num(starts)
    width = 28 if by_month else 1
    bottom = [0] * len(rows)
    for action in figures["actions"]:
        heights = [(row if by_month else row["actions"]).get(action, 0) for row in rows]
        color = ACTION_COLORS[action]
        label = action.replace("_", " ")
        axes.bar(places, heights, width, bottom, color=color, align="edge", linewidth=0, label=label)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xlim(places[0], mdates.date2num(starts[-1] + timedelta(days=width)))
    top = max(bottom)
    axes.set_ylim(0, top * 1.24)
    gaps = mdates.date2num([date.fromisoformat(day) for day in figures["gaps"]])
    if len(gaps):
        axes.plot(gaps + 0.5, [0] * len(gaps), "|", color=look["ink"], markersize=9, clip_on=False, label="no event")
    for split, (color, label) in SPLITS.items():
        windows = [window for window in figures["windows"] if window["split"] == split]
        if windows:
            start, end = mdates.datestr2num(windows[0]["start"]), mdates.datestr2num(windows[-1]["end"])
            axes.axvspan(start, end, 0.86, 0.98, color=color, alpha=0.35, linewidth=0)
            middle = ((start + end) / 2, top * 1.24 * 0.92)
            axes.text(*middle, label, color=look["ink"], fontsize=9, ha="center", va="center", clip_on=True)
            axes.vlines([mdates.datestr2num(w["start"]) for w in windows], 0, top * 1.215, colors=color, linewidth=0.6)
    locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_color(look["ink"])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.yaxis.set_major_formatter(ENGINEER)
    axes.set_ylabel("events a month" if by_month else "events a day")
    _legend(axes, look, columns=4, below=True)


def _draw_actions(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    actions = figures["actions"]
    names = [action.replace("_", " ") for action in actions]
    _bars(axes, names, list(actions.values()), [ACTION_COLORS[action] for action in actions], look)
    axes.set_xlabel("events")


def _draw_missing(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    rows = _with_values(figures)
    places = range(len(rows))
    for which, shift, color in (("before", 0.2, ORANGE), ("after", -0.2, BLUE)):
        shares = [row[f"missing_{which}"] / max(1, row[f"events_{which}"]) for row in rows]
        axes.barh([-p + shift for p in places], shares, 0.38, color=color, label=f"{which} cleaning")
        for place, share in zip(places, shares, strict=True):
            axes.text(share + 0.01, -place + shift, f"{share:.1%}", va="center", fontsize=9, color=look["ink"])
    axes.set_yticks([-p for p in places], [row["column"].replace("_", " ") for row in rows])
    axes.set_xlim(0, 1.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("events without a value, of those that should have one")
    _legend(axes, look, columns=2, below=True)


def _draw_amounts(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    bins = figures["amounts"]["bins"]
    edges = [bins[0]["low"], *(one["high"] for one in bins)]
    axes.stairs([one["after"] for one in bins], edges, fill=True, color=SKY, label="after")
    axes.stairs([one["before"] for one in bins], edges, color=RED, linewidth=1.6, linestyle="--", label="before")
    whole = figures["amounts"]["outliers"].get("whole_log") or {}
    for name, style in (("low", ":"), ("high", "-.")):
        bound = whole.get(name)
        if bound is not None and 1e-12 < bound < 1e15:
            shown = f"{bound:,.0f}" if bound >= 1000 else f"{bound:.3g}"
            axes.axvline(bound, color=look["ink"], linewidth=1.2, linestyle=style, label=f"{name} bound {shown}")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(ENGINEER)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1 else ENGINEER(value)))
    axes.set(xlabel="amount of a sale (log scale)", ylabel="sales (log scale)")
    axes.grid(color=look["faint"], linewidth=0.6)
    _legend(axes, look, columns=2, below=True)


def _draw_quarantine(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    rows = figures["quarantine"]
    names = [row["reason"].replace("_", " ") for row in rows]
    _bars(axes, names, [row["rows"] for row in rows], [look["grey"] if row["expected"] else RED for row in rows], look)
    axes.set_xlabel("rows (grey: expected of this kind of log)")


def _draw_shoppers(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    bins = [one for one in figures["shoppers"]["bins"] if one["shoppers"]]
    lows, widths = [one["low"] for one in bins], [one["high"] + 1 - one["low"] for one in bins]
    axes.bar(lows, [one["shoppers"] for one in bins], widths, align="edge", color=BLUE, edgecolor=look["ground"])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(0.7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(ENGINEER)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="events of a shopper (each bar twice as wide)", ylabel="shoppers")
    axes.grid(axis="y", color=look["faint"], linewidth=0.6)


def _draw_hours(axes: Axes, figures: Mapping[str, Any], look: Look) -> None:
    ramp = LinearSegmentedColormap.from_list("ramp", [look["ground"], SKY, BLUE, "#00263d"])
    image = axes.imshow(figures["hours"], cmap=ramp, aspect="auto", vmin=0)
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}" for hour in range(0, 24, 3)])
    axes.set_yticks(range(7), ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    axes.set_xlabel("hour, local time")
    axes.spines[:].set_visible(False)
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes, format=ENGINEER, pad=0.02)
    bar.ax.tick_params(colors=look["ink"], labelsize=10)
    bar.outline.set_visible(False)


def _bars(axes: Axes, names: list[str], values: list[int], colors: list[str], look: Look) -> None:
    """Draw horizontal bars, the first on top, each with its number."""
    places = [-n for n in range(len(names))]
    axes.barh(places, values, 0.7, color=colors)
    axes.set_yticks(places, names)
    most = max(values)
    for place, value in zip(places, values, strict=True):
        axes.text(value + most * 0.015, place, f"{value:,}", va="center", fontsize=10, color=look["ink"])
    axes.set_xlim(0, most * 1.25)
    axes.set_ylim(min(places) - 0.7, 0.7)
    assert isinstance(axes.figure, Figure)
    axes.figure.set_figheight(min(SIZE_INCHES[1], 0.9 + BAR_INCHES * len(names)))
    axes.xaxis.set_major_formatter(ENGINEER)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _legend(axes: Axes, look: Look, *, columns: int, below: bool) -> None:
    place = {"loc": "upper center", "bbox_to_anchor": (0.45, -0.2)} if below else {"loc": "best"}
    axes.legend(ncols=columns, fontsize=10, frameon=False, labelcolor=look["ink"], handlelength=1.4, **place)


def _with_values(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the columns that this log has at all."""
    return [row for row in figures["missing"] if row["in_log"]]


PLOTS: dict[str, tuple[Callable[[Mapping[str, Any]], Any], Callable[[Axes, Mapping[str, Any], Look], None]]] = {
    "events_per_day": (lambda figures: figures["days"], _draw_days),
    "actions": (lambda figures: figures["actions"], _draw_actions),
    "missing": (lambda figures: any(row["missing_before"] for row in _with_values(figures)), _draw_missing),
    "amounts": (lambda figures: figures["amounts"]["bins"], _draw_amounts),
    "quarantine": (lambda figures: figures["quarantine"], _draw_quarantine),
    "events_per_shopper": (lambda figures: figures["shoppers"]["bins"], _draw_shoppers),
    "hours": (lambda figures: figures["hours"], _draw_hours),
}
"""Name of a plot → whether there is anything to draw, and what draws it."""
