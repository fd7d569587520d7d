"""What shoppers did with products up to an instant: clean events by bucket in, one row a shopper and product out.

The one thing to know: only events before the instant enter, and sums are whole numbers, so the same events give the
same rows however they are cut into buckets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import duckdb
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import BucketEvents

INTEREST = {"browse": 1, "click": 1, "favourite": 2, "add_to_cart": 3, "purchase": 3}
"""How much an action says about the wish for a product; a search names none, and a return takes nothing back."""
SCALE = 1 << 20
"""Units of one event of interest today."""
PAIR_COLUMNS = ("interest", "last", "first", "times", "bought", "carted", "touched_lately", "bought_lately")
NEVER = -1
"""In a column of instants: it did not happen."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Pairs of shoppers and products, ordered by both; arrays of pairs have the shape (pairs,)."""

    cutoff: datetime
    """Naive UTC; only events before it are in here."""
    shoppers: np.ndarray
    """Pseudonyms, rising; everybody with an event."""
    bucket: np.ndarray
    """Of each shopper."""
    active: np.ndarray
    """Whether a shopper has an event in the lookback."""
    products: np.ndarray
    """Ids, rising; every product with an event."""
    category: np.ndarray
    """Of each product its place in `categories`; -1 where none is known."""
    categories: np.ndarray
    names: np.ndarray
    """What the shop calls each product; empty where it does not."""
    born: np.ndarray
    """Of each product its first event, microseconds since 1970."""
    who: np.ndarray
    """Place in `shoppers`."""
    product: np.ndarray
    """Place in `products`."""
    interest: np.ndarray
    """Actions by their weight, each halved for every half-life that it is old."""
    last: np.ndarray
    """Last touched, microseconds."""
    first: np.ndarray
    times: np.ndarray
    """Purchases."""
    bought: np.ndarray
    """Last bought, microseconds, or NEVER."""
    carted: np.ndarray
    """Last put into the cart, microseconds, or NEVER."""
    touched_lately: np.ndarray
    """Whether within the last horizon."""
    bought_lately: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        """Where the pairs of each shopper begin, and the last ones end, shape (shoppers + 1,)."""
        return np.searchsorted(self.who, np.arange(len(self.shoppers) + 1))

    @property
    def shape(self) -> tuple[int, int]:
        """Shoppers and products."""
        return len(self.shoppers), len(self.products)

    def matrix(self, values: np.ndarray) -> csr_array:
        """Return a value of each pair, (pairs,), as shoppers x products."""
        return csr_array((values, self.product, self.rows), shape=self.shape)

    def value_of(self, who: np.ndarray, product: np.ndarray, values: np.ndarray, missing: float) -> np.ndarray:
        """Return the value of any pairs, shape of `who`; what is `missing` for those without an event."""
        if not len(self.who):
            return np.full(len(who), missing, dtype=np.float64)
        keys, wanted = self.who * np.int64(len(self.products)) + self.product, who * np.int64(len(self.products))
        at = np.minimum(np.searchsorted(keys, wanted + product), len(keys) - 1)
        return np.where(keys[at] == wanted + product, values[at], missing)

    def count_shoppers(self, chosen: np.ndarray) -> np.ndarray:
        """Return of each product the number of shoppers among the chosen pairs, shape (products,)."""
        return np.bincount(self.product[chosen], minlength=len(self.products)).astype(np.float64)

    @cached_property
    def popularity(self) -> np.ndarray:
        """Order of all products by buyers ever, then by those who touched them: higher is better, (products,)."""
        return _popularity(self.count_shoppers(self.times > 0), self.count_shoppers(np.ones(len(self.who), dtype=bool)))

    @cached_property
    def recent(self) -> np.ndarray:
        """The same within the last horizon; zero for a product that nobody touched in it."""
        return _popularity(self.count_shoppers(self.bought_lately), self.count_shoppers(self.touched_lately))


def _popularity(buyers: np.ndarray, touchers: np.ndarray) -> np.ndarray:
    """Add what decides between equals: those who only looked count, but all of them less than one buyer."""
    return buyers + touchers / (touchers.max(initial=0) + 1)


