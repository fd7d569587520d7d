"""The day's traffic: every planted change is told in its own words on its first day, and ordinary days tell nothing."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.watch.signals import read_signals, usual
from behavior_tasks.watch.traffic import COLUMNS, Traffic

USUAL = {"browse": 480, "search": 90, "click": 180, "favourite": 16, "add_to_cart": 45, "purchase": 35, "return": 2}
KINDS = ["toys", "shoes", "books", "coffee"]


def make_traffic(seed: int, days: int = 60) -> Traffic:
    """A shop with a weekly rhythm, days that stray by 10 %, sales, and hardly any new product."""
    draw = np.random.default_rng(seed)
    index = pd.Index([date(2026, 3, 2) + timedelta(days=n) for n in range(days)], name="day")
    level = np.where(np.array([day.weekday() >= 5 for day in index]), 1.3, 1.0) * draw.lognormal(0, 0.1, days)
    table = pd.DataFrame({action: draw.poisson(USUAL[action] * level) for action in ACTIONS}, index=index)
    table["events"] = table[list(ACTIONS)].sum(axis=1)
    table["named"] = table["events"] - table["search"]
    table["shoppers"], table["priced"] = draw.poisson(130 * level), table["named"]
    table["new_products"], table["priced_products"] = draw.poisson(1, days), 250
    table["dearer"], table["cheaper"] = draw.poisson(4, days), draw.poisson(70, days)
    table["milliseconds"] = 0
    kinds = pd.DataFrame({kind: draw.poisson(30 * level) for kind in KINDS}, index=index)
    moved = pd.DataFrame({"category": KINDS, "products": 60, "dearer": [50, 2, 1, 0], "cheaper": 5})
    return Traffic(days=table[list(COLUMNS)].astype("int64"), categories=kinds, moved=moved)


def codes(traffic: Traffic) -> set[tuple[str, str]]:
    return {(finding.code, finding.about) for finding in read_signals(traffic, WatchConfig())}


def purchases_fall_out(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], "events"] -= days["purchase"].iloc[-1] - 1
    days.loc[days.index[-1], "purchase"] = 1


def times_in_milliseconds(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], ["milliseconds", "events"]] = [170, 680]


def prices_rise(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], "dearer"] = 100


def products_get_new_ids(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], "new_products"] = 200


def half_the_log_is_missing(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], [*ACTIONS, "events", "named", "priced", "shoppers"]] //= 3


def prices_fall_away(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], ["priced", "priced_products", "dearer", "cheaper"]] = 0


def nothing_comes(days: pd.DataFrame) -> None:
    days.loc[days.index[-1], :] = 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (purchases_fall_out, ("outage", "purchase")),
        (times_in_milliseconds, ("milliseconds", "timestamp")),
        (prices_rise, ("prices", "dearer")),
        (products_get_new_ids, ("new_products", "product_id")),
        (half_the_log_is_missing, ("volume", "low")),
        (prices_fall_away, ("lost_column", "price")),
        (nothing_comes, ("empty_day", "2026-04-30")),
    ],
)
def test_a_change_is_told_on_its_first_day_and_nothing_else(
    change: Callable[[pd.DataFrame], None], expected: tuple[str, str]
) -> None:
    traffic = make_traffic(1)
    assert codes(traffic) == set()
    change(traffic.days)
    assert codes(traffic) == {expected}


def test_a_season_is_told_in_the_names_of_its_categories() -> None:
    traffic = make_traffic(1)
    traffic.categories.iloc[-3:] = [[90, 5, 5, 30]] * 3
    (found,) = read_signals(traffic, WatchConfig())
    assert (found.code, found.training) == ("categories", True)
    assert "turned to toys" in found.words
    assert "away from" in found.words


def test_ordinary_days_are_left_alone() -> None:
    told = [codes(make_traffic(seed)) for seed in range(40)]
    assert sum(bool(one) for one in told) <= 1


def test_a_weekend_is_held_against_weekends() -> None:
    traffic = make_traffic(3, days=55)
    days = traffic.days.astype(float)
    days["events"] = np.where(np.array([day.weekday() >= 5 for day in days.index]), 3000.0, 100.0)
    assert days.index[-1].weekday() == 5
    assert usual(days["events"]).iloc[-1] == 3000


def test_a_gap_further_back_is_a_warning_and_the_days_after_it_are_not_odd() -> None:
    traffic = make_traffic(1)
    traffic.days.iloc[-9] = 0
    (found,) = read_signals(traffic, WatchConfig())
    assert (found.code, found.level) == ("empty_day", "warning")
    assert str(traffic.days.index[-9]) in found.words


def test_a_quiet_day_of_the_whole_shop_is_no_outage_of_an_action() -> None:
    traffic = make_traffic(1)
    traffic.days.loc[traffic.days.index[-1], :] //= 20
    assert not any(code == "outage" for code, _ in codes(traffic))


def test_a_young_log_says_nothing() -> None:
    assert codes(make_traffic(1, days=14)) == set()
