"""Histories: the events of a bucket in their total order, and the phrases that each text tells of them.

In come the tables of one bucket, out come arrays. A phrase is a run of events of one action with no silence longer than
a session allows; where it begins depends on nothing later, and a cutoff within a phrase cuts it. The one thing to know:
everything is looked up by place in the ordered events, so no event is copied for the many cutoffs that see it.
"""

from collections.abc import Collection
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from behavior_tasks.base.schema import ACTION_RANK_SQL, ACTIONS
from behavior_tasks.examples.feature_sql import SESSION_GAP, UNITS, UNKNOWN

LISTED_PRODUCTS = 3
"""A phrase names up to this many products; of more it says how many."""
PICKED_PRODUCTS = 1
"""Of many products, a phrase still names so many of those that have a name."""
PAID = (ACTIONS.index("purchase"), ACTIONS.index("return"))
"""Actions of which the amount is told; of the others the price."""
DAY = 86_400_000_000
"""Microseconds in a day."""
NONE = -1
"""What is missing in an array of whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of the examples' shoppers, ordered; arrays of shape (events,)."""

    who: np.ndarray
    us: np.ndarray
    """Instant, microseconds since 1970, UTC."""
    rank: np.ndarray
    """Action's place in ACTIONS."""
    product: np.ndarray
    category: np.ndarray
    """Place in `categories`."""
    query: np.ndarray
    """Place in `queries`."""
    amount: np.ndarray
    """In UNITS, as is the price."""
    price: np.ndarray
    products: int
    """How many different ones there are."""
    named: dict[str, int]
    """Products with a name → place."""
    categories: list[str]
    queries: list[str]

    def __len__(self) -> int:
        return len(self.us)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Shoppers at cutoffs, each once: events `[low, high)` are its history; arrays of shape (moments,)."""

    low: np.ndarray
    high: np.ndarray
    until: np.ndarray
    """The cutoff, microseconds."""

    def __len__(self) -> int:
        return len(self.until)

    def part(self, first: int, last: int) -> "Moments":
        """Return some of the moments."""
        return Moments(low=self.low[first:last], high=self.high[first:last], until=self.until[first:last])


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """The phrases of some moments, in their order; arrays of shape (phrases,) unless said otherwise."""

    moment: np.ndarray
    last: np.ndarray
    """Whether it is its moment's last."""
    rank: np.ndarray
    us: np.ndarray
    """Its first instant."""
    silence: np.ndarray
    """Microseconds since the event before it; NONE for a moment's first."""
    events: np.ndarray
    products: np.ndarray
    """How many different ones."""
    listed: np.ndarray
    """The products that are named, in order, shape (phrases, LISTED_PRODUCTS); NONE where there are fewer."""
    listed_category: np.ndarray
    """Their categories, of the event that touched each first."""
    category: np.ndarray
    """The most frequent category, of phrases with too many products to list."""
    query: np.ndarray
    amount: np.ndarray
    """Sum of the amounts, in UNITS; NONE when none is known, or for actions that are told with a price."""
    price: np.ndarray
    """Mean price, in UNITS."""


@dataclass(frozen=True, kw_only=True)
class Older:
    """What came before the phrases that are told one by one; arrays of shape (moments,) unless said otherwise."""

    there: np.ndarray
    span: np.ndarray
    """Microseconds from its first to its last event."""
    counts: np.ndarray
    """Phrases of each action, shape (moments, actions)."""
    amount: np.ndarray
    """Mean amount of its purchases, in UNITS; NONE when it has none."""
    favourites: np.ndarray
    """The categories with the most events, shape (moments, 2)."""


