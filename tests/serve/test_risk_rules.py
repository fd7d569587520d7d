"""Velocity rules, on shoppers made by hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect, write_parquet
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.risk_rules import RULES, Window, measure_rules

CUTOFF = datetime(2026, 5, 8)
SINCE = CUTOFF - timedelta(days=7)
Event = tuple[str, datetime, str, str, float | None, str]
"""Shopper, instant, action, product, amount (also the price), category."""


def measure(tmp_path: Path, events: Sequence[Event], *, timezone: str = "UTC", most: int | None = None) -> pd.DataFrame:
    moment = Moment(as_of=CUTOFF.date(), cutoff=CUTOFF, timezone=timezone)
    columns = ["shopper", "timestamp", "action", "product_id", "amount", "category"]
    rows = pd.DataFrame(list(events), columns=columns).assign(price=lambda table: table["amount"])
    path = tmp_path / "events.parquet"
    with connect() as connection:
        connection.register("rows", rows)
        there = set(rows.columns)
        cast = ", ".join(
            f"CAST({c.name if c.name in there else 'NULL'} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS
        )
        write_parquet(connection, f"SELECT {cast} FROM rows", path)
    with connect() as connection:
        found = measure_rules(
            connection,
            BucketEvents(files=(path,)),
            Window(moment=moment, days=7, history_days=90, most=most),
        )
    assert found["shopper"].tolist() == sorted(found["shopper"])
    return found.set_index("shopper")


def past(shopper: str, *, days: int = 30, hour: int = 12, category: str = "tea") -> list[Event]:
    """A quiet past: one look a day and a purchase of 10 a week."""
    events: list[Event] = []
    for day in range(1, days + 1):
        at = SINCE - timedelta(days=day) + timedelta(hours=hour)
        events.append((shopper, at, "browse", f"p{day % 3}", 10.0, category))
        if day % 7 == 0:
            events.append((shopper, at + timedelta(minutes=1), "purchase", "p1", 10.0, category))
    return events


def at(hours: float, seconds: float = 0) -> datetime:
    return SINCE + timedelta(hours=hours, seconds=seconds)


def test_pace_is_the_most_within_any_minute_and_hour_and_a_pause_ends_a_session(tmp_path: Path) -> None:
    fast: list[Event] = [("bot", at(10, 3 * n), "browse", f"p{9 - n}", 5.0, "tea") for n in range(10)]
    fast += [("bot", at(10, 27 + 59), "browse", "p0", 5.0, "tea"), ("bot", at(10.9), "browse", "p1", 5.0, "tea")]
    slow: list[Event] = [("slow", at(n), "browse", f"p{n}", 5.0, "tea") for n in range(9)]
    found = measure(tmp_path, fast + slow)
    assert found.loc["bot", ["events_per_minute", "events_per_hour", "session_events"]].tolist() == [10, 12, 11]
    assert found.loc["slow", ["events_per_minute", "events_per_hour", "session_events"]].tolist() == [1, 1, 1]
    assert found.loc["bot", "products_per_minute"] == 10
    assert found.loc["bot", "products_in_order"] == 2
    assert found.loc["slow", "products_in_order"] == 9


def test_ids_are_in_order_as_numbers_and_a_repeat_neither_breaks_nor_counts(tmp_path: Path) -> None:
    ids = ["p8", "p9", "p9", "p10", "p11", "p2"]
    found = measure(tmp_path, [("a", at(1, 60 * n), "browse", product, None, "tea") for n, product in enumerate(ids)])
    assert found.loc["a", "products_in_order"] == 4


def test_one_basket_is_one_purchase_and_small_ones_before_a_large_one_count(tmp_path: Path) -> None:
    basket: list[Event] = [("basket", at(1), "purchase", f"p{n}", 3.0, "tea") for n in range(8)]
    tester: list[Event] = [("tester", at(1, 60 * n), "purchase", f"p{n}", 2.0, "tea") for n in range(4)]
    tester += [("tester", at(2), "purchase", "p9", 90.0, "tea"), ("tester", at(40), "purchase", "p9", 90.0, "tea")]
    found = measure(tmp_path, basket + tester)
    assert found.loc["basket", ["purchases_per_hour", "purchases"]].tolist() == [1, 1]
    assert found.loc["tester", "purchases_per_hour"] == 4
    assert found.loc["tester", "small_before_large"] == 4
    assert pd.isna(found.loc["basket", "small_before_large"])
    assert found.loc["tester", "spent"] == 188


def test_money_is_held_against_the_shoppers_own_past_and_only_where_there_is_one(tmp_path: Path) -> None:
    events = past("known")
    events += [(name, at(9), "purchase", "p5", 80.0, "tea") for name in ("known", "new")]
    found = measure(tmp_path, events)
    assert found.loc["known", "basket_against_own"] == pytest.approx(8)
    # Four purchases of 10 within 28 days, so 10 within 7; less than a usual purchase is never usual.
    assert found.loc["known", "spend_against_own"] == pytest.approx(8, rel=0.1)
    assert found.loc["known", "price_against_own"] == pytest.approx(8)
    assert found["largest_purchase"].tolist() == [80, 80]
    money = ["basket_against_own", "spend_against_own", "price_against_own"]
    assert found.loc["new", money].isna().all()


def test_returns_carts_hours_and_categories(tmp_path: Path) -> None:
    events = past("odd") + past("usual")
    events += [("odd", at(3, n), "browse", "p1", 9.0, "guns") for n in range(6)]
    events += [("usual", at(12, n), "browse", "p1", 9.0, "tea") for n in range(6)]
    events += [("odd", at(20), "return", "p1", 9.0, "tea"), ("odd", at(21), "add_to_cart", "unseen", 9.0, "tea")]
    events += [("usual", at(12, 40), "add_to_cart", "p1", 9.0, "tea")]
    found = measure(tmp_path, events)
    assert found.loc["odd", ["returns", "strange_categories", "carts_without_views"]].tolist() == [1, 6, 1]
    assert found.loc["odd", "odd_hours"] == 8
    assert found.loc["odd", "night_events"] == pytest.approx(6, abs=0.3)
    assert found.loc["odd", "returns_against_purchases"] == pytest.approx(1 / 5)
    assert found.loc["usual", "night_events"] < 0.5
    assert found.loc["usual", ["strange_categories", "odd_hours", "carts_without_views"]].isna().all()
    # Noon in Shanghai is night in UTC.
    there = measure(tmp_path, events, timezone="Asia/Shanghai")
    assert there.loc["odd", "night_events"] < found.loc["odd", "night_events"]


def test_a_shop_that_logs_no_views_and_no_prices_leaves_those_rules_empty(tmp_path: Path) -> None:
    events: list[Event] = [("a", at(n / 2), "purchase", f"p{n}", None, "tea") for n in range(5)]
    found = measure(tmp_path, events)
    empty = ["carts_without_views", "small_before_large", "spend_against_own", "price_against_own", "spent"]
    assert found.loc["a", empty].isna().all()
    assert found.loc["a", "purchases_per_hour"] == 2


def test_nothing_at_or_after_the_cutoff_counts_and_no_order_of_rows_plays_a_part(tmp_path: Path) -> None:
    events = past("a") + [("a", at(n / 10), "purchase", f"p{n}", 10.0 + n, "tea") for n in range(12)]
    plain = measure(tmp_path, events)
    future: list[Event] = [(name, CUTOFF, "return", "canary", 1e6, "guns") for name in ("a", "later")]
    again = measure(tmp_path, [*future, *reversed(events)])
    pd.testing.assert_frame_equal(again, plain)


def test_of_a_bucket_so_many_shoppers_are_measured_as_are_asked_for(tmp_path: Path) -> None:
    events: list[Event] = [(f"s{n}", at(n), "browse", "p1", None, "tea") for n in range(9)]
    assert measure(tmp_path, events, most=3).index.tolist() == ["s0", "s1", "s2"]
    assert list(measure(tmp_path, events).columns[4:]) == list(RULES)
