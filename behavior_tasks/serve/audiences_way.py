"""Whose chances the lists rest on: the comparison and the way of the night before in; champion, RFM or recency out.

The first choice goes to whoever found most buyers, a tie between champion and a simple way to the simple one. The one
thing to know: after that a way stays, as long as the champion is the same version, until another one is better beyond
chance, so that lists don't change their kind from night to night by luck.
"""

import logging
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.serve.audiences_backtest import MODEL, best_simple, champion_wins, main_list, surely_more
from behavior_tasks.serve.audiences_simple import SIMPLE
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


def choose_way(compared: Mapping[str, Any], champion: str, before: Way | None) -> Way:
    """Return the way that a comparison speaks for.

    Args:
        compared: what `compare_methods` gives.
        champion: name and version of the champion that was compared.
        before: the way of the night before; None, or that of another champion: it plays no part.
    """
    if before is None or before.champion != champion:
        method: Any = MODEL if champion_wins(compared) else best_simple(compared)
        return Way(method=method, champion=champion)
    found = main_list(compared)["methods"]
    better = [name for name in (*SIMPLE, MODEL) if surely_more(compared, name, before.method)]
    method = max(better, key=lambda name: found[name]["buyers"]["found"], default=before.method)
    return Way(method=method, champion=champion)


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
