"""Plots of the watch: the tables of some days in; figures over days, columns by day, and volume out, a PNG each.

The one thing to know: an error bar is a bootstrap interval by shopper, and a dashed line is what the same version had
at its own test.
"""

from pathlib import Path
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from behavior_tasks.base.figures import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    canvas,
    canvases,
    dress,
    legend_below,
    save,
    say,
)
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.watch.kept_day import SHADES

WIDE = (11.0, 4.2)
LOOKS = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (PINK, "D"), (ORANGE, "v"), (SKY, "P"))
"""Colour and marker of a version, in the order in which they served."""
UNITS = {"shopper": "shoppers", "shopper_product": "products of shoppers"}
SHOWN_FIGURES = {
    "demand": ("wape", "Demand: error (WAPE)", "Handed out for"),
    "recommendations": ("hit", "Recommendations: hit rate", "Handed out for"),
}
MOST_AUDIENCES = len(LOOKS)
MEASURES = {"f1": "F1", "average_precision": "Average precision", "ece": "Calibration error (ECE)"}
FEWEST_COLUMNS, MOST_COLUMNS = 8, 30
STEPS = tuple(zip((*SHADES, np.inf), ("#f3f5f7", "#c6dbef", "#6baed6", "#2171b5", "#08306b"), strict=True))
"""Stability index below which a field has which shade."""
LINES = dict(zip(ACTIONS, (GREY, SKY, BLUE, PINK, ORANGE, GREEN, RED), strict=True))


def plot_figure(path: Path, matured: pd.DataFrame, measure: str) -> None:
    """Draw one figure of what was served over the days, a panel a unit, a colour a version."""
    figure, panels = canvases(2, size=WIDE)
    for axes, (unit, words) in zip(panels, UNITS.items(), strict=True):
        dress(axes, f"{MEASURES[measure]}, {words}", "served for")
        rows = matured[(matured["unit"] == unit) & matured[measure].notna()]
        days = rows[rows["what"] == "day"]
        if not len(days):
            say(axes, "No served day of this kind\nhas matured yet.")
            continue
        for number, (version, mine) in enumerate(days.groupby("version", sort=False)):
            color, marker = LOOKS[number % len(LOOKS)]
            bars = [mine[measure] - mine[f"{measure}_lower"], mine[f"{measure}_upper"] - mine[measure]]
            looks: dict[str, Any] = {"color": color, "fmt": marker, "capsize": 2, "markersize": 4, "linewidth": 1}
            axes.errorbar(mine["as_of"], mine[measure], np.clip(bars, 0, None), label=f"version {version}", **looks)
            test = rows[(rows["what"] == "test") & (rows["version"] == version)]
            if len(test):
                axes.axhline(float(test[measure].iloc[-1]), color=color, linestyle="--", linewidth=1, label="its test")
        axes.set_ylim(bottom=0)
        _days(axes)
        axes.legend(fontsize=9, frameon=False)
    save(figure, path)


def plot_handed_out(path: Path, table: pd.DataFrame) -> None:
    """Draw what was handed out over the days, promised and real; of audiences the buyers for each expected one."""
    figure, panels = canvases(3, size=WIDE)
    judged = table[table["state"] == "judged"]
    for axes, (application, (name, title, x)) in zip(panels, SHOWN_FIGURES.items(), strict=False):
        dress(axes, title, x)
        rows = judged[(judged["application"] == application) & (judged["figure"] == name)]
        if not len(rows):
            say(axes, "Nothing of this kind\ncan be judged yet.")
            continue
        bars = np.clip([rows["value"] - rows["lower"], rows["upper"] - rows["value"]], 0, None)
        looks: dict[str, Any] = {"color": BLUE, "fmt": "o", "capsize": 2, "markersize": 4, "linewidth": 1}
        axes.errorbar(rows["as_of"], rows["value"], bars, label="what came", **looks)
        axes.plot(rows["as_of"], rows["promised"], color=INK, linestyle="--", marker="_", label="promised")
        if rows["rival"].notna().any():
            axes.plot(rows["as_of"], rows["rival"], color=ORANGE, marker="^", linewidth=1, label="naive")
        axes.set_ylim(bottom=0)
        _days(axes)
        axes.legend(fontsize=9, frameon=False)
    _audiences(panels[2], judged[(judged["application"] == "audiences") & (judged["figure"] == "buyers")])
    save(figure, path)


