"""What is told of an audience: one that is filled in; its size, worth, intervals and rule, as JSON facts, out.

The one thing to know: what an audience will bring is told of those who are contacted, never of the control.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import yaml

from behavior_tasks.serve.audiences_backtest import set_right
from behavior_tasks.serve.audiences_pick import Picked
from behavior_tasks.serve.audiences_profit import Estimate, worth_of
from behavior_tasks.serve.audiences_rules import Audience, Costs

CURVE_POINTS = 200
TOLD_ROWS = 10


def tell(picked: Picked, costs: Costs, checked: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the facts of one audience.

    Args:
        picked: the audience; its members may have a column `reason`.
        costs: what a contact costs and a purchase brings.
        checked: what `check_audience` says of the same audience one horizon ago; None: not known.
    """
    audience, members = picked.audience, picked.members
    contacted = picked.of_group("contact" if audience.contact else "leave")
    worth = worth_of(contacted, costs)
    probability = contacted["probability"].to_numpy(dtype=np.float64)
    right = None
    if checked is not None and len(contacted):
        found = set_right(worth.buyers.expected, float((probability * (1 - probability)).sum()), checked)
        if found is not None:
            most = float(len(contacted))
            right = {name: min(value, most) for name, value in zip(("expected", "lower", "upper"), found, strict=True)}
    return {
        "name": audience.name,
        "heading": audience.heading,
        "about": audience.about,
        "contact": audience.contact,
        "campaign": audience.drawn_for,
        "rule": rule_in_words(audience),
        "costs": costs.model_dump(),
        "fit": picked.fit,
        "elsewhere": picked.elsewhere,
        "note": picked.note,
        "members": len(members),
        "contacts": len(contacted),
        "control": len(picked.of_group("control")),
        "holdout": picked.holdout,
        "least_probability": _least(members, "probability"),
        "least_profit": _least(members, "profit"),
        "buyers": _estimate(worth.buyers),
        "amount": _estimate(worth.amount),
        "profit": _estimate(worth.profit),
        "checked": dict(checked) if checked else None,
        "set_right": right,
        "curve": _curve(picked),
        "first": _rows(contacted.head(TOLD_ROWS)),
    }


def rule_in_words(audience: Audience) -> str:
    """Return what the file says about who belongs to an audience, on one line.

    >>> rule_in_words(Audience(name="a", where={"visits": {"min": 3}}, top=5))
    '{where: {visits: {min: 3}}, top: 5}'
    """
    keys = ("where", "exclude", "rank_by", "top", "top_share", "contacts", "maximise_profit")
    told = {key: value for key, value in audience.model_dump(exclude_defaults=True).items() if key in keys}
    return yaml.safe_dump(told, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else asdict(estimate)


def _least(members: pd.DataFrame, column: str) -> float | None:
    least = members[column].min() if len(members) else float("nan")
    return None if pd.isna(least) else float(least)


def _curve(picked: Picked) -> dict[str, Any]:
    count = len(picked.curve)
    places = np.unique(np.linspace(0, max(count - 1, 0), min(count, CURVE_POINTS)).astype(np.int64))
    return {
        "of": picked.curve_of,
        "contacts": [int(place) + 1 for place in places],
        "values": [float(picked.curve[place]) for place in places],
    }


def _rows(members: pd.DataFrame) -> list[dict[str, Any]]:
    names = ("place", "shopper", "probability", "expected_amount", "profit", "reason")
    rows = members.reindex(columns=list(names)).to_dict("records")
    return [{str(name): None if pd.isna(value) else value for name, value in row.items()} for row in rows]
