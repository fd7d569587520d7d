"""The simulated shop's days: shoppers visit, touch products after their own taste, and some buy.

In: the rules of `data.shop` and random streams. Out: one table of coded events for a block of shoppers.
The one thing to know: taste decides which category, product and price is touched, never whether a purchase comes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.data import shop
from behavior_tasks.data.shop import Calendar, Catalogue, Flags, Floats, Ints, Seen, State, spread

BROWSE, SEARCH, CLICK, FAVOURITE, ADD_TO_CART, PURCHASE, RETURN = range(len(ACTIONS))
"""Codes of the actions: their places in ACTIONS."""
CODED_COLUMNS = ("shopper", "second", "action", "product", "quantity", "cents", "category")
"""Columns of a block of events. `second` counts from the Unix epoch; `product` is a place in the catalogue and -1
for a search, whose `category` says what was looked for; `quantity` is 0 and `cents`, the price, -1 where empty."""

GENDERS = ("", "female", "male")
_, FEMALE, MALE = range(len(GENDERS))
RETURN_WITHIN_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What does not change about the shoppers of a block; arrays have one entry a shopper."""

    age: Ints
    """Years; -1 where the shopper never told."""
    gender: Ints
    """Place in GENDERS."""
    arrival: Ints
    """Day of the first session."""
    taste: Floats
    """Cumulative share of interest in each category, (shoppers, categories)."""
    thrift: Floats
    """Exponent of the rank by price: above 1 leans to cheap products, below 1 to dear ones."""

    @property
    def effect(self) -> Floats:
        """What the log's age and gender add to the log-odds to buy."""
        return shop.profile_effect(self.age, self.gender == FEMALE, self.gender == MALE)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What shoppers remember between sessions, to make their next events plausible; changed in place.

    Nothing here has a say in whether they visit or buy.
    """

    clicked: Ints
    """Product clicked last, -1 for none."""
    carted: Ints
    """Product put into the cart last since the last purchase."""
    carted_cents: Ints
    bought: Ints
    """Product bought last, until it is returned."""
    bought_cents: Ints
    bought_pieces: Ints

    @classmethod
    def empty(cls, count: int) -> "Memory":
        """Return the memory of shoppers who have seen nothing."""
        return cls(**{name: np.full(count, -1) for name in cls.__annotations__})


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day's visitors; arrays have one entry a session."""

    number: int
    who: Ints
    """Place of the session's shopper in the block."""
    buys: Flags
    pending: Flags
    """The session buys the item that was left in the cart."""
    returns: Flags
    clicks: Ints
    favourites: Ints
    carts: Ints
    touches: Ints
    searches: Ints


def make_profile(count: int, catalogue: Catalogue, calendar: Calendar, rng: np.random.Generator) -> Profile:
    """Draw the shoppers of a block: half of them come in the first weeks, the others all along the log."""
    days = len(calendar.visit_factor)
    age = np.clip(np.rint(rng.normal(41, 14, count)), 16, 88).astype(np.int64)
    late = rng.random(count) < 0.45
    arrival = np.where(late, rng.integers(0, days, count), rng.exponential(7.0, count).astype(np.int64))
    taste = rng.gamma(0.4, size=(count, len(catalogue.sizes))) * (catalogue.sizes > 0) + 1e-9 * (catalogue.sizes > 0)
    dear = 0.35 * (age - 41) / 14 + rng.normal(0, 0.5, count)
    return Profile(
        age=np.where(rng.random(count) < 0.08, -1, age),
        gender=rng.choice(3, size=count, p=(0.05, 0.5, 0.45)),
        arrival=np.minimum(arrival, days - 1),
        taste=np.cumsum(taste, axis=1) / taste.sum(axis=1, keepdims=True),
        thrift=1.3 * np.exp(-dear),
    )


def simulate_block(
    profile: Profile, catalogue: Catalogue, calendar: Calendar, seeds: np.random.SeedSequence
) -> tuple[pd.DataFrame, State]:
    """Live through the log with a block of shoppers.

    Returns:
        Their events in order of shopper and time (`CODED_COLUMNS`), and their state after the last day.
    """
    days = len(calendar.visit_factor)
    state = State.unseen(profile.effect)
    memory = Memory.empty(len(profile.age))
    tables = []
    for number, seed in enumerate(seeds.spawn(days)):
        rng = np.random.default_rng(seed)
        day = _draw_day(number, profile, state, calendar, rng)
        table, seen = _act(day, profile, memory, catalogue, rng)
        tables.append(_with_times(table, day, calendar, rng))
        state = shop.advance(state, seen)
        _forget(memory, day)
    events = pd.concat(tables, ignore_index=True)
    return events.sort_values(["shopper", "second"], kind="stable", ignore_index=True), state


