"""The page of the audiences: facts in; one HTML file that a marketer opens, without a network, out.

The one thing to know: whatever must be known before a list is used stands above everything else.
"""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from behavior_tasks.base.few import told_count
from behavior_tasks.base.figures import BLUE, GREY, ORANGE, canvas, save
from behavior_tasks.base.page import render_page
from behavior_tasks.serve.audiences_simple import SIMPLE
from behavior_tasks.serve.audiences_small import shown_audience
from behavior_tasks.serve.banners import Banner

TEMPLATE = Path(__file__).with_name("audiences.html")
CURVE_INCHES = (5.4, 3.1)
UNITS = {"profit": "expected profit", "amount": "expected amount", "buyers": "expected buyers"}
METHODS = {"champion": "the champion", **SIMPLE, "random": "by luck"}


def write_page(path: Path, facts: Mapping[str, Any], banners: Sequence[Banner], *, least: int) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        facts: of the stage.
        banners: what stands on top.
        least: fewest people that anything is told of.
    """
    told = [shown_audience(one, least) for one in facts["audiences"]]
    plots = {one["name"]: plot_gains(one) for one in told if one["contact"] and one["curve"]["contacts"]}
    values = {**facts, "audiences": told, "banners": banners, "plots": plots, "methods": METHODS, "units": UNITS}
    page = render_page(TEMPLATE, values | {"least": least}, {"people": lambda number: told_count(number, least)})
    path.write_text(page, encoding="utf-8")


def plot_gains(audience: Mapping[str, Any]) -> str:
    """Return the PNG, base64, of what contacting ever more shoppers is expected to bring, and where the list ends."""
    curve, chosen = audience["curve"], audience["contacts"]
    unit = UNITS[curve["of"]]
    figure, axes = canvas("", "shoppers contacted", unit, size=CURVE_INCHES)
    axes.plot([0, *curve["contacts"]], [0, *curve["values"]], color=BLUE, linewidth=1.8)
    if chosen:
        reached = max((at for at in range(len(curve["contacts"])) if curve["contacts"][at] <= chosen), default=0)
        value = curve["values"][reached]
        axes.axvline(chosen, color=GREY, linewidth=1, linestyle="--")
        axes.plot([chosen], [value], color=ORANGE, marker="o", markersize=8)
        side = "left" if chosen < 0.6 * curve["contacts"][-1] else "right"
        axes.annotate(
            f"{chosen:,} contacts: {value:,.0f}",
            (chosen, value),
            xytext=(9, -14) if side == "left" else (-9, -34),
            textcoords="offset points",
            ha=side,
            fontsize=10,
        )
    axes.set_xlim(left=0)
    content = BytesIO()
    save(figure, content)
    return base64.b64encode(content.getvalue()).decode("ascii")
