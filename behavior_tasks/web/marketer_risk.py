"""Risk: the list of unusual shoppers that was handed out in; its first rows with the reasons out.

The one thing to know: it is for those whom Airflow lets decide; who asks for it must be asked for that before.
"""

from collections.abc import Mapping
from typing import Any

from behavior_tasks.base.home import Home
from behavior_tasks.serve.risk_list import LIST
from behavior_tasks.serve.served import Served
from behavior_tasks.web.marketer_look import first_rows
from behavior_tasks.web.marketer_phrases import phrase
from behavior_tasks.web.view import View

SHOWN = 50
"""Shoppers on the page; the file holds them all."""


def risk_values(_home: Home, view: View, served: Served) -> dict[str, Any]:
    """Return what the page of risk shows of what was handed out."""
    facts = served.facts
    rows = [_row(view, row) for row in first_rows(served.folder / LIST, SHOWN)]
    looked_at = sum(facts["outcomes"].values())
    return {
        "facts": facts,
        "rows": rows,
        "looked_at": looked_at,
        "method": view.text(f"marketer.risk.by_{facts['method']}"),
    }


def _row(view: View, row: Mapping[str, str]) -> dict[str, Any]:
    why = [*row["rules"].split("; "), *row["phrases"].split("; ")]
    return {
        "rank": int(row["rank"]),
        "shopper": row["shopper"],
        "score": float(row["score"]),
        "at_stake": float(row["at_stake"]) if row["at_stake"] else None,
        "why": [phrase(view.language, one) for one in why if one],
    }