def _draw_day(number: int, profile: Profile, state: State, calendar: Calendar, rng: np.random.Generator) -> Day:
    visit, buy = shop.chances(state, calendar, number)
    luck = rng.random((3, len(visit)))
    visited = np.where(state.sessions > 0, luck[0] < visit, profile.arrival == number)
    who = np.flatnonzero(visited)
    buys = luck[1][who] < buy[who]
    clicks, favourites, carts = shop.draw_interest(state.heat[who], rng)
    pending = buys & (state.cart[who] > shop.OUTSTANDING)
    fresh = rng.poisson(0.4, len(who)) + ~pending
    clicks = np.where(buys, fresh + rng.poisson(0.8, len(who)), clicks)
    touches = np.maximum(clicks, 1) + rng.poisson(1.8, len(who))
    recent = state.since_purchase[who] <= RETURN_WITHIN_DAYS
    return Day(
        number=number,
        who=who,
        buys=buys,
        pending=pending,
        returns=recent & ~buys & (luck[2][who] < 0.03),
        clicks=clicks,
        favourites=np.where(buys, 0, favourites),
        carts=np.where(buys, fresh, carts),
        touches=touches,
        searches=np.minimum(rng.poisson(0.7, len(who)), touches),
    )


def _act(
    day: Day, profile: Profile, memory: Memory, catalogue: Catalogue, rng: np.random.Generator
) -> tuple[pd.DataFrame, Seen]:
    """Turn a day's sessions into rows, without times yet, and into what they show."""
    session = np.repeat(np.arange(len(day.who)), day.touches)
    place = np.arange(len(session)) - np.repeat(np.cumsum(day.touches) - day.touches, day.touches)
    from_end = day.touches[session] - 1 - place
    again = (place == 0) & (memory.clicked[day.who[session]] >= 0) & (rng.random(len(session)) < 0.4)
    product = _choose(day.who[session], profile, catalogue, rng)
    product = np.where(again, memory.clicked[day.who[session]], product)
    discount = shop.draw_discounts(len(session), rng)
    cents = np.rint(catalogue.list_cents[product] * (100 - discount) / 100).astype(np.int64)
    touch = pd.DataFrame({"session": session, "place": place, "product": product, "cents": cents})
    carted = from_end < day.carts[session]
    flags = {
        BROWSE: from_end >= 0,
        CLICK: from_end < day.clicks[session],
        # The first of the clicked products are the favourites, the last go into the cart.
        FAVOURITE: (from_end < day.clicks[session]) & (from_end >= (day.clicks - day.favourites)[session]),
        ADD_TO_CART: carted,
        PURCHASE: carted & day.buys[session],
    }
    tables = [touch[chosen].assign(action=action, quantity=0) for action, chosen in flags.items()]
    searched = touch[place < day.searches[session]]
    looked_for = catalogue.category[searched["product"]]
    tables.append(searched.assign(action=SEARCH, quantity=0, product=-1, cents=-1, category=looked_for))
    tables += list(_from_memory(day, memory))
    rows = pd.concat(tables, ignore_index=True)
    rows["category"] = np.where(rows["action"] == SEARCH, rows["category"], catalogue.category[rows["product"]])
    rows["category"] = rows["category"].astype(np.int64)
    fresh = ((rows["action"] == PURCHASE) & (rows["quantity"] == 0)).to_numpy()
    pieces = 1 + rng.poisson(catalogue.extra_pieces[rows["product"].to_numpy()[fresh]])
    rows.loc[fresh, "quantity"] = np.minimum(pieces, 9)
    rows = _in_order(rows)
    _remember(day, rows, memory)
    discounts = np.bincount(session[carted], weights=discount[carted], minlength=len(day.who)).astype(np.int64)
    return rows, _what_is_seen(day, discounts, memory, catalogue)


