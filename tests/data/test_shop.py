"""The shop's rules: the order of events matters, interest fades, and the calendar keeps local midnights."""

from dataclasses import replace

import numpy as np
import pytest

from behavior_tasks.data import shop
from behavior_tasks.data.shop import Seen, State

CALENDAR = shop.make_calendar(60, "UTC")
NOTHING = Seen(
    visited=np.array([False]),
    clicks=np.array([0]),
    favourites=np.array([0]),
    carts=np.array([0]),
    discounts=np.array([0]),
    bought=np.array([False]),
    period_days=np.array([0.0]),
)
BROWSED = replace(NOTHING, visited=np.array([True]))
CLICKED = replace(BROWSED, clicks=np.array([2]))
CARTED = replace(CLICKED, carts=np.array([1]))
DISCOUNTED = replace(CARTED, discounts=np.array([30]))
BOUGHT = replace(CARTED, bought=np.array([True]), period_days=np.array([14.0]))


def after(*days: Seen, age: int = -1) -> State:
    unknown = np.array([False])
    state = State.unseen(shop.profile_effect(np.array([age]), unknown, unknown))
    for seen in days:
        state = shop.advance(state, seen)
    return state


def buy(*days: Seen, age: int = -1) -> float:
    return float(shop.chances(after(*days, age=age), CALENDAR, 20)[1][0])


def visit(*days: Seen, day: int = 20) -> float:
    return float(shop.chances(after(*days), CALENDAR, day)[0][0])


def test_a_cart_passed_by_is_worth_less_than_the_same_events_the_other_way_round() -> None:
    assert buy(CARTED, BROWSED) < 0.5 * buy(BROWSED, CARTED)
    assert buy(CARTED, BROWSED) < buy(CARTED, NOTHING)
    assert buy(CARTED, CLICKED) > buy(CARTED, BROWSED)


def test_interest_raises_the_chance_and_fades() -> None:
    assert buy(BROWSED) < buy(CLICKED) < buy(CARTED) < buy(DISCOUNTED)
    assert buy(CARTED) > buy(CARTED, NOTHING) > buy(CARTED, *[NOTHING] * 5)


def test_a_purchase_empties_the_cart_and_wants_repeating_after_the_categorys_period() -> None:
    assert after(CARTED, BOUGHT).cart[0] == 0
    chances = [buy(CARTED, BOUGHT, *[NOTHING] * days) for days in range(40)]
    # Midnight number d + 1 after the purchase is d + 1 days away: the bump of a 14-day category is near place 13.
    assert abs(int(np.argmax(chances)) - 13) <= 1
    assert chances[0] < 0.5 * buy(CARTED)
    assert chances[13] > 1.5 * chances[25]


def test_habits_last() -> None:
    assert visit(CLICKED, CLICKED, *[NOTHING] * 30) > visit(CLICKED, *[NOTHING] * 31) > visit(CLICKED, *[NOTHING] * 50)
    regular, stranger = [BOUGHT, BROWSED, BOUGHT], [BROWSED, BROWSED, BROWSED]
    assert buy(*regular, *[NOTHING] * 40) > 1.5 * buy(*stranger, *[NOTHING] * 40)


def test_weekends_are_busier_and_middle_age_buys_more() -> None:
    saturday, monday = 5, 7  # the log starts on a Monday
    assert visit(CLICKED, day=saturday) > 1.2 * visit(CLICKED, day=monday)
    assert buy(CLICKED, age=42) > buy(CLICKED, age=20)


def test_days_are_local_days_through_the_change_to_summer_time() -> None:
    calendar = shop.make_calendar(90, "Europe/London")
    lengths = np.diff(calendar.midnights) / 3600
    assert [int(n) for n in np.flatnonzero(lengths != 24)] == [83]  # 29 March 2026
    assert lengths[83] == 23


@pytest.mark.parametrize("percent", [0, 10, 15, 40])
def test_a_price_tells_its_discount(percent: int) -> None:
    catalogue = shop.make_catalogue(500, np.random.default_rng(1))
    product = np.arange(500)
    cents = np.rint(catalogue.list_cents * (100 - percent) / 100).astype(np.int64)
    assert set(catalogue.discount(product, cents)) == {percent}
