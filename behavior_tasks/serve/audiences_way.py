"""The way of the night before: a date in; whose chances the lists before it rest on, where a comparison chose so, out.

The one thing to know: it is part of a date's key, so the same date, scored again after the same night, is the same.
"""

import logging
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import find_served, served_dates

APPLICATION = "audiences"
Method = Literal["champion", "recency", "rfm"]
log = logging.getLogger("behavior")


class Way(BaseModel):
    """A way that was chosen by comparison; `way` of the audiences' facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method
    champion: str
    """The champion that was compared: name and version."""


def way_before(home: Home, as_of: date) -> Way | None:
    """Return the way of the newest audiences before a date; None where there are none, or no comparison chose it."""
    days = [day for day in served_dates(home, APPLICATION) if day < as_of]
    try:
        served = find_served(home, APPLICATION, days[-1]) if days else None
    except UserError as damaged:
        log.warning("%s Whose chances the lists rest on is decided without it.", damaged.problem)
        return None
    told = served.facts.get("way") if served is not None else None
    return Way.model_validate(told) if told else None


def earlier_way(home: Home, inputs: dict[str, Artifact]) -> dict[str, str]:
    """Return what names the way of the night before (the shape of a row's `earlier`)."""
    way = way_before(home, Moment.load(inputs["moment"]).as_of)
    return {} if way is None else {"way of the night before": f"{way.method}, beside {way.champion}"}
