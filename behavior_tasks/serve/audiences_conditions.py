"""Conditions on shoppers: YAML in; a tree that is asked of a table, and that knows whether anybody could meet it, out.

A condition is a range of one column, or `all`, `any` or `not` of others. The one thing to know: whether a tree can be
met is decided from the ranges alone, column by column, so a contradiction is found before any shopper is looked at.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import nearest

MOST_CASES = 4096
"""Combinations of alternatives up to which a contradiction is looked for."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a condition may be about."""

    description: str
    high: float = math.inf
    """Values lie between 0 and this."""
    truth: bool = False
    optional: bool = False
    """Whether a shopper may have none."""


COLUMNS: Mapping[str, Column] = {
    "probability": Column(description="that they buy within the horizon", high=1),
    "probability_quantile": Column(description="place by probability: 1 the most likely, 0 the least", high=1),
    "probability_rank": Column(description="place by probability, counted from 1"),
    "decision": Column(description="whether a purchase is predicted", high=1, truth=True),
    "expected_amount": Column(description="expected amount within the horizon", optional=True),
    "expected_amount_quantile": Column(description="place by expected amount: 1 the largest", high=1, optional=True),
    "expected_amount_rank": Column(description="place by expected amount, counted from 1", optional=True),
    "days_since_event": Column(description="days since the last event"),
    "days_since_purchase": Column(description="days since the last purchase", optional=True),
    "days_since_cart": Column(description="days since a product went into the cart and stayed there", optional=True),
    "open_carts": Column(description="products put into the cart and not bought since"),
    "visits": Column(description="days with an event"),
    "events": Column(description="events"),
    "past_purchases": Column(description="purchases (different instants)"),
    "past_spend": Column(description="amount of all purchases", optional=True),
    "past_spend_quantile": Column(description="place by past spend: 1 the largest", high=1, optional=True),
}
"""Every column that a condition may name."""


