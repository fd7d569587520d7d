"""Picking: scores, facts and the rules in; who is on which list, in which order, and who is its control, out.

The one thing to know: audiences are filled in the order of the file; where `overlap` is `first`, who stands on a list,
or is its control, is on no list below it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from behavior_tasks.serve.audiences_profit import choose_contacts, expected_profit
from behavior_tasks.serve.audiences_rules import Audience, Audiences

Draw = Callable[[str, Sequence[str], float], np.ndarray]
"""`Holdout.drawn`: a campaign, shoppers and a share in; who belongs to the control out."""
Group = Literal["contact", "control", "leave"]
TABLE_COLUMNS = ("shopper", "probability", "decision", "expected_amount", "log_mean", "log_std")


@dataclass(frozen=True, kw_only=True)
class Picked:
    """One audience, filled."""

    audience: Audience
    members: pd.DataFrame
    """Best first: the columns of the table, `place` from 1, `group` (contact, control or leave) and, where it is known,
    `profit` of a contact."""
    fit: int
    """Shoppers that meet its conditions."""
    elsewhere: int
    """Of these, those that stand in an audience above."""
    note: str | None
    """Why it is empty."""
    holdout: float
    curve: np.ndarray
    """What contacting the first 1, 2, … of those who could be contacted is expected to bring, shape (candidates,)."""
    curve_of: Literal["profit", "amount", "buyers"]
    """In which unit."""

    def of_group(self, group: Group) -> pd.DataFrame:
        """Return those to contact, the control, or those to leave alone, best first."""
        return self.members[self.members["group"] == group]


def with_ranks(scores: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return one table for conditions: the scores, the facts, and the places among all who are scored.

    Args:
        scores: TABLE_COLUMNS, a row a shopper.
        facts: what `facts_at` gives for the same instant; who is not there is not scored.
    """
    table = scores[list(TABLE_COLUMNS)].merge(facts, on="shopper", how="inner").sort_values("shopper")
    table = table.reset_index(drop=True)
    for name in ("probability", "expected_amount", "past_spend"):
        table[f"{name}_rank"] = _ranks(table, name)
        table[f"{name}_quantile"] = (len(table) - table[f"{name}_rank"] + 0.5) / max(len(table), 1)
    return table


def _ranks(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return places from 1, the largest first; of equals the likelier, then by pseudonym; NaN where there is none."""
    values = table[name].to_numpy(dtype=np.float64)
    order = np.lexsort((table["shopper"].to_numpy(dtype=str), -table["probability"].to_numpy(), -values))
    ranks = np.empty(len(table))
    ranks[order] = np.arange(1, len(table) + 1)
    return np.where(np.isnan(values), np.nan, ranks)


def pick_all(rules: Audiences, table: pd.DataFrame, *, holdout: float, draw: Draw) -> list[Picked]:
    """Fill every audience.

    Args:
        rules: the file.
        table: what `with_ranks` gives.
        holdout: share of the control, where an audience names none.
        draw: who belongs to the control.
    """
    taken = np.zeros(len(table), dtype=bool)
    found = []
    for audience in rules.audiences:
        fits = audience.condition.mask(table)
        for excluded in rules.excluded_by(audience):
            fits &= ~excluded.mask(table)
        free = fits & ~taken if rules.overlap == "first" else fits
        share = holdout if audience.holdout is None else audience.holdout
        share = share if audience.contact else 0.0
        filled = _fill(rules, audience, table, np.flatnonzero(free), share=share, draw=draw)
        note = filled.note
        if note is None and not len(filled.members):
            note = _why_empty(int(fits.sum()), int(free.sum()))
        found.append(
            Picked(
                audience=audience,
                members=filled.members,
                fit=int(fits.sum()),
                elsewhere=int(fits.sum() - free.sum()),
                note=note,
                holdout=share,
                curve=filled.curve,
                curve_of=filled.curve_of,
            )
        )
        taken |= table["shopper"].isin(filled.members["shopper"]).to_numpy()
    return found


@dataclass(frozen=True, kw_only=True)
class _Filled:
    members: pd.DataFrame
    note: str | None
    curve: np.ndarray
    curve_of: Literal["profit", "amount", "buyers"]


def _fill(
    rules: Audiences, audience: Audience, table: pd.DataFrame, free: np.ndarray, *, share: float, draw: Draw
) -> _Filled:
    """Return the members of one audience, of those who are free for it."""
    order = free[np.argsort(table[f"{audience.rank_by}_rank"].to_numpy()[free], kind="stable")]
    some = table.iloc[order]
    drawn = draw(audience.drawn_for, some["shopper"].tolist(), share) if share else np.zeros(len(some), dtype=bool)
    profit, note = expected_profit(some, rules.costs_of(audience)), None
    worth, curve_of = _worth_of_contact(some, profit)
    chosen = np.arange(min(_most(audience, len(table)), len(order)))
    if audience.is_budget and audience.maximise_profit and profit is None:
        note = "what a contact brings is not known: give `costs` a margin (it needs amounts) or a value_of_sale"
        chosen = chosen[:0]
    elif audience.is_budget:
        chosen = choose_contacts(worth, drawn, audience.contacts, only_gains=audience.maximise_profit)
    first = np.argsort(-worth, kind="stable") if audience.is_budget else np.arange(len(order))
    group = np.where(drawn, "control", "contact") if audience.contact else np.full(len(order), "leave")
    members = some.assign(group=group, profit=np.nan if profit is None else profit).iloc[chosen]
    return _Filled(
        members=members.assign(place=np.arange(1, len(members) + 1)).reset_index(drop=True),
        note=note,
        curve=np.cumsum(worth[first][~drawn[first]]),
        curve_of=curve_of,
    )


def _most(audience: Audience, scored: int) -> int:
    if audience.top_share is not None:
        return round(audience.top_share * scored)
    return scored if audience.top is None else audience.top


def _worth_of_contact(
    some: pd.DataFrame, profit: np.ndarray | None
) -> tuple[np.ndarray, Literal["profit", "amount", "buyers"]]:
    """Return what a contact is counted at, and its unit: profit, else the expected amount, else the probability."""
    if profit is not None:
        return profit, "profit"
    amounts = some["expected_amount"].to_numpy(dtype=np.float64)
    if np.isnan(amounts).any():
        return some["probability"].to_numpy(dtype=np.float64), "buyers"
    return amounts, "amount"


def _why_empty(fit: int, free: int) -> str:
    if not fit:
        return "nobody meets its conditions today"
    return "all who fit stand in an audience above" if not free else "no contact is expected to bring what it costs"