def read_events(connection: duckdb.DuckDBPyConnection, named: Collection[str]) -> Events:
    """Return the events of the shoppers in the table `people` (shopper, who), from the view `events`.

    Args:
        connection: has both.
        named: products whose places are wanted.

    What comes after the query in the order of events is in no text but as a sum, so events that differ only in that may
    change places. Words take long to sort by and to copy, so all go by number.
    """
    kinds = {"goods": ("product_id", "''"), "kinds": ("category", f"'{UNKNOWN}'"), "asked": ("query", "''")}
    names = {}
    for table, (column, none) in kinds.items():
        connection.execute(f"""
            CREATE TABLE {table} AS
            SELECT {column}, CAST(row_number() OVER (ORDER BY {column}) - 1 AS INTEGER) AS number
            FROM (SELECT DISTINCT {column} FROM events WHERE {column} <> {none})
        """)
    for table, column in (("kinds", "category"), ("asked", "query")):
        rows = connection.execute(f"SELECT {column} FROM {table} ORDER BY number").fetchall()
        names[table] = [name for (name,) in rows]
    places = "SELECT product_id, number FROM goods WHERE product_id IN (SELECT unnest(CAST(? AS VARCHAR[])))"
    known = dict(connection.execute(places, [list(named)]).fetchall())
    products = connection.execute("SELECT count(*) FROM goods").fetchall()[0][0]
    found = connection.sql(f"""
        SELECT s.who, epoch_us(e.timestamp) AS us, CAST({ACTION_RANK_SQL} AS TINYINT) AS rank,
               coalesce(p.number, -1) AS product, coalesce(c.number, -1) AS category, coalesce(q.number, -1) AS query,
               coalesce(CAST(round(e.amount * {UNITS}) AS BIGINT), -1) AS amount,
               coalesce(CAST(round(e.price * {UNITS}) AS BIGINT), -1) AS price
        FROM events AS e JOIN people AS s ON s.shopper = e.shopper
        LEFT JOIN goods AS p ON p.product_id = e.product_id LEFT JOIN kinds AS c ON c.category = e.category
        LEFT JOIN asked AS q ON q.query = e.query
        ORDER BY s.who, us, rank, product, category, query
    """).to_arrow_table()
    arrays = {name: found[name].to_numpy() for name in found.column_names}
    return Events(**arrays, products=products, named=known, categories=names["kinds"], queries=names["asked"])


def find_moments(events: Events, who: np.ndarray, until: np.ndarray, *, lookback_days: int) -> Moments:
    """Return shoppers at cutoffs with the places of their histories: `[cutoff - lookback, cutoff)`."""
    begin, end = np.searchsorted(events.who, who, side="left"), np.searchsorted(events.who, who, side="right")
    low = _search(events.us, begin, end, until - lookback_days * DAY)
    return Moments(low=low, high=_search(events.us, low, end, until), until=until)


