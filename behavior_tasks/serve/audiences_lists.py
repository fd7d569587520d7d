"""One list of one date: what was handed out in; members and facts of an audience, or of what a budget buys, out.

The one thing to know: such a list carries all that its lift will be measured by (cutoff, end, scores, costs), so it can
be kept as it is whatever becomes of the date that it was chosen from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

import pandas as pd
from pydantic import ValidationError

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.serve.audiences_budget import pick_budget
from behavior_tasks.serve.audiences_files import MEMBER_COLUMNS, MEMBERS
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.audiences_tell import tell
from behavior_tasks.serve.served import Served

FACTS = ("cutoff", "end", "horizon_days", "timezone", "method", "version", "identity_key", "holdout")
"""What a list carries of the facts of its date."""


@dataclass(frozen=True, kw_only=True)
class ChosenList:
    """One list, with all that was known of it when it was chosen."""

    application: ClassVar[str] = "audiences"
    as_of: date
    artifact: str
    """URI of the audiences that it was chosen from."""
    facts: Mapping[str, Any]
    """FACTS of that date."""
    told: Mapping[str, Any]
    """What `tell` gives."""
    members: pd.DataFrame
    """MEMBER_COLUMNS, best first."""

    @property
    def name(self) -> str:
        """Its audience; of a budget's list the campaign."""
        return str(self.told["name"])

    @property
    def campaign(self) -> str:
        """What its control was drawn for."""
        return str(self.told["campaign"])

    @property
    def end(self) -> datetime:
        """When its horizon is over, naive UTC."""
        return datetime.fromisoformat(self.facts["end"])


def named_list(served: Served, name: str) -> ChosenList:
    """Return an audience's list.

    Raises:
        UserError: when there is none of that name, with the nearest.
    """
    told = {one["name"]: one for one in served.facts["audiences"]}
    if name not in told:
        close = nearest(name, told)
        raise UserError(
            f"There is no audience {name} of {served.as_of}.",
            expected=", ".join(told),
            next_step=f"behavior audiences {close}" if close else "behavior audiences",
        )
    return _of(served, told[name], pd.read_parquet(served.folder / MEMBERS, filters=[("audience", "==", name)]))


def budget_list(served: Served, key: bytes, *, campaign: str, contacts: int | None, costs: Costs) -> ChosenList:
    """Return the list that a budget buys.

    Args:
        served: the audiences of a date.
        key: the identity key, of the same pseudonyms.
        campaign: what the control is drawn for, and the list's name.
        contacts: most that are contacted; None: as many as bring more than they cost.
        costs: what a contact costs and a purchase brings.

    Raises:
        UserError: when the campaign has no proper name, or a margin is given and the scores say no amounts.
    """
    try:
        picked = pick_budget(
            served, key, campaign=campaign, contacts=contacts, costs=costs, holdout=served.facts["holdout"]
        )
    except ValidationError:
        raise UserError(
            "That is no name for a campaign.",
            found=campaign,
            expected="small letters, digits, - and _, at most 40",
            next_step="--campaign spring-sale",
        ) from None
    members = picked.members.assign(audience=campaign, campaign=campaign)[list(MEMBER_COLUMNS)]
    return _of(served, tell(picked, costs, None), members)


def _of(served: Served, told: Mapping[str, Any], members: pd.DataFrame) -> ChosenList:
    facts = {name: served.facts[name] for name in FACTS}
    return ChosenList(as_of=served.as_of, artifact=served.artifact, facts=facts, told=told, members=members)