@dataclass(frozen=True)
class Region:
    """Which values of a column are meant: ranges (low, low is left out, high, high is left out), and none at all."""

    ranges: tuple[tuple[float, bool, float, bool], ...]
    missing: bool

    def meet(self, other: "Region") -> "Region":
        """Return what lies in both."""
        ranges = []
        for one, two in itertools.product(self.ranges, other.ranges):
            low, low_open = max((one[0], one[1]), (two[0], two[1]))
            high, closed = min((one[2], not one[3]), (two[2], not two[3]))
            if low < high or (low == high and not low_open and closed):
                ranges.append((low, low_open, high, not closed))
        return Region(tuple(ranges), self.missing and other.missing)

    @property
    def empty(self) -> bool:
        """Whether nothing is meant."""
        return not self.ranges and not self.missing


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A node of the tree; without children a range of one column."""

    kind: str
    """all, any, not or range."""
    children: tuple["Condition", ...] = ()
    column: str = ""
    low: float = -math.inf
    high: float = math.inf
    missing: bool = False
    """A range: whether exactly who has no value is meant."""

    def mask(self, table: pd.DataFrame) -> np.ndarray:
        """Say of each shopper whether they meet it, shape (shoppers,)."""
        if self.kind == "not":
            return ~self.children[0].mask(table)
        if self.kind in {"all", "any"}:
            masks = [child.mask(table) for child in self.children]
            start = np.full(len(table), self.kind == "all")
            return (np.logical_and if self.kind == "all" else np.logical_or).reduce([start, *masks])
        values = table[self.column].to_numpy(dtype=np.float64, na_value=np.nan)
        if self.missing:
            return np.isnan(values)
        return (values >= self.low) & (values <= self.high)

    def cases(self, *, negated: bool = False) -> list[dict[str, Region]] | None:
        """Return the alternatives in which it holds, each a region for some columns; None: too many to list."""
        if self.kind == "not":
            return self.children[0].cases(negated=not negated)
        if self.kind == "range":
            return [{self.column: self._region(negated)}]
        of = [child.cases(negated=negated) for child in self.children]
        if any(cases is None for cases in of):
            return None
        listed = [cases for cases in of if cases is not None]
        if (self.kind == "all") == negated:
            return [case for cases in listed for case in cases]
        return combine(listed)

    def _region(self, negated: bool) -> Region:
        column = COLUMNS[self.column]
        whole = _domain(column)
        if self.missing:
            told = Region(((-math.inf, True, math.inf, True),), False) if negated else Region((), True)
        elif negated:
            told = Region(((-math.inf, True, self.low, True), (self.high, True, math.inf, True)), True)
        else:
            told = Region(((self.low, False, self.high, False),), False)
        return whole.meet(told)


def _domain(column: Column) -> Region:
    ranges = (
        ((0.0, False, 0.0, False), (1.0, False, 1.0, False)) if column.truth else ((0.0, False, column.high, False),)
    )
    return Region(ranges, column.optional)


def combine(listed: Iterable[list[dict[str, Region]]]) -> list[dict[str, Region]] | None:
    """Return the cases in which one case of each list holds at once; None: too many to list."""
    found: list[dict[str, Region]] = [{}]
    for cases in listed:
        if len(found) * len(cases) > MOST_CASES:
            return None
        merged = [_both(one, two) for one, two in itertools.product(found, cases)]
        found = [case for case in merged if not any(region.empty for region in case.values())]
    return found


def _both(one: Mapping[str, Region], two: Mapping[str, Region]) -> dict[str, Region]:
    both = dict(one)
    for column, region in two.items():
        both[column] = both[column].meet(region) if column in both else region
    return both


def can_match(condition: Condition, *, without: Iterable[Condition] = ()) -> bool:
    """Whether anybody could meet a condition and none of the others."""
    parts = [condition.cases(), *(other.cases(negated=True) for other in without)]
    if any(part is None for part in parts):
        return True
    found = combine([part for part in parts if part is not None])
    return found is None or bool(found)


EVERYBODY = Condition(kind="all")


def read_condition(raw: Any, place: str, problems: list[str]) -> Condition:
    """Return the condition that YAML states; what is wrong is added to `problems`, with its place.

    Args:
        raw: None, or `{all: […]}`, `{any: […]}`, `{not: …}`, or columns with their ranges, which all must hold.
        place: where it stands, e.g. `likely-buyers.where`.
        problems: to add to.
    """
    if raw is None:
        return EVERYBODY
    if isinstance(raw, list):
        return _group("all", raw, place, problems)
    if not isinstance(raw, dict) or not raw:
        problems.append(f"{place}: {raw!r} is no condition; expected e.g. {{probability: {{min: 0.5}}}}")
        return EVERYBODY
    children = []
    for key, value in raw.items():
        inner = f"{place}.{key}"
        if key in {"all", "any"}:
            children.append(_group(str(key), value, inner, problems))
        elif key == "not":
            children.append(Condition(kind="not", children=(read_condition(value, inner, problems),)))
        elif key in COLUMNS:
            children.append(_range(str(key), value, inner, problems))
        else:
            close = nearest(str(key), [*COLUMNS, "all", "any", "not"])
            problems.append(f"{inner}: there is no such column" + (f"; did you mean {close}?" if close else ""))
    return children[0] if len(children) == 1 else Condition(kind="all", children=tuple(children))


def _group(kind: str, raw: Any, place: str, problems: list[str]) -> Condition:
    if not isinstance(raw, list) or not raw:
        problems.append(f"{place}: expected a list of conditions")
        return EVERYBODY
    children = [read_condition(one, f"{place}[{number}]", problems) for number, one in enumerate(raw, start=1)]
    return Condition(kind=kind, children=tuple(children))


def _range(name: str, raw: Any, place: str, problems: list[str]) -> Condition:
    column = COLUMNS[name]
    if column.truth:
        if not isinstance(raw, bool):
            problems.append(f"{place}: {raw!r}; expected true or false")
            return EVERYBODY
        return Condition(kind="range", column=name, low=float(raw), high=float(raw))
    if not isinstance(raw, dict) or not raw:
        problems.append(f"{place}: {raw!r}; expected a range such as {{min: 1}}, {{max: 5}} or {{missing: true}}")
        return EVERYBODY
    for key in raw:
        if key not in {"min", "max", "missing"}:
            close = nearest(str(key), ["min", "max", "missing"])
            problems.append(
                f"{place}.{key}: unknown key; "
                + (f"did you mean {close}?" if close else "expected min, max or missing")
            )
    if "missing" in raw:
        return _missing(name, raw, place, problems)
    low, high = (_bound(raw, key, place, problems) for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        problems.append(f"{place}: min {low:g} is above max {high:g}, so it can never match")
        return EVERYBODY
    for key, bound in (("min", low), ("max", high)):
        if bound is not None and not 0 <= bound <= column.high:
            problems.append(f"{place}.{key}: {bound:g}; {name} lies between 0 and {column.high:g}")
            return EVERYBODY
    return Condition(
        kind="range",
        column=name,
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
    )


def _missing(name: str, raw: Mapping[str, Any], place: str, problems: list[str]) -> Condition:
    if not isinstance(raw["missing"], bool) or len(raw) > 1:
        problems.append(f"{place}: expected `missing: true` or `missing: false`, alone")
        return EVERYBODY
    if not COLUMNS[name].optional:
        problems.append(f"{place}.missing: every shopper has a {name}")
        return EVERYBODY
    without = Condition(kind="range", column=name, missing=True)
    return without if raw["missing"] else Condition(kind="not", children=(without,))


def _bound(raw: Mapping[str, Any], key: str, place: str, problems: list[str]) -> float | None:
    value = raw.get(key)
    if value is None and key not in raw:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        problems.append(f"{place}.{key}: {value!r} is no number")
        return None
    return float(value)
