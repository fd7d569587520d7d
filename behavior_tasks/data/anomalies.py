"""Planted anomalies: a simulated log in; the same log with a few shoppers who misbehave, and who they are, out.

Every kind happens within the last days of the log, at the pace and in the amounts that its constants state. The one
thing to know: a detector may be tuned on TUNED; HELD_BACK is for the final measurement, and whoever looks at it to
change a detector has spent it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError

DAY = 86_400
SETTLED_EVENTS, SETTLED_PURCHASES = 40, 2
"""A settled shopper had so many events and purchases before the last days."""
SOME_EVENTS = 10
TAKEOVER_SESSIONS, TAKEOVER_PRODUCTS, TAKEOVER_GAP = (1, 2), (3, 8), (15, 90)
TAKEOVER_STRANGE, TAKEOVER_ODD_HOUR, TAKEOVER_BUYS = 0.6, 0.6, 0.7
"""Sessions; products looked at in each; seconds between events. Shares: of products out of the dearer half of what the
shopper hardly knows, of sessions in the quietest hours of their day, and of sessions that end in one or two purchases.
The rest is like anybody's visit."""
SCRAPED, SCRAPED_GAP, SCRAPED_SKIPS = (20, 120), (3, 12), 0.4
"""Products browsed in the order of their ids, seconds between them, and the share that is left out."""
TESTED, TESTED_GAP, TESTED_CHEAP, TESTED_THEN_DEAR = (3, 8), (60, 600), 0.3, 0.5
"""Purchases of the cheapest products, one piece each; seconds between them; share that ends with a very dear one."""
REFUNDS, REFUND_HOURS, REFUNDED = (2, 4), (6, 60), 0.8
"""Purchases, after how many hours they are returned, and the share that is; the first always."""
RESOLD, RESOLD_TIMES = (4, 12), (1, 2)
"""Pieces of one product, and how often."""
STUFFED, STUFFED_GAP, STUFFED_BUYS = (2, 5), (1, 6), 0.3
"""Bursts of two to four events on an account that was silent for two weeks; seconds between events; share that buys."""
FARMED_HOURS, FARMED_DISCOUNT = 6, 0.4
"""New accounts, all within so many hours, that each buy the same product at this discount within a minute or two."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A log with anomalies."""

    log: pd.DataFrame
    """Text columns of the log that came in, in order of time."""
    truth: pd.DataFrame
    """user_id, kind, since (naive UTC); a shopper has at most one kind."""


@dataclass(frozen=True, kw_only=True)
class _World:
    """What the planters know of the shop."""

    events: pd.DataFrame
    """Rows with a shopper, a product and an instant: user_id, second, action, product_id, price, category."""
    products: pd.DataFrame
    """product_id, category, price (its median), in order of product_id."""
    begin: int
    """Unix second from which anomalies are planted."""
    days: int

    def own(self, shopper: str) -> pd.DataFrame:
        """Return a shopper's events before the last days."""
        rows = self.events
        return rows[(rows["user_id"] == shopper) & (rows["second"] < self.begin)]

    def hour(self, rng: np.random.Generator, hour: int | None = None, *, until_day: int | None = None) -> int:
        """Draw a second on one of the last days, within an hour of the day (UTC) where one is given."""
        day = int(rng.integers(0, until_day or self.days))
        chosen = int(rng.integers(8, 22)) if hour is None else hour
        return self.begin + day * DAY + chosen * 3600 + int(rng.integers(0, 1800))


Row = dict[str, object]
Planter = Callable[[_World, np.random.Generator, str], list[Row]]


def plant_anomalies(
    log: pd.DataFrame, *, shoppers: int, seed: int, days: int = 7, kinds: Collection[str] | None = None
) -> Planted:
    """Plant anomalies into a simulated log.

    Args:
        log: all columns of a simulated `events.csv` as text, missing values as empty text; broken rows stay as they
            are.
        shoppers: so many of each kind; fewer where the log has too few that fit.
        seed: decides everything.
        days: last days of the log in which they are planted.
        kinds: names out of KINDS; None: all.

    Raises:
        UserError: for a name that is none.
    """
    wanted = tuple(kinds) if kinds is not None else (*TUNED, *HELD_BACK)
    if unknown := sorted(set(wanted) - set(KINDS)):
        raise UserError(
            "There is no such kind of anomaly.",
            found=", ".join(unknown),
            expected=", ".join(KINDS),
            next_step="name one",
        )
    world = _look(log, days)
    taken: set[str] = set()
    rows, truth = [], []
    for place, name in enumerate(KINDS):
        if name not in wanted:
            continue
        # A stream of its own, so that leaving a kind out changes no other kind's draws but for who is free.
        rng = np.random.default_rng([seed, place])
        whom, planter = KINDS[name]
        candidates = [shopper for shopper in whom(world, place, shoppers) if shopper not in taken]
        for shopper in rng.permutation(np.array(candidates, dtype=object))[:shoppers]:
            taken.add(shopper)
            planted = planter(world, rng, shopper)
            rows += [{"user_id": shopper, **row} for row in planted]
            since = min(int(str(row["timestamp"])) for row in planted)
            truth.append({"user_id": shopper, "kind": name, "since": datetime.fromtimestamp(since, UTC)})
    told = pd.DataFrame(truth, columns=["user_id", "kind", "since"])
    told["since"] = pd.to_datetime(told["since"], utc=True).dt.tz_localize(None)
    return Planted(log=_joined(log, rows), truth=told)