def _choose(shopper: Ints, profile: Profile, catalogue: Catalogue, rng: np.random.Generator) -> Ints:
    """Draw a product for each touch: a category by taste, then a rank by price by thrift."""
    luck = rng.random((2, len(shopper)))
    category = (luck[0][:, None] > profile.taste[shopper]).sum(axis=1)
    category = np.minimum(category, np.flatnonzero(catalogue.sizes).max())
    first = np.cumsum(catalogue.sizes) - catalogue.sizes
    rank = np.floor(catalogue.sizes[category] * luck[1] ** profile.thrift[shopper]).astype(np.int64)
    return first[category] + np.minimum(rank, catalogue.sizes[category] - 1)


def _from_memory(day: Day, memory: Memory) -> Iterator[pd.DataFrame]:
    """Yield the rows about products of earlier sessions: left-over cart items bought, purchases returned."""
    pending = np.flatnonzero(day.pending)
    owner = day.who[pending]
    row = {"session": pending, "place": -1, "product": memory.carted[owner], "cents": memory.carted_cents[owner]}
    yield pd.DataFrame({**row, "action": PURCHASE, "quantity": 1})
    returned = np.flatnonzero(day.returns & (memory.bought[day.who] >= 0))
    owner = day.who[returned]
    row = {"session": returned, "place": -1, "product": memory.bought[owner], "cents": memory.bought_cents[owner]}
    yield pd.DataFrame({**row, "action": RETURN, "quantity": memory.bought_pieces[owner]})


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows as a session goes: touch by touch a search, a browse, a click ...; purchases at its end."""
    step = rows["action"].map({SEARCH: -1}).fillna(rows["action"])
    order = np.lexsort((step, rows["place"], rows["action"] == PURCHASE, rows["session"]))
    return rows.iloc[order].reset_index(drop=True)


def _remember(day: Day, rows: pd.DataFrame, memory: Memory) -> None:
    """Keep the last product of each kind; the rows are in the order in which they happen."""
    for name, action in (("clicked", CLICK), ("carted", ADD_TO_CART), ("bought", PURCHASE)):
        last = rows[rows["action"] == action].drop_duplicates("session", keep="last")
        owner = day.who[last["session"]]
        getattr(memory, name)[owner] = last["product"]
        if name != "clicked":
            getattr(memory, f"{name}_cents")[owner] = last["cents"]
        if name == "bought":
            memory.bought_pieces[owner] = last["quantity"]


def _forget(memory: Memory, day: Day) -> None:
    """A purchase empties the cart; what was returned can't be returned again."""
    memory.carted[day.who[day.buys]] = -1
    memory.bought[day.who[day.returns]] = -1


def _what_is_seen(day: Day, discounts: Ints, memory: Memory, catalogue: Catalogue) -> Seen:
    count = len(memory.clicked)
    buyers = day.who[day.buys]
    period = np.zeros(count)
    period[buyers] = catalogue.period_days[memory.bought[buyers]]
    visited = np.zeros(count, dtype=bool)
    visited[day.who] = True
    bought = np.zeros(count, dtype=bool)
    bought[buyers] = True
    return Seen(
        visited=visited,
        clicks=spread(day.clicks, day.who, count),
        favourites=spread(day.favourites, day.who, count),
        carts=spread(day.carts, day.who, count),
        discounts=spread(discounts, day.who, count),
        bought=bought,
        period_days=period,
    )


def _with_times(rows: pd.DataFrame, day: Day, calendar: Calendar, rng: np.random.Generator) -> pd.DataFrame:
    """Place the sessions in the day, most in the evening, and their rows one after another."""
    midnight, length = calendar.midnights[day.number], np.diff(calendar.midnights)[day.number]
    session = rows["session"].to_numpy()
    passed = np.cumsum(rng.integers(3, 90, len(rows)))
    begun = np.full(len(day.who), np.iinfo(np.int64).max)
    np.minimum.at(begun, session, passed)
    ended = np.zeros(len(day.who), dtype=np.int64)
    np.maximum.at(ended, session, passed)
    latest = length - 1 - (ended - begun)
    start = np.floor(rng.beta(3.0, 1.5, len(day.who)) * np.maximum(latest, 0)).astype(np.int64)
    if day.number == len(calendar.visit_factor) - 1 and len(start):
        # A log that reaches into its last hour is read as one whose last day is whole.
        start[np.argmax(start)] = latest[np.argmax(start)]
    second = midnight + start[session] + passed - begun[session]
    return rows.assign(shopper=day.who[session], second=second)[list(CODED_COLUMNS)]
