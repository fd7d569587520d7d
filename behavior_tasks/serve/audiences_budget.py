"""A budget asked of what was handed out: everybody who was scored in; the audience of most expected profit out.

The one thing to know: it reads the table of scores and facts that the audiences were filled from, so it answers at
once, and a campaign's control is the same shoppers as on any other day.
"""

import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.audiences_files import MEMBERS, TABLE
from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.serve.audiences_pick import Picked, pick_all
from behavior_tasks.serve.audiences_profit import amount_moments
from behavior_tasks.serve.audiences_rules import Audience, Audiences, Costs
from behavior_tasks.serve.served import Served


def pick_budget(
    served: Served, key: bytes, *, campaign: str, contacts: int | None, costs: Costs, holdout: float
) -> Picked:
    """Return the audience that a budget buys.

    Args:
        served: the audiences of a date.
        key: the identity key, of the same pseudonyms.
        campaign: what the control is drawn for.
        contacts: most that are contacted; None: as many as bring more than they cost.
        costs: what a contact costs and a purchase brings.
        holdout: share of the control.

    Raises:
        UserError: when a margin is given and the scores say no amounts.
    """
    audience = Audience(
        name=campaign,
        contacts=contacts,
        maximise_profit=costs.margin is not None or costs.value_of_sale is not None,
        costs=costs,
    )
    table = pd.read_parquet(served.folder / TABLE)
    if costs.margin is not None and amount_moments(table) is None:
        raise UserError(
            "A margin needs amounts, and the scores of this date say none.",
            next_step="--value-of-sale: what one purchase brings, instead of --margin",
        )
    (picked,) = pick_all(Audiences(audiences=[audience]), table, holdout=holdout, draw=Holdout(key).drawn)
    members = pd.read_parquet(served.folder / MEMBERS).drop_duplicates("shopper").set_index("shopper")["reason"]
    picked.members["reason"] = picked.members["shopper"].map(members)
    return picked
