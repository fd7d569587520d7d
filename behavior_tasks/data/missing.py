"""Missing values: which rule holds for which column, checked before any work, and the SQL that applies it.

In come the rules of `clean.missing` and the columns that the log has; out come SQL expressions over events. The
one thing to know: a rule looks only at events to which its column applies, so that a browse without an amount is
no missing value; and a text column that the log lacks altogether stays missing, for one word on every event says
nothing.

Rules that look at a shopper's other events (`forward_fill`, `interpolate`) never let a value of one side of a cutoff
reach an event before that cutoff.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from behavior_tasks.base.config import MissingRule
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.schema import EVENT_COLUMNS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS, SHOPPER_COLUMNS, order_sql
from behavior_tasks.data.parse import literal

SALE_SQL = "action IN ('purchase', 'return')"
DECIMALS = 6
"""Derived values are rounded, so that 2.55 x 6 is 15.3."""
AMOUNT = f"CASE WHEN {SALE_SQL} THEN round(price * quantity, {DECIMALS}) END"
PRICE = f"CASE WHEN {SALE_SQL} AND quantity > 0 THEN round(amount / quantity, {DECIMALS}) END"
QUANTITY = f"CASE WHEN {SALE_SQL} AND amount > 0 AND price > 0 THEN nullif(round(amount / price, {DECIMALS}), 0) END"
APPLIES: Mapping[str, str] = {
    "quantity": SALE_SQL,
    "price": SALE_SQL,
    "amount": SALE_SQL,
    "category": "product_id IS NOT NULL",
    "brand": "product_id IS NOT NULL",
    "product_name": "product_id IS NOT NULL",
    "query": "action = 'search'",
    "age": "true",
    "gender": "true",
}
"""Column → condition of the events that should have a value."""
FOLLOWS: Mapping[str, str] = {
    "quantity": "amount > 0 AND price > 0",
    "price": "amount IS NOT NULL AND quantity > 0",
    "amount": "price IS NOT NULL AND quantity IS NOT NULL",
}
"""Column → condition under which it follows from the two others."""
OF_THE_SHOPPER = frozenset({"query", "age", "gender"})
"""Columns whose last known value is the shopper's; all others are known of a shopper and a product."""
DECIMALS = 6
"""Interpolated values are rounded, as derived ones are."""
TYPES: Mapping[str, str] = {c.name: c.type for c in EVENT_COLUMNS}
NUMBERS: Mapping[str, tuple[float, float]] = {
    "quantity": (1e-9, 1e12),
    "price": (0, 1e12),
    "amount": (0, 1e12),
    "age": (0, 120),
}
"""Numeric columns with the range of a constant."""


def check_rules(rules: Mapping[str, MissingRule], present: Collection[str]) -> None:
    """Check the rules against the schema and the log.

    Args:
        present: optional columns with any value in the log.

    Raises:
        UserError: naming every rule that can't be applied.
    """
    problems = [problem for column, rule in rules.items() if (problem := _problem(column, rule, present))]
    if problems:
        raise UserError(
            f"{'A rule' if len(problems) == 1 else f'{len(problems)} rules'} for missing values can't be applied.",
            found="\n".join(problems),
            expected=f"rules for {', '.join(OPTIONAL_COLUMNS)}",
            next_step="change clean.missing in your configuration",
        )


def _problem(column: str, rule: MissingRule, present: Collection[str]) -> str:
    key = f"clean.missing.{column}"
    if column in REQUIRED_COLUMNS:
        return f"{key}: every event has a {column}; rows without one are in quarantine already"
    if column not in OPTIONAL_COLUMNS:
        close = nearest(column, OPTIONAL_COLUMNS)
        return f"{key}: there is no such column" + (f"; did you mean {close}?" if close else "")
    follows = column in FOLLOWS and set(FOLLOWS) - {column} <= set(present)
    if rule.rule == "drop" and column not in present and not follows:
        return f"{key}: the log has no {column} at all, so dropping would leave nothing"
    if rule.rule == "median" and column not in NUMBERS:
        return f"{key}: a word has no median; use constant, drop or keep"
    if rule.rule == "interpolate" and column not in NUMBERS:
        return f"{key}: between two words there is nothing; use forward_fill, constant, drop or keep"
    if rule.rule == "constant" and column in NUMBERS:
        low, high = NUMBERS[column]
        if not isinstance(rule.value, int | float) or not low <= rule.value <= high:
            return f"{key}: {rule.value!r} is no number from {low:g} to {high:g}"
    return ""


