"""The planner's page: the table of demand and the figures of the methods in; one HTML page out.

What to order comes first, then what will sell, then how well that could be told in the past. The one thing to know:
nothing is computed here but the order of rows; every figure stands in the files beside the page.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behavior_tasks.base.figures import BLUE, GREY, INK, ORANGE, canvas, say
from behavior_tasks.base.page import render_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path(__file__).with_name("demand.html")
SHOWN = 20
"""Products in the plot."""
LISTED = 100
"""Most rows of a list on the page."""
LETTERS = 34


def write_page(path: Path, table: pd.DataFrame, figures: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        table: with the columns of `demand_table.SCHEMA`.
        figures: what `measure` gives.
        facts: of the stage.
    """
    table = table.assign(expected=table["expected"].astype(float))
    products = table[table["level"] == "product"].sort_values(["expected", "product_id"], ascending=[False, True])
    categories = table[table["level"] == "category"].sort_values("expected", ascending=False)
    wanted = products[products["order"].fillna(0) > 0].sort_values(["days_left_pessimistic", "product_id"])
    values = {
        **facts,
        "total": _rows(table[table["level"] == "total"])[0],
        "products": _rows(products.head(LISTED)),
        "product_count": len(products),
        "categories": _rows(categories.head(LISTED)),
        "category_count": len(categories),
        "reorder": _rows(wanted.head(LISTED)),
        "reorder_count": len(wanted),
        "has_stock": bool(products["stock"].notna().any()),
        "without_stock": int((products["stock"].isna() & (products["expected"] >= 1)).sum()),
        "has_amounts": bool(products["expected_amount"].notna().any()),
        "measured": _rows(figures),
        "plots": {
            "products": _png(plot_products(products.head(SHOWN), facts)),
            "methods": _png(plot_methods(figures, str(facts["method"]))),
        },
    }
    path.write_text(render_page(PAGE, values), encoding="utf-8")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if not isinstance(value, str) and pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def plot_products(products: pd.DataFrame, facts: Mapping[str, Any]) -> "Figure":
    """Draw the products that will sell most, with their intervals and what the last horizon sold."""
    selling = products[products["expected"] > 0].iloc[::-1]
    size = (8.6, 1.6 + 0.27 * max(6, len(selling)))
    figure, axes = canvas(f"What will sell most in {facts['horizon_days']} days", str(facts["unit"]), size=size)
    if selling.empty:
        say(axes, "Nothing is expected to sell.")
        return figure
    places, expected = np.arange(len(selling)), selling["expected"].to_numpy()
    beyond = [expected - selling["lower"].to_numpy(), selling["upper"].to_numpy() - expected]
    axes.barh(places, expected, color=BLUE, height=0.62, label="expected")
    axes.errorbar(expected, places, xerr=beyond, fmt="none", ecolor=INK, capsize=2.5, elinewidth=1.1)
    axes.plot(selling["last_horizon"], places, "D", color=ORANGE, markersize=4.5, label="sold in the last horizon")
    names = selling["product_name"].where(selling["product_name"].notna(), selling["product_id"]).astype(str)
    axes.set_yticks(places, [name[:LETTERS] for name in names], fontsize=9, parse_math=False)
    axes.set_ylim(-0.6, len(selling) - 0.4)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    return figure


def plot_methods(figures: pd.DataFrame, served: str) -> "Figure":
    """Draw the WAPE of every method on products, with its interval; where the model was tried, on its windows."""
    figure, axes = canvas(
        "Error of every method on past horizons", "WAPE by product (smaller is better)", size=(7.4, 3.6)
    )
    if figures.empty or not figures["wape"].notna().any():
        say(axes, "The log is too short to try any method on its past.")
        return figure
    on = "model" if (figures["on"] == "model").any() else "all"
    rows = figures[(figures["on"] == on) & (figures["level"] == "product") & figures["wape"].notna()].iloc[::-1]
    for place, row in enumerate(rows.to_dict("records")):
        color = BLUE if row["method"] == served else GREY
        axes.plot([row["lower"], row["upper"]], [place, place], color=color, linewidth=2.2)
        axes.plot(row["wape"], place, "o" if row["method"] == served else "s", color=color, markersize=7)
    names = [f"{row['method']}{' (served)' if row['method'] == served else ''}" for row in rows.to_dict("records")]
    axes.set_yticks(np.arange(len(rows)), names)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    return figure


def _png(figure: "Figure") -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")
