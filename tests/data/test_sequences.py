"""Missing values filled from a shopper's own earlier events, and never from beyond a cutoff."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from behavior_tasks.base.config import MissingRule
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import EVENT_COLUMNS, SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect
from behavior_tasks.data.missing import check_rules, fill_sequences_sql

START = datetime(2026, 3, 1)
Event = tuple[str, float, str, str | None, dict[str, object]]
"""Shopper, day, action, product, and what else is known."""


def fill(
    rules: dict[str, str], rows: Sequence[Event], *, cutoffs: Sequence[float] = (), id_column: str = "user_id"
) -> list[tuple[object, ...]]:
    """Return (shopper, day, the filled columns) in the order of shopper and time."""
    columns = EVENT_COLUMNS if id_column == "user_id" else SHOPPER_COLUMNS
    with connect() as connection:
        connection.execute(f"CREATE TABLE events ({', '.join(f'{c.name} {c.type}' for c in columns)})")
        for shopper, day, action, product, known in rows:
            given = {id_column: shopper, "timestamp": START + timedelta(days=day), "action": action} | known
            given["product_id"] = product
            connection.execute(
                f"INSERT INTO events ({', '.join(given)}) VALUES ({', '.join('?' * len(given))})", list(given.values())
            )
        query = fill_sequences_sql(
            {column: MissingRule(rule=rule) for column, rule in rules.items()},  # type: ignore[arg-type]
            "events",
            [START + timedelta(days=day) for day in cutoffs],
            id_column,
        )
        found = f"SELECT {id_column}, epoch(timestamp - TIMESTAMP '{START}') / 86400, {', '.join(rules)}"
        return connection.execute(
            f"{found} FROM ({query}) ORDER BY {id_column}, timestamp, action, product_id, {', '.join(rules)}"
        ).fetchall()


def sale(shopper: str, day: float, product: str = "p", **known: object) -> Event:
    return (shopper, day, "purchase", product, known)


def values(filled: list[tuple[object, ...]]) -> list[object]:
    return [row[-1] for row in filled]


@pytest.mark.parametrize("id_column", ["user_id", "shopper"])
def test_forward_fill_takes_the_last_known_value_of_the_same_shopper_and_product(id_column: str) -> None:
    rows = [
        sale("a", 0),
        sale("a", 1, price=10.0),
        sale("a", 2),
        sale("a", 2, "other"),
        ("a", 3, "browse", "p", {"price": 12.0}),
        ("a", 3.5, "browse", "p", {}),
        sale("a", 4),
        sale("a", 5, price=20.0),
        sale("b", 6),
    ]
    assert fill({"price": "forward_fill"}, rows, id_column=id_column) == [
        ("a", 0, None),
        ("a", 1, 10),
        ("a", 2, None),
        ("a", 2, 10),
        ("a", 3, 12),
        ("a", 3.5, None),
        ("a", 4, 12),
        ("a", 5, 20),
        ("b", 6, None),
    ]


def test_what_belongs_to_the_shopper_is_known_whatever_the_product() -> None:
    rows = [sale("a", 0), sale("a", 1, gender="female", age=33), sale("a", 2, "other"), sale("b", 3)]
    assert fill({"gender": "forward_fill", "age": "forward_fill"}, rows) == [
        ("a", 0, None, None),
        ("a", 1, "female", 33),
        ("a", 2, "female", 33),
        ("b", 3, None, None),
    ]


def test_a_value_that_follows_from_the_others_is_not_filled_from_earlier_events() -> None:
    rows = [sale("a", 0, amount=5.0, price=5.0), sale("a", 1, price=2.0, quantity=3.0), sale("a", 2, price=2.0)]
    assert values(fill({"amount": "forward_fill"}, rows)) == [5, None, 5]


def test_interpolation_is_a_straight_line_in_time() -> None:
    rows = [
        sale("a", 0),
        sale("a", 1, price=10.0),
        sale("a", 2),
        sale("a", 4),
        sale("a", 5, price=20.0),
        sale("a", 6),
        sale("a", 3, "other"),
        sale("b", 2),
    ]
    filled = [row for row in fill({"price": "interpolate"}, rows) if row[:2] != ("a", 3)]
    assert values(filled) == [None, 10, 12.5, 17.5, 20, 20, None]


def test_two_known_values_in_one_instant_and_whole_years() -> None:
    rows = [sale("a", 1, price=10.0), sale("a", 1), sale("a", 1, "q", price=3.0)]
    assert sorted(map(str, values(fill({"price": "interpolate"}, rows)))) == ["10.0", "3.0", "None"]
    ages = [sale("a", 0, age=30), sale("a", 9), sale("a", 10, age=32)]
    assert values(fill({"age": "interpolate"}, ages)) == [30, 32, 32]


def test_interpolation_stops_at_a_cutoff_and_carries_forward_instead() -> None:
    rows = [sale("a", 1, price=10.0), sale("a", 2), sale("a", 4), sale("a", 5, price=20.0)]
    price = {"price": "interpolate"}
    assert values(fill(price, rows)) == [10, 12.5, 17.5, 20]
    assert values(fill(price, rows, cutoffs=[3])) == [10, 10, 17.5, 20]
    # An event at the cutoff is not before it.
    assert values(fill(price, rows, cutoffs=[2])) == [10, 12.5, 17.5, 20]
    assert values(fill(price, rows, cutoffs=[5])) == [10, 10, 10, 20]
    assert values(fill(price, rows, cutoffs=[5.1])) == [10, 12.5, 17.5, 20]


@pytest.mark.parametrize("rule", ["forward_fill", "interpolate"])
def test_what_comes_after_a_cutoff_changes_nothing_before_it(rule: str) -> None:
    rows = [sale("a", 0, price=4.0), sale("a", 1), sale("a", 2, price=8.0), sale("a", 3), sale("a", 4.5)]
    later = [sale("a", 5, price=1000.0), sale("a", 5), sale("a", 6, price=3000.0), sale("a", 7)]
    before = fill({"price": rule}, rows, cutoffs=[1.5, 5])
    after = fill({"price": rule}, [*later, *rows], cutoffs=[1.5, 5])
    assert [row for row in after if row[1] < 5] == before  # type: ignore[operator]
    assert values(before) == [4, 4, 8, 8, 8]


def test_without_such_rules_nothing_changes_and_words_are_not_interpolated() -> None:
    assert values(fill({"price": "keep"}, [sale("a", 0, price=4.0), sale("a", 1)])) == [4, None]
    rules = {"brand": MissingRule(rule="interpolate"), "price": MissingRule(rule="interpolate")}
    with pytest.raises(UserError, match="A rule for missing values") as caught:
        check_rules(rules, ["brand", "price"])
    assert "clean.missing.brand: between two words" in str(caught.value)
    check_rules({"brand": MissingRule(rule="forward_fill")}, ["brand"])