def read_log(
    events: Sequence[BucketEvents], cutoff: datetime, *, horizon: timedelta, lookback: timedelta, memory_mb: int
) -> Log:
    """Read the events before an instant.

    Args:
        events: all buckets of the clean events.
        cutoff: naive UTC.
        horizon: what "lately" is, and the half-life of interest.
        lookback: a shopper with an event in it is active.
        memory_mb: for DuckDB.
    """
    pairs, people, goods = [], [], []
    for number, bucket in enumerate(events):
        with connect(memory_mb=memory_mb) as connection:
            bucket.until(cutoff).create_view(connection, "every_event")
            connection.execute(f"CREATE VIEW events AS SELECT * FROM every_event WHERE timestamp < '{cutoff}'")
            pairs.append(connection.execute(_pairs_sql(cutoff, horizon)).df())
            found = connection.execute(f"""
                SELECT shopper, max(timestamp) >= TIMESTAMP '{cutoff - lookback}' AS active FROM events GROUP BY ALL
            """).df()
            people.append(found.assign(bucket=number))
            goods.append(_goods(connection))
    every, shoppers = pd.concat(pairs, ignore_index=True), pd.concat(people, ignore_index=True)
    shoppers = shoppers.sort_values("shopper", kind="stable", ignore_index=True)
    facts = pd.concat(goods, ignore_index=True).sort_values(["product_id", "last"], kind="stable")
    products = np.sort(facts["product_id"].unique()).astype(object)
    category, categories = _newest(facts, products, "category")
    name, names = _newest(facts, products, "product_name")
    born = facts.groupby("product_id")["first"].min().reindex(products).to_numpy(dtype=np.int64)
    who = np.searchsorted(shoppers["shopper"].to_numpy(dtype=object), every["shopper"].to_numpy(dtype=object))
    product = np.searchsorted(products, every["product_id"].to_numpy(dtype=object))
    order = np.lexsort((product, who))
    columns = {column: every[column].to_numpy()[order] for column in PAIR_COLUMNS}
    columns["interest"] = columns["interest"].astype(np.float64) / SCALE
    return Log(
        cutoff=cutoff,
        shoppers=shoppers["shopper"].to_numpy(dtype=object),
        bucket=shoppers["bucket"].to_numpy(dtype=np.int64),
        active=shoppers["active"].to_numpy(dtype=bool),
        products=products,
        category=category,
        categories=categories,
        names=np.append(names, "")[name],
        born=born,
        who=who[order],
        product=product[order],
        **columns,
    )


def bought_between(events: Sequence[BucketEvents], begin: datetime, end: datetime, *, memory_mb: int) -> pd.DataFrame:
    """Return who bought what in [begin, end): `shopper`, `product_id`, each pair once, ordered by both."""
    found = []
    for bucket in events:
        with connect(memory_mb=memory_mb) as connection:
            bucket.create_view(connection)
            found.append(
                connection.execute(f"""
                    SELECT DISTINCT shopper, product_id FROM events
                    WHERE action = 'purchase' AND product_id <> ''
                        AND timestamp >= TIMESTAMP '{begin}' AND timestamp < TIMESTAMP '{end}'
                """).df()
            )
    return pd.concat(found, ignore_index=True).sort_values(["shopper", "product_id"], ignore_index=True)


def _pairs_sql(cutoff: datetime, horizon: timedelta) -> str:
    weights = " ".join(f"WHEN '{action}' THEN {weight}" for action, weight in INTEREST.items())
    half_life, lately = horizon / timedelta(microseconds=1), f"timestamp >= TIMESTAMP '{cutoff - horizon}'"
    age = f"(epoch_us(TIMESTAMP '{cutoff}') - epoch_us(timestamp)) / {half_life}"

    def newest(action: str) -> str:
        return f"coalesce(max(epoch_us(timestamp)) FILTER (action = '{action}'), {NEVER})"

    return f"""
        SELECT shopper, product_id,
               CAST(sum(CAST((CASE action {weights} ELSE 0 END) * {SCALE} * pow(0.5, {age}) AS BIGINT)) AS BIGINT)
                   AS interest,
               max(epoch_us(timestamp)) AS last, min(epoch_us(timestamp)) AS first,
               count(*) FILTER (action = 'purchase') AS times,
               {newest("purchase")} AS bought, {newest("add_to_cart")} AS carted,
               bool_or({lately}) AS touched_lately,
               coalesce(bool_or({lately}) FILTER (action = 'purchase'), false) AS bought_lately
        FROM events WHERE product_id <> '' GROUP BY ALL
    """


def _goods(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return each product's first and last event, and the newest category and name that the bucket knows of it."""
    return connection.execute("""
        SELECT product_id, min(epoch_us(timestamp)) AS first, max(epoch_us(timestamp)) AS last,
               arg_max(category, (timestamp, category)) FILTER (category <> 'unknown') AS category,
               arg_max(product_name, (timestamp, product_name)) FILTER (product_name <> '') AS product_name
        FROM events WHERE product_id <> '' GROUP BY ALL
    """).df()


def _newest(facts: pd.DataFrame, products: np.ndarray, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return of each product the place of its newest word, -1 for none, and the words, rising."""
    known = facts.dropna(subset=[column]).groupby("product_id")[column].last().reindex(products)
    place, words = pd.factorize(known, sort=True)
    return place.astype(np.int64), words.to_numpy(dtype=object)
