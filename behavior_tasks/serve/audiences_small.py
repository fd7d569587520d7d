"""Small audiences: what is told of an audience in; what may be shown of it, out.

Of a list with fewer people than may be told of, nothing is shown but that it is small: no size, no worth, no shopper.
The one thing to know: its files are kept inside the state folder all the same, so that every night can be repeated.
"""

from collections.abc import Mapping
from typing import Any

from behavior_tasks.base.few import is_few

HIDDEN: Mapping[str, Any] = {
    **dict.fromkeys(("contacts", "control", "members", "fit", "elsewhere", "least_probability")),
    **dict.fromkeys(("buyers", "amount", "profit", "checked", "set_right")),
    "first": (),
    "curve": {"of": "buyers", "contacts": [], "values": []},
}
"""In the place of what is not shown of a small list."""


def shown_audience(told: Mapping[str, Any], least: int) -> dict[str, Any]:
    """Return what may be shown of an audience; `is_small` says that this is nothing, a count of None that it is small.

    Args:
        told: what `tell` says.
        least: fewest people that anything may be told of.
    """
    if is_few(told["contacts"], least):
        return {**told, **{name: value for name, value in HIDDEN.items() if name in told}, "is_small": True}
    small = {name: None for name in ("control", "elsewhere") if name in told and is_few(told[name], least)}
    checked = told.get("checked")
    if checked is not None and is_few(checked["shoppers"], least):
        small |= {"checked": None, "set_right": None}
    return {**told, **small, "is_small": False}