def active_rules(rules: Mapping[str, MissingRule], present: Collection[str], *, kind: str) -> dict[str, MissingRule]:
    """Return the rules of one kind that change something in this log, in the order of the schema."""
    return {
        column: rules[column]
        for column in OPTIONAL_COLUMNS
        if column in rules and rules[column].rule == kind and (column in present or column in NUMBERS)
    }


def constants(rules: Mapping[str, MissingRule]) -> dict[str, str]:
    """Return, by column, the SQL of the constant where an event lacks a value."""
    filled = {}
    for column, rule in rules.items():
        value = f"CAST({rule.value} AS {TYPES[column]})" if column in NUMBERS else literal(str(rule.value))
        filled[column] = f"CASE WHEN {lacks_sql(column)} THEN {value} END"
    return filled


def lacks_sql(column: str) -> str:
    """Return the condition of an event that should have a value, has none, and none follows from its others."""
    follows = FOLLOWS.get(column)
    known = f" AND NOT coalesce({follows}, false)" if follows else ""
    return f"({column} IS NULL AND {APPLIES[column]}{known})"


def fill_sequences_sql(
    rules: Mapping[str, MissingRule], relation: str, cutoffs: Sequence[datetime], id_column: str
) -> str:
    """Return a query: the relation's rows with the columns filled whose rule is `forward_fill` or `interpolate`.

    A missing value becomes the last known one of the same shopper (and the same product, for a column of a product),
    from events before it in the total order. `interpolate` then moves it in a straight line over time towards the
    next known one, as far as that lies before the next cutoff: an example at that cutoff must not see it otherwise.
    What has no known value before it stays missing. Each rule reads the values as they came in, not filled ones.

    Args:
        rules: by column; rules of other kinds are passed over.
        relation: what can stand after FROM, with whole histories and the columns of events.
        cutoffs: instants, naive UTC, before which no later value may be seen.
        id_column: `user_id`, or `shopper` when the ids are pseudonyms.
    """
    filled = {
        column: _sequence_sql(column, rule, cutoffs, id_column)
        for column, rule in rules.items()
        if rule.rule in {"forward_fill", "interpolate"}
    }
    if not filled:
        return f"SELECT * FROM {relation}"
    replaced = ", ".join(
        f"CASE WHEN {lacks_sql(column)} THEN {value} ELSE {column} END AS {column}" for column, value in filled.items()
    )
    return f"SELECT * REPLACE ({replaced}) FROM {relation}"


def _sequence_sql(column: str, rule: MissingRule, cutoffs: Sequence[datetime], id_column: str) -> str:
    """Return the SQL of the value that an event without one takes from its neighbours."""
    group = id_column if column in OF_THE_SHOPPER else f"{id_column}, product_id"
    columns = EVENT_COLUMNS if id_column == "user_id" else SHOPPER_COLUMNS
    order = f"{order_sql(columns)}, {column} NULLS FIRST"
    known_at = f"CASE WHEN {column} IS NOT NULL THEN timestamp END"
    before = f"PARTITION BY {group} ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    last = f"last_value({column} IGNORE NULLS) OVER ({before})"
    if rule.rule == "forward_fill":
        return last
    # Two events are on the same side of every cutoff exactly when as many cutoffs lie at or before each.
    side = " + ".join(["0", *(f"CAST(timestamp >= TIMESTAMP '{cutoff}' AS INTEGER)" for cutoff in cutoffs)])
    after = f"PARTITION BY {group}, {side} ORDER BY {order} ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
    following = f"first_value({column} IGNORE NULLS) OVER ({after})"
    since = f"epoch(timestamp - last_value({known_at} IGNORE NULLS) OVER ({before}))"
    left = f"epoch(first_value({known_at} IGNORE NULLS) OVER ({after}) - timestamp)"
    moved = f"{last} + ({following} - {last}) * coalesce({since} / nullif({since} + {left}, 0), 0)"
    digits = 0 if TYPES[column] == "INTEGER" else DECIMALS
    return f"CAST(coalesce(round({moved}, {digits}), {last}) AS {TYPES[column]})"
