"""The rules of the simulated shop: what the log shows of a shopper, and the chance to visit and to buy that follows.

In: what was seen of each shopper on one day. Out: their state at the next local midnight, and the chances of a day.
The one thing to know: every chance is a function of a state that anyone can compute from the log, so a perfect
reader of the log knows exactly as much about the next purchase as the simulator does.

Habits are Pólya urns: the chance to come back is (a + visits) / (b + days seen), which is what a reader would
believe about a shopper with a hidden, gamma-distributed rate (de Finetti). Shoppers so differ lastingly, though
nothing about their chances is hidden.
"""

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FIRST_DAY = date(2026, 1, 5)
LAST_DAY = date(2026, 5, 4)
"""A log of up to 120 days starts on FIRST_DAY; a longer one ends on LAST_DAY, so that it never lies in the future."""

VISIT_A, VISIT_B_DAYS = 0.35, 4.2
BUY_A, BUY_B_SESSIONS = 0.5, 3.5
HEAT_KEPT, CART_KEPT = 0.75, 0.9
"""Share of the interest and of the cart's weight that is left a day later."""
OUTSTANDING = 0.1
"""A cart of less weight than this is forgotten: no outstanding item is left to buy."""
NEVER = 9999.0
"""Days since a purchase that never was."""


@dataclass(frozen=True, kw_only=True)
class Category:
    """One category of the shop."""

    name: str
    price: float
    """Median list price."""
    period_days: float
    """Days after which a purchase wants repeating."""
    extra_pieces: float
    """Mean number of pieces beyond the first."""


