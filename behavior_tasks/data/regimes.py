"""Regime changes: a finished simulated log in, the same log after the world or its tracking changed, and the truth out.

A log is a table of text as `events.csv` holds it, so a row that no change touches keeps its bytes. The one thing to
know: a change of the shop (season, prices, names) happened, so labels follow it; a fault of the tracking (outage,
milliseconds, doubled day) only changes what the log shows, and `reality` leaves those out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import singledispatch
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.simulate import COLUMNS

MILLISECONDS = 100_000_000_000
"""Times from here on are milliseconds: as seconds it is the year 5138."""
TRUTH_COLUMNS = ("kind", "fault", "first", "last", "rows", "words")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changes, from which local day to which."""

    first: date
    last: date | None = None
    """The last day of the change; None: it stays."""

    @property
    def kind(self) -> str:
        """The change's name in the truth table, e.g. `price_shock`."""
        return KINDS[type(self)]

    @property
    def fault(self) -> bool:
        """Whether it is a fault of the tracking, which changes nothing of what really happened."""
        return isinstance(self, (Outage, MillisecondClient, DoubledDay))


@dataclass(frozen=True, kw_only=True)
class NewSeason(Change):
    """Half of the categories are out: whoever looked for them turns to the quarter that is in season.

    Within a category other products become popular. Prices are those of the products.
    """

    share: float = 0.7
    """Share of the shoppers who follow it."""


@dataclass(frozen=True, kw_only=True)
class PriceShock(Change):
    """Prices of some categories are multiplied, and a share of their sales is lost."""

    categories: tuple[str, ...]
    factor: float = 1.4
    lost_sales: float = 0.3


@dataclass(frozen=True, kw_only=True)
class RenamedProducts(Change):
    """A share of the products goes on under another id."""

    share: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Outage(Change):
    """Events of one action, or of all, are not written."""

    action: str | None = None
    """A canonical action; None: every event."""


@dataclass(frozen=True, kw_only=True)
class MillisecondClient(Change):
    """The client of a share of the shoppers writes its times in milliseconds."""

    share: float = 0.2


@dataclass(frozen=True, kw_only=True)
class DoubledDay(Change):
    """Each of the days is imported twice; the second copy stands at the end of the log."""


KINDS: dict[type[Change], str] = {
    NewSeason: "new_season",
    PriceShock: "price_shock",
    RenamedProducts: "renamed_products",
    Outage: "outage",
    MillisecondClient: "milliseconds",
    DoubledDay: "doubled_day",
}


def read_log(path: Path) -> pd.DataFrame:
    """Return a simulated log as text: one column a header cell, an empty cell where nothing stands.

    Raises:
        UserError: when the file is no simulated log.
    """
    log = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    _check_columns(log, str(path))
    return log


def write_log(log: pd.DataFrame, path: Path) -> None:
    """Write a log as the simulated shop does; what `read_log` gave and nobody changed is the same bytes."""
    # Cells that were broken on purpose are quoted, cells in which nothing ever stood are not.
    cells = [name if name in ("user_id", "timestamp") else f"nullif({name}, '') AS {name}" for name in COLUMNS]
    with connect() as connection:
        connection.register("log_rows", log)
        connection.execute(f"COPY (SELECT {', '.join(cells)} FROM log_rows) TO {quote(path)} (FORMAT csv, HEADER)")


