"""The page of risk: a day's table and facts in; one HTML file for the analyst who looks at the list out.

The one thing to know: the page says on top that a place on the list proves nothing, and that nobody is blocked by it.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.application_config import RiskMethod, RuleName
from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.figures import BLUE, GREY, RED, canvas, legend_below, say
from behavior_tasks.base.page import render_page
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.risk_list import TABLE, listed
from behavior_tasks.serve.risk_rules import RULES

PAGE = "page.html"
TEMPLATE = Path(__file__).with_name("risk.html")
SHOWN = 100
"""Shoppers on the page; the CSV has all of the list."""
METHOD_WORDS: dict[RiskMethod, str] = {
    "surprise": "the language model's surprise",
    "velocity": "the velocity rules",
    "forest": "an isolation forest over rules and surprise",
    "combined": "the velocity rules, with the language model's surprise as one more",
}


def write_page(folder: Path, facts: Mapping[str, Any], usual: np.ndarray, moment: Moment) -> None:
    """Write `page.html` beside the table.

    Args:
        folder: holds the table.
        facts: of the stage.
        usual: the reference's scores, rising.
        moment: when.
    """
    scores = pd.read_parquet(folder / TABLE, columns=["score"])["score"].to_numpy()
    values = {
        "as_of": moment.as_of.isoformat(),
        "banners": facts["banners"],
        "facts": facts,
        "method": METHOD_WORDS[facts["method"]],
        "shoppers": sum(facts["outcomes"].values()),
        "rows": _rows(listed(folder / TABLE).head(SHOWN)),
        "shown": SHOWN,
        "limits": [{"rule": rule_title(name), "limit": limit} for name, limit in facts["limits"].items()],
        "plot": _plot(scores, usual, facts["bar"]),
    }
    write_durably(folder / PAGE, render_page(TEMPLATE, values).encode())


def rule_title(name: RuleName) -> str:
    """Return a rule in words, without a number.

    >>> rule_title("purchases_per_hour")
    '… purchases within an hour'
    """
    return RULES[name].words.format(value="…")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    numbers = ("spent", "expected_amount", "at_stake")
    rows = table[["rank", "shopper", "score", "rules", "phrases", *numbers]].to_dict("records")
    return [
        {str(key): None if key in numbers and np.isnan(told) else told for key, told in row.items()} for row in rows
    ]


def _plot(scores: np.ndarray, usual: np.ndarray, bar: float | None) -> str:
    figure, axes = canvas("How unusual shoppers are", "score", "share of shoppers with a higher score")
    if bar is None or not len(scores) or not len(usual):
        say(axes, "Nobody to show.")
    else:
        for values, label, color, line in ((usual, "reference, days before", GREY, "--"), (scores, "now", BLUE, "-")):
            ordered = np.sort(values)
            above = 1 - np.arange(len(ordered)) / len(ordered)
            axes.step(ordered, above, where="pre", color=color, linestyle=line, label=label)
        axes.axvline(bar, color=RED, linestyle=":", label="a list begins above")
        axes.set_yscale("log")
        legend_below(figure, axes, columns=3)
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return base64.b64encode(image.getvalue()).decode("ascii")
