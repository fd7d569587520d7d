"""Risk: the list of unusual shoppers that was handed out in; its first rows with the reasons out.

The one thing to know: it is for those whom Airflow lets decide; who asks for it must be asked for that before.
"""

import csv
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from behavior_tasks.base.home import Home
from behavior_tasks.serve.risk_list import APPLICATION, LIST
from behavior_tasks.web.marketer_audiences import part_values
from behavior_tasks.web.marketer_look import look_for
from behavior_tasks.web.marketer_phrases import phrase
from behavior_tasks.web.view import View

SHOWN = 50
"""Shoppers on the page; the file holds them all."""


def risk_values(home: Home, view: View, *, now: datetime) -> dict[str, Any]:
    """Return what the page of risk shows.

    Args:
        home: the state folder.
        view: whose language.
        now: the time, with its zone.
    """
    look = look_for(home, APPLICATION)
    values = part_values(home, view, look, now=now)
    if look.served is None:
        return values
    facts = look.served.facts
    with (look.served.folder / LIST).open(encoding="utf-8", newline="") as stream:
        rows = [_row(view, row) for row in islice(csv.DictReader(stream), SHOWN)]
    looked_at = sum(facts["outcomes"].values())
    return {
        **values,
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
