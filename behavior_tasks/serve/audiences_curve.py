"""What every budget buys, added up beforehand: everybody who is scored in; the figures of any budget, at once, out.

Shoppers stand in the order in which a budget takes them, with running totals beside them, in a file for each order. The
one thing to know: the figures are those of `pick_budget` for the campaign that the control was drawn for, and asking
for one reads one row, however many shoppers there are.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.audiences_pick import Draw
from behavior_tasks.serve.audiences_profit import (
    EXACT_UP_TO,
    Estimate,
    Worth,
    amount_estimate,
    amount_moments,
    buyers_estimate,
    many_buyers,
    worth_with,
)
from behavior_tasks.serve.audiences_rules import Costs

CAMPAIGN = "budget"
"""What the control of a budget's list is drawn for, unless somebody names another campaign."""
Order = Literal["probability", "amount"]
ROW = np.dtype(
    [
        ("value", "<f8"),
        ("contacts", "<u4"),
        ("buyers", "<f8"),
        ("buyers_variance", "<f8"),
        ("amount", "<f8"),
        ("amount_variance", "<f8"),
    ]
)
"""A shopper: what they are ordered by (probability, or expected amount); then running totals of those of them and
before them who are contacted. Amounts are NaN where the scores say none."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a budget buys."""

    worth: Worth
    """Of those who are contacted."""
    control: int
    """Shoppers who would be on the list and are not contacted."""
    wanted: int | None
    """The contacts that were asked for; None: as many as bring more than they cost."""
    most: int
    """Everybody who could be contacted."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Everybody who is scored, in the order in which a budget takes them."""

    rows: np.ndarray
    """ROW, shape (scored,)."""

    @classmethod
    def load(cls, folder: Path, costs: Costs) -> Self:
        """Return the curve of what these costs order shoppers by; it is mapped, not read.

        Args:
            folder: of the audiences of a date.
            costs: what a contact costs and a purchase brings.

        Raises:
            UserError: when that date was handed out without it, or a margin is given and the scores say no amounts.
        """
        order: Order = "amount" if costs.value_of_sale is None and _file(folder, "amount").exists() else "probability"
        if costs.margin is not None and order != "amount":
            raise UserError(
                "A margin needs amounts, and the scores of this date say none.",
                next_step="give what one purchase brings instead of a margin",
            )
        try:
            rows = np.load(_file(folder, order), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise UserError(
                "The audiences of this date were handed out before budgets were added up.",
                next_step="behavior score hands them out anew",
            ) from None
        return cls(rows=rows)

    @property
    def most(self) -> int:
        """Everybody who could be contacted."""
        return int(self.rows["contacts"][-1]) if len(self.rows) else 0

    def ask(self, contacts: int | None, costs: Costs) -> Budget:
        """Return what a budget buys; the figures of the list that `pick_budget` gives.

        Args:
            contacts: most that are contacted; None: no limit.
            costs: what a contact costs and a purchase brings.
        """
        taken = len(self.rows)
        if costs.margin is not None or costs.value_of_sale is not None:
            taken = bisect_left(range(taken), True, key=lambda place: self._gain(place, costs) <= 0)
        if contacts is not None:
            reached = bisect_left(range(taken), contacts, key=lambda place: int(self.rows[place]["contacts"]))
            taken = min(taken, reached + 1)
        return Budget(worth=self._worth(taken, costs), control=self._control(taken), wanted=contacts, most=self.most)

    def points(self, count: int) -> list[tuple[int, float, float | None]]:
        """Return contacts, expected buyers and expected amount (None: none is said) at so many places, evenly spread.

        Args:
            count: at most so many.
        """
        places = np.unique(np.linspace(0, max(len(self.rows) - 1, 0), min(count, len(self.rows))).astype(np.int64))
        rows = self.rows[places]
        return [
            (int(row["contacts"]), float(row["buyers"]), None if np.isnan(row["amount"]) else float(row["amount"]))
            for row in rows
        ]

    def _gain(self, place: int, costs: Costs) -> float:
        worth = costs.margin if costs.margin is not None else costs.value_of_sale
        assert worth is not None  # asked only with one of them
        return worth * float(self.rows[place]["value"]) - costs.contact_cost

    def _control(self, taken: int) -> int:
        return taken - int(self.rows[taken - 1]["contacts"]) if taken else 0

    def _worth(self, taken: int, costs: Costs) -> Worth:
        if not taken:
            nothing = Estimate(expected=0.0, lower=0.0, upper=0.0)
            return worth_with(0, nothing, nothing, costs)
        last = self.rows[taken - 1]
        contacts = int(last["contacts"])
        if contacts <= EXACT_UP_TO:
            buyers = buyers_estimate(self._probabilities(taken))
        else:
            buyers = many_buyers(contacts, float(last["buyers"]), float(last["buyers_variance"]))
        has_amounts = not np.isnan(last["amount"])
        amount = amount_estimate(float(last["amount"]), float(last["amount_variance"])) if has_amounts else None
        return worth_with(contacts, buyers, amount, costs)

    def _probabilities(self, taken: int) -> np.ndarray:
        """Return those of the contacted, shape (contacts,)."""
        rows = self.rows[:taken]
        is_contact = np.diff(rows["contacts"].astype(np.int64), prepend=0) == 1
        return np.diff(rows["buyers"], prepend=0.0)[is_contact]


def write_curves(folder: Path, table: pd.DataFrame, *, holdout: float, draw: Draw) -> None:
    """Write the curves beside the audiences.

    Args:
        folder: of the audiences.
        table: what `with_ranks` gives: everybody who is scored.
        holdout: share of the control.
        draw: who belongs to it.
    """
    moments = amount_moments(table)
    # The order of `pick_all`: by probability first, so that equals stay as they are there.
    some = np.argsort(table["probability_rank"].to_numpy(), kind="stable")
    drawn = (
        draw(CAMPAIGN, table["shopper"].iloc[some].tolist(), holdout) if holdout else np.zeros(len(some), dtype=bool)
    )
    probability = table["probability"].to_numpy(dtype=np.float64)[some]
    amounts = None if moments is None else (moments[0][some], moments[1][some])
    values: Sequence[tuple[Order, np.ndarray]] = [("probability", probability)]
    values = values if amounts is None else [*values, ("amount", amounts[0])]
    for order, value in values:
        place = np.argsort(-value, kind="stable")
        contacted = ~drawn[place]
        rows = np.empty(len(place), dtype=ROW)
        rows["value"], rows["contacts"] = value[place], np.cumsum(contacted)
        chance = probability[place] * contacted
        rows["buyers"], rows["buyers_variance"] = np.cumsum(chance), np.cumsum(chance * (1 - chance))
        for number, name in enumerate(("amount", "amount_variance")):
            rows[name] = np.nan if amounts is None else np.cumsum(amounts[number][place] * contacted)
        np.save(_file(folder, order), rows, allow_pickle=False)


def _file(folder: Path, order: Order) -> Path:
    return folder / f"budget-{order}.npy"