def _audiences(axes: Axes, rows: pd.DataFrame) -> None:
    dress(axes, "Audiences: buyers per expected one", "Handed out for")
    if not len(rows):
        say(axes, "Nothing of this kind\ncan be judged yet.")
        return
    largest = rows.groupby("about")["promised"].max().sort_values(ascending=False, kind="stable").index[:MOST_AUDIENCES]
    for name, (color, marker) in zip(largest, LOOKS, strict=False):
        mine = rows[rows["about"] == name]
        ratio = mine["value"] / mine["promised"]
        outside = (mine["value"] < mine["promised_lower"]) | (mine["value"] > mine["promised_upper"])
        axes.plot(mine["as_of"], ratio, color=color, marker=marker, markerfacecolor="white", linewidth=1, label=name)
        axes.plot(mine["as_of"][outside], ratio[outside], color=color, marker=marker, linestyle="")
    axes.axhline(1, color=INK, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    _days(axes)
    axes.legend(fontsize=8, frameon=False)


def plot_columns(path: Path, drift: pd.DataFrame) -> None:
    """Draw how far columns lay from the champion's test on each day: the farthest ones, a field a day."""
    names = drift["unit"].map({"shopper": "", "shopper_product": "product: "}) + drift["column"]
    table = drift.assign(name=names).pivot_table(index="name", columns="day", values="excess", aggfunc="last")
    farthest = table.max(axis=1).sort_values(ascending=False, kind="stable")
    shown = min(MOST_COLUMNS, max(FEWEST_COLUMNS, int((farthest >= STEPS[0][0]).sum())))
    table = table.loc[farthest.index[:shown]]
    figure, axes = canvas("Stability index above chance, by column and day", size=(WIDE[0], 1.6 + 0.24 * len(table)))
    if not len(table):
        say(axes, "No column has been compared yet.")
        save(figure, path)
        return
    limits = np.array([limit for limit, _ in STEPS])
    shades = np.searchsorted(limits, table.to_numpy(), side="right").astype(float)
    shades[table.isna().to_numpy()] = np.nan
    axes.imshow(shades, cmap=ListedColormap([color for _, color in STEPS]), vmin=0, vmax=len(STEPS) - 1, aspect="auto")
    axes.set_yticks(range(len(table)), table.index, fontsize=9)
    places = np.unique(np.linspace(0, table.shape[1] - 1, min(10, table.shape[1])).astype(int))
    axes.set_xticks(places, [f"{pd.Timestamp(table.columns[place]):%d %b}" for place in places], fontsize=9)
    axes.grid(visible=False)
    low = 0.0
    for limit, color in STEPS:
        label = f"{low:g} and more" if np.isinf(limit) else f"below {limit:g}" if not low else f"{low:g} to {limit:g}"
        axes.scatter([], [], color=color, marker="s", edgecolors=GREY, label=label)
        low = limit
    legend_below(figure, axes, columns=len(STEPS))
    save(figure, path)


def plot_volume(path: Path, traffic: pd.DataFrame) -> None:
    """Draw how many events of each action came on each day, on a logarithmic scale, with the days on which none did."""
    figure, axes = canvas("Events by day", "", "events, logarithmic", size=WIDE)
    if not len(traffic):
        say(axes, "The log has no whole day yet.")
        save(figure, path)
        return
    for action, color in LINES.items():
        if traffic[action].any():
            shown = traffic[action].where(traffic[action] > 0)
            axes.plot(traffic["day"], shown, color=color, linewidth=1.4, label=action.replace("_", " "))
    axes.set_yscale("log")
    if traffic["milliseconds"].any():
        shown = traffic["milliseconds"].where(traffic["milliseconds"] > 0)
        axes.plot(traffic["day"], shown, color=INK, linestyle=":", label="aside: in milliseconds")
    for day in traffic["day"][traffic["events"] == 0]:
        axes.axvspan(day - pd.Timedelta(hours=12), day + pd.Timedelta(hours=12), color=FAINT)
    _days(axes)
    legend_below(figure, axes, columns=4)
    save(figure, path)


def _days(axes: Axes) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))
