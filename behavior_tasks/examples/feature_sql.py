"""What a feature is, and the few SQL phrases that the table of features is written in.

In come conditions and columns, out come SQL expressions over one level of a shopper's history (see `history`).
Sums run over whole numbers and what is undefined is NULL, so no feature depends on the order of the events.
"""

from dataclasses import dataclass
from typing import Literal

DAY = 86_400_000_000
"""Microseconds in a day of 24 hours."""
SECOND = 1_000_000
"""Microseconds in a second."""
SESSION_GAP = 30 * 60 * SECOND
"""Microseconds of silence after which the next event begins a new session."""
UNITS = 10_000
"""Prices and amounts are added as whole ten-thousandths."""
UNKNOWN = "unknown"
"""What `clean` writes for a missing category or gender; it is no category and no gender."""
HALF_LIFE_DAYS = 30
"""Days after which an event counts half in what fades with time."""
FADING_UNITS = 1_000_000
"""Fading weights are added as whole millionths."""

Level = Literal["events", "products", "categories", "brands", "hours", "weekdays", "product"]
"""What the rows are that a feature's SQL reads. All but `product`, which belongs to the unit shopper_product and
is a single row, are aggregated per shopper and cutoff; `history` explains their columns."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One row of the table of features."""

    name: str
    description: str
    sql: str
    """Aggregate over the rows of its level; over `product` a plain expression."""
    over: Level = "events"
    in_text: bool = False
    """Whether it becomes a word of the text too; the others say nearly the same as one that does."""
    window_days: int | None = None
    """Window it is taken over; left out when the lookback is no longer, for it would repeat another feature."""
    categorical: bool = False
    """Whether it is a word instead of a number."""


def only(value: str, condition: str) -> str:
    """The value where a condition holds, else NULL, which every aggregate leaves out.

    The same as FILTER behind the aggregate, but several times as fast when there are a hundred of them.
    """
    return f"CASE WHEN {condition} THEN {value} END"


def count(condition: str, days: int | None = None) -> str:
    """Count events, 0 without any."""
    return number(f"count({only('1', f'ago IS NOT NULL AND {condition}{within(days)}')})")


def within(days: int | None) -> str:
    """Condition, to be put behind another, that an event is no older than so many days.

    >>> within(None), within(1)
    ('', ' AND ago <= 86400000000')
    """
    return f" AND ago <= {days * DAY}" if days else ""


def in_days(microseconds: str) -> str:
    """Turn microseconds into days."""
    return f"CAST({microseconds} AS DOUBLE) / {DAY}"


def number(expression: str) -> str:
    """Turn a whole number into a DOUBLE, before anything is divided."""
    return f"CAST({expression} AS DOUBLE)"


def money(units: str) -> str:
    """Turn ten-thousandths into a price."""
    return f"CAST({units} AS DOUBLE) / {UNITS}"


def total(units: str, condition: str, days: int | None = None) -> str:
    """Sum of prices or amounts: 0 without such events, NULL when none of them has a known price."""
    known = money(f"sum({only(units, condition + within(days))})")
    return f"CASE WHEN {count(condition, days)} = 0 THEN 0.0 ELSE {known} END"


def ratio(top: str, bottom: str) -> str:
    """Divide; NULL by zero."""
    return f"({top}) / nullif({bottom}, 0.0)"


def share(condition: str, of: str = "true") -> str:
    """Share of the events that meet a condition, among those that meet another."""
    return ratio(count(f"{of} AND {condition}"), count(of))


def share_of_rows(weight: str, condition: str) -> str:
    """Share of a level's rows that meet a condition, each counted `weight` times."""
    chosen = number(f"coalesce(sum({only(weight, condition)}), 0)")
    return ratio(chosen, number(f"sum({weight})"))


def variation(values: str, condition: str) -> str:
    """Standard deviation over the mean, of whole numbers; NULL for fewer than two of them.

    The variance times n² is n Σx² − (Σx)², which stays whole.
    """
    chosen = only(values, condition)
    n, one, two = f"count({chosen})", f"sum({chosen})", f"sum({only(f'{values} * {values}', condition)})"
    deviation = f"sqrt({number(f'{n} * ({two}) - ({one}) * ({one})')})"
    return f"CASE WHEN {n} >= 2 THEN {ratio(deviation, number(one))} END"


def top_share(weight: str) -> str:
    """Share of a level's row with the largest weight."""
    return ratio(number(f"max({weight})"), number(f"sum({weight})"))


def spread(weight: str) -> str:
    """Effective number of a level's rows: 1 / Σ share², the inverse Simpson index (Hill 1973, order 2).

    It is the exponential of an entropy (Rényi's, order 2) that needs no logarithm, so its sums stay whole.
    """
    return ratio(number(f"sum({weight}) * sum({weight})"), number(f"sum({weight} * {weight})"))
