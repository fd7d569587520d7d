"""The merchandiser's page: facts of the stage and the study in; one HTML page out.

Which method serves and why comes first, then every method's figures, then some lists. The one thing to know: nothing
is computed here; every figure stands in the facts, every list in the files beside the page.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.figures import BLUE, GREY, canvas, say
from behavior_tasks.base.page import render_page
from behavior_tasks.serve.recommend_lists import FILE
from behavior_tasks.serve.recommend_study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path(__file__).with_name("recommend.html")
EXAMPLES = 5
"""Shoppers whose lists are shown."""


def write_page(path: Path, facts: Mapping[str, Any], study: Study, folder: Path) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        facts: of the stage.
        study: what the choice rests on.
        folder: with the written lists.
    """
    values = {
        **facts,
        "examples": _examples(folder, int(facts["top"])),
        "tables": [
            (title, words, facts["study"][name]) for name, title, words in _TABLES if facts["study"][name] is not None
        ],
        "plot": _png(plot_methods(facts["study"]["reported"])),
        "has_study": study.reported is not None,
    }
    path.write_text(render_page(PAGE, values), encoding="utf-8")


_TABLES = (
    ("reported", "How good each method is", "On these days nothing was chosen and nothing was learned."),
    (
        "discovery",
        "Products that the shopper had never touched",
        "The same days; only products new to the shopper are recommended, and only they count.",
    ),
    ("chosen_on", "On which days the method was chosen", "The combination is learned here, from other shoppers."),
)


def _examples(folder: Path, top: int) -> list[dict[str, Any]]:
    """Return the lists of a few shoppers, spread over all."""
    file = pq.ParquetFile(folder / FILE)
    if not file.metadata.num_rows:
        return []
    groups = np.unique(np.linspace(0, file.num_row_groups - 1, EXAMPLES).astype(int))
    table = pd.concat([file.read_row_group(int(group)).to_pandas() for group in groups], ignore_index=True)
    shoppers = table["shopper"].unique()
    shown = shoppers[np.unique(np.linspace(0, len(shoppers) - 1, EXAMPLES).astype(int))]
    columns = ["rank", "product_id", "product_name", "method", "reason"]
    return [
        {"shopper": one, "rows": table.loc[table["shopper"] == one, columns].head(min(top, 10)).to_dict("records")}
        for one in shown
    ]


def plot_methods(exam: Mapping[str, Any] | None) -> "Figure":
    """Draw the NDCG@10 of every method with its interval, the one that serves in colour."""
    figure, axes = canvas("What shoppers then bought, found in the lists", "NDCG@10 (more is better)", size=(7.4, 3.8))
    if exam is None:
        say(axes, "Too little was bought to measure any method.")
        return figure
    rows = exam["methods"][::-1]
    for place, row in enumerate(rows):
        color, told = BLUE if row["served"] else GREY, row["ndcg"]
        axes.plot([told["lower"], told["upper"]], [place, place], color=color, linewidth=2.2)
        axes.plot(told["value"], place, "o" if row["served"] else "s", color=color, markersize=7)
    axes.set_yticks(np.arange(len(rows)), [f"{row['method']}{' (serves)' if row['served'] else ''}" for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0)
    return figure


def _png(figure: "Figure") -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")