def read_log(path: Path) -> pd.DataFrame:
    """Return a simulated log as `plant_anomalies` takes it."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _look(log: pd.DataFrame, days: int) -> _World:
    second = pd.to_numeric(log["timestamp"], errors="coerce")
    whole = second.notna() & (log["user_id"] != "") & (log["product_id"] != "")
    events = log.loc[whole, ["user_id", "action", "product_id", "category"]].assign(
        second=second[whole].astype("int64"), price=pd.to_numeric(log.loc[whole, "price"], errors="coerce")
    )
    named = events[(events["category"] != "") & events["price"].notna()]
    products = named.groupby("product_id", as_index=False).agg(
        category=("category", "first"), price=("price", "median")
    )
    end = (int(events["second"].max()) // DAY + 1) * DAY
    return _World(events=events, products=products, begin=end - days * DAY, days=days)


def _joined(log: pd.DataFrame, rows: list[Row]) -> pd.DataFrame:
    """Return old and new rows in order of time; a row without an instant stays behind the one before it."""
    added = pd.DataFrame(rows).reindex(columns=log.columns, fill_value="").fillna("").astype(str)
    every = pd.concat([log, added], ignore_index=True)
    told = pd.to_numeric(every["timestamp"], errors="coerce")
    told[: len(log)] = told[: len(log)].ffill().fillna(0)
    return every.iloc[np.argsort(told.to_numpy(), kind="stable")].reset_index(drop=True)


# --- who ---------------------------------------------------------------------------------------------------------


def _settled(world: _World, place: int, count: int) -> list[str]:
    """Shoppers with a past that can be departed from."""
    return _with_past(world, SETTLED_EVENTS, SETTLED_PURCHASES)


def _known(world: _World, place: int, count: int) -> list[str]:
    """Shoppers with some past."""
    return _with_past(world, SOME_EVENTS, 1)


def _silent(world: _World, place: int, count: int) -> list[str]:
    """Shoppers with some past who were not there for two weeks."""
    last = world.events.groupby("user_id")["second"].max()
    quiet = set(last.index[last < world.begin - 14 * DAY])
    return [shopper for shopper in _with_past(world, SOME_EVENTS, 0) if shopper in quiet]


def _new(world: _World, place: int, count: int) -> list[str]:
    """Accounts that nobody has yet."""
    numbers = pd.to_numeric(world.events["user_id"].str.lstrip("u"), errors="coerce")
    first = int(numbers.max()) + 1 + place * 10_000
    return [f"u{number:05d}" for number in range(first, first + count)]


def _known_or_new(world: _World, place: int, count: int) -> list[str]:
    """Half and half, as far as the lot has it."""
    known = _known(world, place, count)
    return [*known[:: max(1, len(known) // max(count, 1))][:count], *_new(world, place, count)]


def _with_past(world: _World, events: int, purchases: int) -> list[str]:
    past = world.events[world.events["second"] < world.begin]
    counts = past.groupby("user_id").agg(
        n=("action", "size"), bought=("action", lambda a: int((a == "purchase").sum()))
    )
    return sorted(counts.index[(counts["n"] >= events) & (counts["bought"] >= purchases)])


# --- what --------------------------------------------------------------------------------------------------------


def _row(second: int, action: str, product: pd.Series, *, pieces: int = 1, price: float | None = None) -> Row:
    cost = round(float(product["price"]) if price is None else price, 2)
    bought = action in {"purchase", "return"}
    return {
        "timestamp": str(second),
        "action": action,
        "product_id": product["product_id"],
        "category": product["category"],
        "quantity": str(pieces) if bought else "",
        "price": f"{cost:.2f}",
        "amount": f"{cost * pieces:.2f}" if bought else "",
    }


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _draw(products: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    return products.iloc[int(rng.integers(len(products)))]


def _take_over(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    own = world.own(shopper)
    shares = own["category"].value_counts(normalize=True)
    strange = world.products[~world.products["category"].isin(shares.index[shares > 0.05])]
    strange = strange if len(strange) else world.products
    dear = strange[strange["price"] >= strange["price"].median()]
    hours = np.bincount((own["second"] // 3600 % 24).to_numpy(), minlength=24)
    # The quietest four hours in a row of the shopper's day.
    quiet = int(np.argmin([np.take(hours, range(h, h + 4), mode="wrap").sum() for h in range(24)]))
    rows = []
    for _ in range(_between(rng, TAKEOVER_SESSIONS)):
        odd = rng.random() < TAKEOVER_ODD_HOUR
        second = world.hour(rng, (quiet + int(rng.integers(0, 4))) % 24 if odd else None)
        count = _between(rng, TAKEOVER_PRODUCTS)
        looked = [_draw(dear if rng.random() < TAKEOVER_STRANGE else world.products, rng) for _ in range(count)]
        for product in looked:
            rows.append(_row(second, "browse", product))
            second += _between(rng, TAKEOVER_GAP)
        for product in looked[: _between(rng, (1, 2))] if rng.random() < TAKEOVER_BUYS else ():
            for action in ("click", "add_to_cart", "purchase"):
                rows.append(_row(second, action, product))
                second += _between(rng, TAKEOVER_GAP)
    return rows


def _scrape(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    kept = world.products[rng.random(len(world.products)) >= SCRAPED_SKIPS]
    count = min(_between(rng, SCRAPED), len(kept))
    first, second = int(rng.integers(0, len(kept) - count + 1)), world.hour(rng, int(rng.integers(0, 24)))
    rows = []
    for _, product in kept.iloc[first : first + count].iterrows():
        rows.append(_row(second, "browse", product))
        second += _between(rng, SCRAPED_GAP)
    return rows


def _test_cards(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    prices = world.products["price"]
    cheap = world.products[prices <= prices.quantile(TESTED_CHEAP)]
    dear = world.products[prices >= prices.quantile(0.95)]
    second = world.hour(rng, int(rng.integers(0, 24)))
    bought = [_draw(cheap, rng) for _ in range(_between(rng, TESTED))]
    bought += [_draw(dear, rng)] if rng.random() < TESTED_THEN_DEAR else []
    rows = []
    for product in bought:
        for place, action in enumerate(("browse", "add_to_cart", "purchase")):
            rows.append(_row(second + 15 * place, action, product))
        second += _between(rng, TESTED_GAP)
    return rows


def _abuse_refunds(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    prices = world.products["price"]
    goods = world.products[prices >= prices.median()]
    rows = []
    for number in range(_between(rng, REFUNDS)):
        second, product = world.hour(rng, until_day=max(1, world.days - 3)), _draw(goods, rng)
        for place, action in enumerate(("browse", "click", "purchase")):
            rows.append(_row(second + 40 * place, action, product))
        if number == 0 or rng.random() < REFUNDED:
            rows.append(_row(second + _between(rng, REFUND_HOURS) * 3600, "return", product))
    return rows


def _resell(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    product, rows = _draw(world.products, rng), []
    for _ in range(_between(rng, RESOLD_TIMES)):
        second, pieces = world.hour(rng), _between(rng, RESOLD)
        for place, action in enumerate(("browse", "click", "add_to_cart", "purchase")):
            rows.append(_row(second + 35 * place, action, product, pieces=pieces))
    return rows


def _stuff(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    second, rows = world.hour(rng, int(rng.integers(0, 6))), []
    for _ in range(_between(rng, STUFFED)):
        for _ in range(_between(rng, (2, 4))):
            rows.append(_row(second, "browse", _draw(world.products, rng)))
            second += _between(rng, STUFFED_GAP)
        second += _between(rng, (60, 600))
    if rng.random() < STUFFED_BUYS:
        prices = world.products["price"]
        product = _draw(world.products[prices >= prices.quantile(0.9)], rng)
        rows += [_row(second + 20 * place, action, product) for place, action in enumerate(("add_to_cart", "purchase"))]
    return rows


def _farm(world: _World, rng: np.random.Generator, shopper: str) -> list[Row]:
    # The whole farm meets on one product and in the same hours: both hang on the log alone.
    product = world.products.sort_values("price").iloc[len(world.products) // 3]
    second = world.begin + (world.days // 2) * DAY + 13 * 3600 + int(rng.integers(0, FARMED_HOURS * 3600))
    rows, price = [], float(product["price"]) * (1 - FARMED_DISCOUNT)
    for action in ("browse", "add_to_cart", "purchase"):
        rows.append(_row(second, action, product, price=price))
        second += _between(rng, (10, 60))
    return rows


KINDS: dict[str, tuple[Callable[[_World, int, int], list[str]], Planter]] = {
    "account takeover": (_settled, _take_over),
    "bot scraping": (_known_or_new, _scrape),
    "card testing": (_known_or_new, _test_cards),
    "refund abuse": (_known, _abuse_refunds),
    "reselling": (_known, _resell),
    "credential stuffing": (_silent, _stuff),
    "coupon farm": (_new, _farm),
}
"""Name → whom it can befall, and what they then do."""
TUNED = ("account takeover", "bot scraping", "card testing", "refund abuse")
"""Kinds that a detector may be chosen and tuned on."""
HELD_BACK = ("reselling", "credential stuffing", "coupon farm")
"""Kinds for the final measurement only."""
