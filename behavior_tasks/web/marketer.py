"""The marketer's page: the name of a part in; its template and all that it shows out.

The one thing to know: a part that a person may not see is neither made nor named in the navigation; who asks for one
must have been asked for their permission before.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from behavior_tasks.base.home import Home
from behavior_tasks.serve.risk_list import APPLICATION as RISK
from behavior_tasks.web.marketer_audiences import audience_values, audiences_values
from behavior_tasks.web.marketer_budget import budget_values
from behavior_tasks.web.marketer_campaigns import campaigns_values
from behavior_tasks.web.marketer_look import AUDIENCES, look_for, part_values
from behavior_tasks.web.marketer_products import demand_values, recommendations_values
from behavior_tasks.web.marketer_risk import risk_values
from behavior_tasks.web.view import View

PARTS: Mapping[str, str] = {
    "audiences": "",
    "budget": "/budget",
    "campaigns": "/campaigns",
    "recommendations": "/recommendations",
    "demand": "/demand",
    "risk": "/risk",
}
"""Parts in the navigation, and where each is below `/marketing`."""
FOR_DECIDERS = frozenset({"risk"})
"""Parts for who may decide (`Visitor.may_decide`)."""
_MAKERS: Mapping[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "audiences": (AUDIENCES, audiences_values),
    "audience": (AUDIENCES, audience_values),
    "budget": (AUDIENCES, budget_values),
    "campaigns": (AUDIENCES, campaigns_values),
    "recommendations": ("recommendations", recommendations_values),
    "demand": ("demand", demand_values),
    "risk": (RISK, risk_values),
}
"""Part → the application that it is about, and what it shows of that."""
WITHOUT_SERVED = frozenset({"campaigns"})
"""Parts that have something to show though nothing is handed out."""


def make_part(part: str, home: Home, view: View, *, now: datetime, **asked: Any) -> tuple[str, dict[str, Any]]:
    """Return a part's template and values.

    Args:
        part: its name, or `audience`, which is one of the lists.
        home: the state folder.
        view: who looks, and in which language.
        now: the time, with its zone.
        asked: what this part is asked beside.

    Raises:
        UserError: when there is nothing of what was asked for.
    """
    application, make = _MAKERS[part]
    look = look_for(home, application)
    values = part_values(home, view, look, now=now)
    if look.served is not None or part in WITHOUT_SERVED:
        values |= make(home, view, look.served, **asked)
    parts = {one: path for one, path in PARTS.items() if one not in FOR_DECIDERS or view.visitor.may_decide}
    place = "audiences" if part == "audience" else part
    # Of what is empty or damaged there is no figure that its own template could ask for.
    template = f"marketer_{part}.html" if values["is_there"] else "marketer.html"
    return template, {**values, "part": place, "parts": parts}