def local_days(log: pd.DataFrame, timezone: str = "UTC") -> pd.Series:
    """Return each row's local day as a date, shape (rows,).

    Milliseconds are read as such; a row whose time is no number belongs to the day of the row before it, as it was
    written after it.
    """
    number = pd.to_numeric(log["timestamp"].where(log["timestamp"].str.fullmatch(r"\d+")))
    second = number.where(number < MILLISECONDS, number // 1000).ffill().bfill()
    local = pd.to_datetime(second, unit="s", utc=True).dt.tz_convert(timezone)
    return local.dt.date


def reality(changes: Sequence[Change]) -> list[Change]:
    """Return the changes that really happened, without the faults of the tracking."""
    return [change for change in changes if not change.fault]


def change_log(
    log: pd.DataFrame, changes: Sequence[Change], *, timezone: str = "UTC", seed: int = 7
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a log after some changes, one applied after the other, and the truth about them.

    Args:
        log: what `read_log` gives; it is left as it is.
        changes: in the order in which they are applied.
        timezone: zone of the shop's midnights.
        seed: the same log, changes and seed give the same rows.

    Returns:
        The changed log, and a row a change with TRUTH_COLUMNS: kind, whether it is a fault of the tracking, first and
        last day (the log's last where it stays), how many rows were altered, left out or added, and a sentence.

    Raises:
        UserError: when the table is no simulated log, or a change names what the log does not have.
    """
    _check_columns(log, "the table")
    products, last_day = _products(log), local_days(log, timezone).max()
    truth = []
    for change in changes:
        _check(change, products)
        days = local_days(log, timezone)
        active = ((days >= change.first) & (days <= (change.last or last_day))).to_numpy()
        # The draw follows the kind too, so that leaving one change out moves no other.
        draw = np.random.default_rng([seed, list(KINDS).index(type(change)), change.first.toordinal()])
        log, rows, words = _apply(change, log, active, products, draw)
        truth.append((change.kind, change.fault, change.first, change.last or last_day, rows, words))
    return log.reset_index(drop=True), pd.DataFrame(truth, columns=list(TRUTH_COLUMNS))


Changed = tuple[pd.DataFrame, int, str]
"""The log, how many of its rows are other than before, and what happened in a sentence."""


@singledispatch
def _apply(
    change: Change, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    raise TypeError(f"no rule for {type(change).__name__}")


@_apply.register
def _(
    change: NewSeason, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    categories = sorted(products["category"].unique())
    shuffled = [str(category) for category in draw.permutation(categories)]
    season = shuffled[: max(1, len(shuffled) // 4)]
    out = shuffled[len(season) :][: len(shuffled) // 2]
    turned = {old: season[place % len(season)] for place, old in enumerate(out)}
    successor: dict[str, str] = {}
    for category in categories:
        old = products.index[products["category"] == category]
        new = draw.permutation(products.index[products["category"] == turned.get(category, category)])
        successor |= {product: new[place % len(new)] for place, product in enumerate(old)}
    hit = active & _some_shoppers(log, change.share, draw)
    touched = hit & log["product_id"].isin(successor).to_numpy()
    log = log.copy()
    old_id = log.loc[touched, "product_id"]
    new_id = old_id.map(successor)
    factor = new_id.map(products["price"]).to_numpy() / old_id.map(products["price"]).to_numpy()
    log.loc[touched, "product_id"] = new_id
    named = touched & (log["category"] != "").to_numpy()
    log.loc[named, "category"] = log.loc[named, "product_id"].map(products["category"])
    _multiply_prices(log, touched, factor)
    searched = hit & (log["query"] != "").to_numpy()
    queries = {query: _turn_query(query, turned) for query in log.loc[searched, "query"].unique()}
    log.loc[searched, "query"] = log.loc[searched, "query"].map(queries)
    words = f"{change.share:.0%} of the shoppers turn from {', '.join(sorted(out))} to {', '.join(sorted(season))}"
    return log, int((touched | searched).sum()), words


def _turn_query(query: str, turned: dict[str, str]) -> str:
    old = next((category for category in turned if category in query), None)
    return query if old is None else query.replace(old, turned[old])


@_apply.register
def _(
    change: PriceShock, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    category = log["product_id"].map(products["category"])
    hit = active & category.isin(change.categories).to_numpy()
    lost = hit & (log["action"] == "purchase").to_numpy() & (draw.random(len(log)) < change.lost_sales)
    log = log.copy()
    _multiply_prices(log, hit, np.full(int(hit.sum()), change.factor))
    words = f"prices of {', '.join(change.categories)} x {change.factor:g}, {change.lost_sales:.0%} of their sales lost"
    return log[~lost], int(hit.sum()), words


@_apply.register
def _(
    change: RenamedProducts, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    names = products.index[draw.random(len(products)) < change.share]
    hit = active & log["product_id"].isin(names).to_numpy()
    log = log.copy()
    log.loc[hit, "product_id"] = "new-" + log.loc[hit, "product_id"]
    return log, int(hit.sum()), f"{len(names)} of {len(products)} products have another id"


@_apply.register
def _(
    change: Outage, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    hit = active if change.action is None else active & (log["action"] == change.action).to_numpy()
    return log[~hit], int(hit.sum()), f"no event of {change.action or 'any action'} is written"


@_apply.register
def _(
    change: MillisecondClient, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    seconds = log["timestamp"].str.fullmatch(r"\d{1,11}").to_numpy()
    hit = active & seconds & _some_shoppers(log, change.share, draw)
    log = log.copy()
    rest = pd.Series(draw.integers(0, 1000, int(hit.sum())), index=log.index[hit]).astype(str).str.zfill(3)
    log.loc[hit, "timestamp"] = log.loc[hit, "timestamp"] + rest
    return log, int(hit.sum()), f"the clients of {change.share:.0%} of the shoppers write milliseconds"


@_apply.register
def _(
    change: DoubledDay, log: pd.DataFrame, active: np.ndarray, products: pd.DataFrame, draw: np.random.Generator
) -> Changed:
    return pd.concat([log, log[active]]), int(active.sum()), "every row of the day is imported twice"


def _some_shoppers(log: pd.DataFrame, share: float, draw: np.random.Generator) -> np.ndarray:
    """Return whether a row's shopper is among those drawn, shape (rows,); rows without a shopper never are."""
    shoppers = sorted(set(log["user_id"]) - {""})
    drawn = {shopper for shopper, luck in zip(shoppers, draw.random(len(shoppers)), strict=True) if luck < share}
    return log["user_id"].isin(drawn).to_numpy()


def _multiply_prices(log: pd.DataFrame, rows: np.ndarray, factor: np.ndarray) -> None:
    """Multiply the prices and amounts of some rows in place, each by its own factor, rounded to cents.

    Empty cells stay empty, and broken amounts (below zero) stay as they are.
    """
    for column in ("price", "amount"):
        value = pd.to_numeric(log.loc[rows, column], errors="coerce")
        good = (value > 0).to_numpy()
        new = [f"{number:.2f}" for number in value[good].to_numpy() * factor[good]]
        log.loc[value.index[good], column] = new


def _products(log: pd.DataFrame) -> pd.DataFrame:
    """Return what the log says of each product, by id: `category` and the dearest `price` that was asked."""
    rows = log[log["product_id"] != ""]
    price = pd.to_numeric(rows["price"], errors="coerce")
    named = rows[rows["category"] != ""]
    return pd.DataFrame(
        {
            "category": named.groupby("product_id")["category"].first(),
            "price": price.groupby(rows["product_id"]).max(),
        }
    ).dropna()


def _check_columns(log: pd.DataFrame, what: str) -> None:
    if tuple(log.columns) != COLUMNS:
        raise UserError(
            f"{what} is not a log of the simulated shop.",
            found=", ".join(map(str, log.columns)),
            expected=", ".join(COLUMNS),
            next_step="behavior simulate --out shop writes one",
        )


def _check(change: Change, products: pd.DataFrame) -> None:
    problem = expected = None
    if change.last is not None and change.last < change.first:
        problem, expected = f"ends on {change.last}, before it begins", f"a last day from {change.first} on"
    elif isinstance(change, PriceShock):
        known = sorted(products["category"].unique())
        unknown = sorted(set(change.categories) - set(known))
        if unknown or not change.categories:
            problem, expected = f"names the categories {unknown}", f"some of {', '.join(known)}"
    elif isinstance(change, Outage) and change.action not in (None, *ACTIONS):
        problem, expected = f"names the action {change.action}", f"one of {', '.join(ACTIONS)}, or none"
    if problem is not None:
        raise UserError(
            f"The {change.kind} from {change.first} on {problem}.", expected=expected, next_step="correct the change"
        )