def _search(values: np.ndarray, low: np.ndarray, high: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the first place in `[low, high)` with a value that is not below the wanted one, else `high`.

    Values rise within each range.
    """
    while (open_ := low < high).any():
        middle = (low + high) // 2
        below = open_ & (values[np.minimum(middle, len(values) - 1)] < wanted)
        low, high = np.where(below, middle + 1, low), np.where(open_ & ~below, middle, high)
    return low


class Histories:
    """Phrases of any moments over one bucket's events."""

    def __init__(self, events: Events, named: np.ndarray, *, last_events: int) -> None:
        """Prepare the events.

        Args:
            events: of one bucket.
            named: whether each product has a name, shape (products,).
            last_events: most phrases told of a moment.
        """
        self._events, self._named, self._last_events = events, named, last_events
        n, rank, us, who = len(events), events.rank, events.us, events.who
        begins = np.ones(n, dtype=bool)
        begins[1:] = (rank[1:] != rank[:-1]) | (us[1:] - us[:-1] > SESSION_GAP) | (who[1:] != who[:-1])
        self._phrase = np.cumsum(begins) - 1
        self._start = np.append(np.flatnonzero(begins), n)
        paid = np.isin(rank, PAID)
        self._amounts, self._amounts_known = _running(events.amount, (events.amount >= 0) & paid)
        self._prices, self._prices_known = _running(events.price, (events.price >= 0) & ~paid)
        bought = (events.amount >= 0) & (rank == PAID[0])
        self._spent, _ = _running(events.amount, bought)
        places = np.arange(n)
        self._latest_query = np.maximum.accumulate(np.where(events.query >= 0, places, NONE)) if n else places
        # The first event of each product in its phrase.
        firsts = events.product >= 0
        # One event by itself can be no second.
        crowded = np.flatnonzero(firsts & (np.diff(self._start)[self._phrase] > 1))
        keys = self._phrase[crowded] * (events.products + 1) + events.product[crowded]
        firsts[crowded] = number_by_appearance(keys)[1]
        self._firsts, self._firsts_before = np.flatnonzero(firsts), np.append(0, np.cumsum(firsts))
        # Sorting whole numbers of two bytes takes no comparisons.
        small = events.category.astype(np.int16) if len(events.categories) < 2**15 else events.category
        self._places = np.argsort(small, kind="stable")
        ends = np.cumsum(np.bincount(events.category + 1, minlength=len(events.categories) + 1))
        self._category_starts = ends
        self._ranks_before = [_running(rank[self._start[:-1]] == r)[0] for r in range(len(ACTIONS))]

    def count(self, moments: Moments) -> np.ndarray:
        """Return the number of phrases told of each moment, shape (moments,)."""
        first, last = self._told(moments)
        return last - first

    def _told(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Return the first phrase told of each moment and the one after the last."""
        empty = moments.high <= moments.low
        if not len(self._events):
            return moments.low, moments.low
        low, last = self._phrase[np.where(empty, 0, moments.low)], self._phrase[np.maximum(moments.high, 1) - 1] + 1
        first = np.maximum(low, last - self._last_events)
        return np.where(empty, 0, first), np.where(empty, 0, last)

    def phrases(self, moments: Moments) -> Phrases:
        """Return the last phrases of moments."""
        events = self._events
        first, end = self._told(moments)
        counts = end - first
        moment = np.repeat(np.arange(len(moments)), counts)
        phrase = spread(first, counts)
        start = np.maximum(self._start[phrase], moments.low[moment])
        stop = np.minimum(self._start[phrase + 1], moments.high[moment])
        opens = phrase == first[moment]
        amounts = self._amounts_known[stop] - self._amounts_known[start]
        prices = self._prices_known[stop] - self._prices_known[start]
        query = self._latest_query[stop - 1]
        mentions, low, high = self._mentions(phrase, start, stop)
        products = high - low
        listed, listed_category = self._listed(mentions, low, products)
        return Phrases(
            moment=moment,
            last=phrase == end[moment] - 1,
            rank=events.rank[start],
            us=events.us[start],
            silence=np.where(opens, NONE, events.us[start] - events.us[start - 1]),
            events=stop - start,
            products=products,
            listed=listed,
            listed_category=listed_category,
            category=self._main_category(start, stop, products > LISTED_PRODUCTS),
            query=np.where(query >= start, events.query[query], NONE),
            amount=np.where(amounts > 0, self._amounts[stop] - self._amounts[start], NONE),
            price=_mean(self._prices[stop] - self._prices[start], prices),
        )

    def _mentions(
        self, phrase: np.ndarray, start: np.ndarray, stop: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the events that touch a product first in a phrase, and which of them are each phrase's."""
        low, high = self._firsts_before[start], self._firsts_before[stop]
        cut = np.flatnonzero(start > self._start[phrase])
        if not len(cut):
            return self._firsts, low, high
        # A phrase that the lookback cuts may have lost the first event of a product; look for its own firsts.
        sizes = stop[cut] - start[cut]
        row, place = np.repeat(cut, sizes), spread(start[cut], sizes)
        known = self._events.product[place] >= 0
        row, place = row[known], place[known]
        keys = row * (self._events.products + 1) + self._events.product[place]
        kept = np.flatnonzero(number_by_appearance(keys)[1])
        own = len(self._firsts) + np.searchsorted(row[kept], np.stack([cut, cut + 1]))
        low[cut], high[cut] = own[0], own[1]
        return np.append(self._firsts, place[kept]), low, high

    def _listed(self, mentions: np.ndarray, low: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = (len(low), LISTED_PRODUCTS)
        places = np.arange(LISTED_PRODUCTS)
        is_named = self._named[self._events.product[mentions]]
        names, before = np.flatnonzero(is_named), np.append(0, np.cumsum(is_named))
        few = products <= LISTED_PRODUCTS
        first = np.where(few, low, before[low])
        count = np.where(few, products, np.minimum(before[low + products] - before[low], PICKED_PRODUCTS))
        there = places < count[:, None]
        chosen = (first[:, None] + places)[there]
        picked = ~np.broadcast_to(few[:, None], shape)[there]
        chosen[picked] = names[chosen[picked]]
        event = mentions[chosen]
        listed, categories = np.full(shape, NONE, dtype=np.int64), np.full(shape, NONE, dtype=np.int64)
        listed[there], categories[there] = self._events.product[event], self._events.category[event]
        return listed, categories

    def _main_category(self, start: np.ndarray, stop: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return the category of the most events of the wanted phrases, of equals the first by name."""
        found = np.full(len(start), NONE, dtype=np.int64)
        rows = np.flatnonzero(wanted)
        if not self._events.categories or not len(rows):
            return found
        sizes = stop[rows] - start[rows]
        row, category = np.repeat(rows, sizes), self._events.category[spread(start[rows], sizes)].astype(np.int64)
        row, category = row[category >= 0], category[category >= 0]
        step = len(self._events.categories)
        number, first = number_by_appearance(row * step + category)
        keys, counts = (row * step + category)[first], np.bincount(number)
        # The last that is written stays: the one with the most events, then the first by name.
        order = np.lexsort((-keys, counts))
        found[keys[order] // step] = keys[order] % step
        return found

    def older(self, moments: Moments, popular: np.ndarray) -> Older:
        """Return what came before the last phrases of moments.

        Args:
            moments: any.
            popular: places of the categories that may be favourites, most popular first.
        """
        events, phrase = self._events, self._phrase
        first, _ = self._told(moments)
        if not len(events):
            first = np.zeros(len(moments), dtype=np.int64)
            phrase = np.zeros(1, dtype=np.int64)
        low = phrase[np.minimum(moments.low, len(phrase) - 1)]
        there = (first > low) & (moments.high > moments.low)
        start, stop = np.where(there, moments.low, 0), np.where(there, self._start[first], 0)
        low, first = np.where(there, low, 0), np.where(there, first, 0)
        counts = np.stack([before[first] - before[low] for before in self._ranks_before], axis=1)
        spent = self._spent[stop] - self._spent[start]
        span = np.zeros(len(moments), dtype=np.int64)
        span[there] = events.us[stop[there] - 1] - events.us[start[there]]
        return Older(
            there=there,
            span=span,
            counts=counts,
            amount=_mean(spent, np.where(spent > 0, counts[:, PAID[0]], 0)),
            favourites=self._favourites(start, stop, popular),
        )

    def _favourites(self, start: np.ndarray, stop: np.ndarray, popular: np.ndarray) -> np.ndarray:
        favourites = np.full((len(start), 2), NONE, dtype=np.int64)
        rows = np.flatnonzero(stop > start)
        start, stop = start[rows], stop[rows]
        best, most = favourites[rows], np.zeros((len(rows), 2), dtype=np.int64)
        for category in popular if len(rows) else ():
            places = self._places[self._category_starts[category] : self._category_starts[category + 1]]
            count = np.searchsorted(places, stop) - np.searchsorted(places, start)
            top = count > most[:, 0]
            second = ~top & (count > most[:, 1])
            for values, new in ((best, category), (most, count)):
                values[:, 1] = np.where(top, values[:, 0], np.where(second, new, values[:, 1]))
                values[:, 0] = np.where(top, new, values[:, 0])
        favourites[rows] = best
        return favourites


def number_by_appearance(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number keys in the order in which they come up first, and say where each does.

    >>> number, first = number_by_appearance(np.array([7, 3, 7, 9]))
    >>> number.tolist(), first.tolist()
    ([0, 1, 0, 2], [True, True, False, True])
    """
    number = pa.array(keys).dictionary_encode().indices.to_numpy()
    most = np.maximum.accumulate(number) if len(number) else number
    return number, np.diff(most, prepend=-1) > 0


def spread(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return `first[i], first[i] + 1, …`, `counts[i]` of them, for each i in turn.

    >>> spread(np.array([5, 9]), np.array([2, 1])).tolist()
    [5, 6, 9]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(first - (ends - counts), counts)


def _running(values: np.ndarray, which: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the values, and the number of them, before each place and after the last."""
    known = np.ones(len(values), dtype=bool) if which is None else which
    sums = np.cumsum(np.where(known, values, 0), dtype=np.int64)
    return np.append(0, sums), np.append(0, np.cumsum(known))


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, sums // np.maximum(counts, 1), NONE)