CATEGORIES: tuple[Category, ...] = (
    Category(name="groceries", price=9, period_days=7, extra_pieces=1.2),
    Category(name="coffee", price=14, period_days=14, extra_pieces=0.6),
    Category(name="stationery", price=8, period_days=30, extra_pieces=1.0),
    Category(name="books", price=16, period_days=18, extra_pieces=0.1),
    Category(name="cosmetics", price=24, period_days=26, extra_pieces=0.2),
    Category(name="pet food", price=28, period_days=21, extra_pieces=0.4),
    Category(name="toys", price=25, period_days=35, extra_pieces=0.2),
    Category(name="clothing", price=45, period_days=30, extra_pieces=0.2),
    Category(name="sports", price=55, period_days=40, extra_pieces=0.1),
    Category(name="kitchen", price=60, period_days=50, extra_pieces=0.1),
    Category(name="shoes", price=80, period_days=45, extra_pieces=0.0),
    Category(name="electronics", price=220, period_days=70, extra_pieces=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The local days of the log and their seasons. Arrays have one entry a day."""

    midnights: Ints
    """Unix seconds of the local midnights: one a day and the one after the last."""
    visit_factor: Floats
    """Weekly and yearly season of visits, around 1."""
    buy_shift: Floats
    """Season of purchases, added to their log-odds: weekends and the days after pay day."""


def make_calendar(days: int, timezone: str) -> Calendar:
    """Return the calendar of a log of so many local days.

    >>> make_calendar(2, "UTC").midnights.tolist()
    [1767571200, 1767657600, 1767744000]
    """
    zone = ZoneInfo(timezone)
    first = min(FIRST_DAY, LAST_DAY - timedelta(days=days - 1))
    dates = [first + timedelta(days=d) for d in range(days + 1)]
    instants = [datetime(d.year, d.month, d.day, tzinfo=zone).astimezone(UTC) for d in dates]
    weekend = np.array([d.weekday() >= 5 for d in dates[:-1]])
    day_of_year = np.array([d.timetuple().tm_yday for d in dates[:-1]])
    pay_day = np.array([d.day >= 26 or d.day <= 2 for d in dates[:-1]])
    return Calendar(
        midnights=np.array([int(i.timestamp()) for i in instants], dtype=np.int64),
        visit_factor=np.where(weekend, 1.2, 0.92) * (1 + 0.06 * np.cos(2 * np.pi * (day_of_year - 345) / 365.25)),
        buy_shift=0.15 * weekend + 0.3 * pay_day,
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the log shows of each shopper on one day; every array has one entry a shopper."""

    visited: Flags
    clicks: Ints
    favourites: Ints
    carts: Ints
    """Items put into the cart."""
    discounts: Ints
    """Sum of the discounts of those items, in percent of the list price."""
    bought: Flags
    period_days: Floats
    """Period of the category of the day's last purchase; unused where nothing was bought."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What the log shows of each shopper up to a local midnight; every array has one entry a shopper."""

    profile: Floats
    """What age and gender, as far as the log gives them, add to the log-odds to buy; never changes."""
    sessions: Floats
    days: Floats
    """Days since the first session."""
    purchases: Floats
    """Sessions that ended in a purchase."""
    heat: Floats
    """Decayed interest: clicks, favourites and carts."""
    cart: Floats
    """Decayed number of items put into the cart since the last purchase."""
    discount: Floats
    """Mean discount of those items, in percent."""
    cooled: Flags
    """The last session only browsed past an outstanding cart."""
    since_purchase: Floats
    period_days: Floats
    """Period of the category bought last."""

    @classmethod
    def unseen(cls, profile: Floats) -> Self:
        """Return the state of shoppers of whom the log shows nothing yet."""
        names = {field.name for field in fields(cls)} - {"profile", "cooled", "since_purchase"}
        zeros = {name: np.zeros(len(profile)) for name in names}
        never = np.full(len(profile), NEVER)
        return cls(profile=profile, cooled=np.zeros(len(profile), dtype=bool), since_purchase=never, **zeros)

    def take(self, rows: Ints) -> Self:
        """Return the states of these shoppers, in this order, repeated as often as they are named."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def profile_effect(age: Ints, female: Flags, male: Flags) -> Floats:
    """Return what age (years, -1 where the log has none) and gender add to the log-odds to buy, shape (shoppers,)."""
    by_age = np.where(age < 0, 0.0, 0.5 * np.exp(-(((age - 42) / 14.0) ** 2)) - 0.25)
    return by_age + 0.12 * female - 0.12 * male


def chances(state: State, calendar: Calendar, day: int) -> tuple[Floats, Floats]:
    """Return the chance to visit on a day, and to buy given a visit, from the state at its midnight.

    Whether a session ends in a purchase follows from the state before it, never from what happens within it, so
    a day's chance to buy is the product of the two: (shoppers,), (shoppers,).
    """
    rate = (VISIT_A + state.sessions) / (VISIT_B_DAYS + state.days)
    weight = np.minimum(state.cart, 2.0)
    bump = _replenishment(state)
    pull = 0.35 * np.tanh(state.heat / 2) + 0.25 * weight + 0.4 * bump - 0.12
    visit = 1 - np.exp(-rate * calendar.visit_factor[day] * np.exp(pull))
    habit = np.log((BUY_A + state.purchases) / (BUY_B_SESSIONS + state.sessions) * (BUY_B_SESSIONS / BUY_A))
    log_odds = (
        -2.5
        + state.profile
        + calendar.buy_shift[day]
        + 1.3 * habit
        + 1.5 * np.tanh(state.heat / 2)
        + 2.0 * weight * np.where(state.cooled, 0.2, 1.0)
        + 0.015 * state.discount * np.minimum(weight, 1.0)
        - 0.9 * state.cooled
        + 1.8 * bump
        - 1.6 * np.exp(-(state.since_purchase - 1) / 3)
    )
    return visit, 1 / (1 + np.exp(-log_odds))


def _replenishment(state: State) -> Floats:
    """Return how near, from 0 to 1, the last purchase is to the age at which it wants repeating."""
    width = 1.5 + 0.15 * state.period_days
    return np.exp(-(((state.since_purchase - state.period_days) / width) ** 2))


def advance(state: State, seen: Seen) -> State:
    """Return the state at the next midnight."""
    known = (state.sessions > 0) | seen.visited
    kept = state.cart * CART_KEPT
    cart = np.where(seen.bought, 0.0, kept + seen.carts)
    interest = seen.visited * 0.1 + 0.25 * seen.clicks + 0.5 * seen.favourites + 0.5 * seen.carts
    passed_by = (kept > OUTSTANDING) & (seen.clicks == 0)
    return State(
        profile=state.profile,
        sessions=state.sessions + seen.visited,
        days=state.days + known,
        purchases=state.purchases + seen.bought,
        heat=(state.heat * HEAT_KEPT + interest) * np.where(seen.bought, 0.3, 1.0),
        cart=cart,
        discount=np.where(cart > 0, (kept * state.discount + seen.discounts) / np.maximum(cart, 1e-300), 0.0),
        cooled=np.where(seen.visited, passed_by & ~seen.bought, state.cooled),
        since_purchase=np.where(seen.bought, 1.0, np.minimum(state.since_purchase + 1, NEVER)),
        period_days=np.where(seen.bought, seen.period_days, state.period_days),
    )


def draw_interest(heat: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Draw the clicks, favourites and carts of sessions without a purchase, given the heat before each."""
    warm = np.tanh(heat / 2)
    idle = rng.random(len(heat)) < 0.4 - 0.15 * warm
    clicks = np.where(idle, 0, 1 + rng.poisson(0.8 + 0.8 * warm))
    return clicks, rng.binomial(clicks, 0.12), rng.binomial(clicks, 0.15 + 0.1 * warm)


def draw_discounts(count: int, rng: np.random.Generator) -> Ints:
    """Draw personal discounts in percent: mostly none, else 10 to 40; the same for every shopper and product."""
    return np.where(rng.random(count) < 0.25, 5 * rng.integers(2, 9, size=count), 0)


def draw_seen(state: State, visited: Flags, rng: np.random.Generator) -> Seen:
    """Draw what a day without a purchase shows of each shopper, given who visits."""
    who = np.flatnonzero(visited)
    clicks, favourites, carts = draw_interest(state.heat[who], rng)
    owner = np.repeat(who, carts)
    discounts = np.bincount(owner, weights=draw_discounts(len(owner), rng), minlength=len(visited))
    return Seen(
        visited=visited,
        clicks=spread(clicks, who, len(visited)),
        favourites=spread(favourites, who, len(visited)),
        carts=spread(carts, who, len(visited)),
        discounts=discounts.astype(np.int64),
        bought=np.zeros(len(visited), dtype=bool),
        period_days=np.zeros(len(visited)),
    )


def spread(values: Ints, who: Ints, count: int) -> Ints:
    """Return an array of `count` zeros with these values at the places `who`."""
    full = np.zeros(count, dtype=np.int64)
    full[who] = values
    return full


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The products, sorted by category and then by price; arrays have one entry a product."""

    category: Ints
    """Place in CATEGORIES."""
    list_cents: Ints
    label: Ints
    """Number in the product's id; says nothing about the category."""

    @cached_property
    def period_days(self) -> Floats:
        """The period of each product's category."""
        return np.array([c.period_days for c in CATEGORIES])[self.category]

    @cached_property
    def extra_pieces(self) -> Floats:
        """The mean number of pieces beyond the first of each product's category."""
        return np.array([c.extra_pieces for c in CATEGORIES])[self.category]

    @cached_property
    def sizes(self) -> Ints:
        """The number of products in each category."""
        return np.bincount(self.category, minlength=len(CATEGORIES))

    def discount(self, product: Ints, cents: Ints) -> Ints:
        """Return the discount, in whole percent, that a price in cents stands for."""
        return np.rint(100 - 100 * cents / self.list_cents[product]).astype(np.int64)


def make_catalogue(products: int, rng: np.random.Generator) -> Catalogue:
    """Draw the products; every category gets as many as the others, give or take one."""
    category = np.sort(np.arange(products) % len(CATEGORIES))
    middle = np.array([c.price for c in CATEGORIES])[category]
    # The bounds keep a price readable as a discount of 5 % steps, and a hundredfold amount below a million.
    cents = np.clip(np.rint(100 * middle * rng.lognormal(0, 0.5, products)), 300, 90_000).astype(np.int64)
    order = np.lexsort((cents, category))
    return Catalogue(category=category, list_cents=cents[order], label=1 + rng.permutation(products))
