"""Traffic by local day: counted to the event, gaps as zeros, prices against what a product usually costs."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.serve.moment import moment_at
from behavior_tasks.watch.matured import Log
from behavior_tasks.watch.traffic import Traffic, count_traffic
from tests.watch.events import write_events

FIRST = date(2026, 5, 1)
ZONE = "Europe/Berlin"


def event(shopper: str, day: int, hour: int, action: str, product: str = "", **more: object) -> dict[str, object]:
    instant = datetime(2026, 5, 1 + day, hour)
    return {"shopper": shopper, "timestamp": instant, "action": action, "product_id": product, **more}


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    toys = {"category": "toys", "price": 10.0}
    one = [event("a", day, 10, "browse", "p1", **toys) for day in range(4)]
    # 23 o'clock UTC is the next day in Berlin; the last one is already behind the moment.
    one += [event("a", 4, 23, "click", "p2", category="shoes"), event("a", 6, 23, "click", "p3")]
    two = [event("b", 0, 9, "search"), event("b", 5, 9, "purchase", "p1", category="toys", price=14.0)]
    rows = [
        ("milliseconds_for_seconds", str(int(datetime(2026, 5, 6, 12).timestamp() * 1000))),
        ("milliseconds_for_seconds", "999-9"),
        ("bad_timestamp", "1777777777777"),
    ]
    pd.DataFrame(rows, columns=["reason", "found"]).to_parquet(tmp_path / "quarantine.parquet")
    log = Log(
        events=[write_events(tmp_path / "one.parquet", one), write_events(tmp_path / "two.parquet", two)],
        moment=moment_at(FIRST + timedelta(days=6), ZONE),
        first=datetime(2026, 5, 1, 9),
        known_until=FIRST + timedelta(days=6),
    )
    return count_traffic(log, tmp_path / "quarantine.parquet", days=30)


def test_each_local_day_is_counted_and_a_day_of_nothing_is_a_row_of_zeros(traffic: Traffic) -> None:
    days = traffic.days
    assert list(days.index) == [FIRST + timedelta(days=n) for n in range(6)]
    assert days["events"].tolist() == [2, 1, 1, 1, 0, 2]
    assert days["shoppers"].tolist() == [2, 1, 1, 1, 0, 2]
    assert days["search"].tolist() == [1, 0, 0, 0, 0, 0]
    assert days["new_products"].tolist() == [1, 0, 0, 0, 0, 1]
    assert days["priced"].tolist() == [1, 1, 1, 1, 0, 1]


def test_a_price_is_held_against_the_products_own_days_before(traffic: Traffic) -> None:
    assert traffic.days["dearer"].tolist() == [0, 0, 0, 0, 0, 1]
    assert traffic.days["priced_products"].tolist() == [0, 0, 0, 1, 0, 1]
    assert traffic.moved.to_dict("records") == [{"category": "toys", "products": 1, "dearer": 1, "cheaper": 0}]


def test_rows_in_milliseconds_stand_on_the_day_that_they_mean(traffic: Traffic) -> None:
    assert traffic.days["milliseconds"].tolist() == [0, 0, 0, 0, 0, 1]


def test_shoppers_are_counted_by_category(traffic: Traffic) -> None:
    assert traffic.categories["toys"].tolist() == [1, 1, 1, 1, 0, 1]
    assert traffic.categories["shoes"].tolist() == [0, 0, 0, 0, 0, 1]
