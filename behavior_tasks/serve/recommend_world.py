"""A shop at an instant: events and champions in; every way to recommend, made from what was known then, out.

The one thing to know: tonight and a past day are made by the same functions, so what was measured is what is served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.recommend_champion import read_next, score_touched
from behavior_tasks.serve.recommend_log import Log, bought_between, read_log
from behavior_tasks.serve.recommend_methods import (
    Method,
    category_popular,
    factors,
    from_matrix,
    neighbours,
    own_products,
    same_for_all,
    similar_products,
)
from behavior_tasks.serve.recommend_rank import Allowed
from behavior_tasks.serve.score import Place

if TYPE_CHECKING:
    from behavior_tasks.model.next_product import NextReader

RECENT, POPULAR, CATEGORY, OWN, KNN, FACTORS, LANGUAGE, SCORES, COMBINATION = METHODS = (
    "recent popularity",
    "popularity",
    "popular in their categories",
    "own products",
    "item-kNN",
    "matrix factorisation",
    "language model",
    "product scores",
    "combination",
)
"""The simplest first."""
View = Literal["all", "unbought", "untouched"]
"""Which products count: all, those that the shopper never bought before, or never touched before."""
MOST_BUYERS = 4000
"""Of more shoppers who bought, so many are drawn by lot."""
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What methods are made from, whatever the instant."""

    events: Sequence[BucketEvents]
    place: Place
    horizon_days: int
    lookback_days: int
    reading: "tuple[Champion, NextReader] | None"
    """The champion whose language model is read."""
    products: Champion | None
    """The champion of the unit shopper_product."""

    @property
    def horizon(self) -> timedelta:
        """How far a recommendation looks ahead."""
        return timedelta(days=self.horizon_days)

    @property
    def memory_mb(self) -> int:
        """Of DuckDB."""
        return self.place.engine.memory_mb

    def read(self, moment: Moment) -> Log:
        """Return the log at an instant."""
        lookback = timedelta(days=self.lookback_days)
        return read_log(self.events, moment.cutoff, horizon=self.horizon, lookback=lookback, memory_mb=self.memory_mb)

    def without_champions(self) -> "Sources":
        """Return the same shop as if it had no champion."""
        return replace(self, reading=None, products=None)


@dataclass(frozen=True, kw_only=True)
class World:
    """A log at an instant with the methods that were made from it."""

    moment: Moment
    log: Log
    methods: Mapping[str, Method]

    def allowed(self, view: View) -> Allowed:
        """Return who may get what of a view."""
        log = self.log
        if view == "all":
            return lambda who: np.ones((len(who), len(log.products)), dtype=bool)
        had = log.matrix((log.times > 0).astype(np.float32) if view == "unbought" else np.ones(len(log.who)))
        return lambda who: np.asarray(had[who].toarray() == 0)


def make_world(
    sources: Sources, moment: Moment, log: Log, who: np.ndarray, *, rate: float, scores: Method | None = None
) -> World:
    """Make every method at an instant.

    Args:
        sources: what they are made from.
        moment: the instant.
        log: read at it.
        who: shoppers that will be asked about.
        rate: products that a shopper buys within the horizon without having touched them, see `untouched_rate`.
        scores: the product champion's probabilities where they are there; None: it is asked.
    """
    methods: dict[str, Method] = {
        RECENT: same_for_all(log.recent),
        POPULAR: same_for_all(log.popularity),
        CATEGORY: category_popular(log),
        OWN: own_products(log),
        KNN: neighbours(log, similar_products(log)),
        FACTORS: factors(log),
    }
    if sources.reading is not None:
        champion, reader = sources.reading
        told = read_next(champion, reader, sources.events, log, who, memory_mb=sources.memory_mb)
        methods[LANGUAGE] = from_matrix(told)
    if sources.products is not None:
        scores = scores or from_matrix(
            score_touched(sources.products, sources.events, moment, log, who, place=sources.place)
        )
        methods[SCORES] = with_scores(scores, methods.get(LANGUAGE, methods[KNN]), rate)
    return World(moment=moment, log=log, methods=methods)


def with_scores(scores: Method, others: Method, rate: float) -> Method:
    """Rank by the product champion's probability where it has one, else by another method's share of `rate`.

    The product champion learned from touched products only, so it is asked about no others: the products that a
    shopper buys without having touched them are spread as the language model reads them, or, where there is none, as
    item-kNN scores them.
    """

    def score(who: np.ndarray) -> np.ndarray:
        known, read = scores(who), others(who)
        rest = np.where(known > 0, 0, read)
        share = rest / np.maximum(rest.sum(axis=1, keepdims=True), 1e-9)
        return np.asarray(np.where(known > 0, known, rate * share), dtype=np.float32)

    return score


@dataclass(frozen=True, kw_only=True)
class Bought:
    """What active shoppers bought within the horizon after a log's instant, each pair once; arrays (pairs,)."""

    who: np.ndarray
    """Places in the log, rising."""
    product: np.ndarray

    @classmethod
    def after(cls, sources: Sources, log: Log) -> "Bought":
        """Read it. A product that nobody had touched before can't be recommended and is not in it."""
        end = log.cutoff + sources.horizon
        found = bought_between(sources.events, log.cutoff, end, memory_mb=sources.memory_mb)
        who, is_known = _places(log.shoppers, found["shopper"].to_numpy(dtype=object))
        product, is_sold = _places(log.products, found["product_id"].to_numpy(dtype=object))
        kept = is_known & is_sold
        kept[kept] &= log.active[who[kept]]
        return cls(who=who[kept], product=product[kept])

    def some(self) -> "Bought":
        """Return it for at most MOST_BUYERS shoppers."""
        buyers = np.unique(self.who)
        if len(buyers) <= MOST_BUYERS:
            return self
        kept = np.isin(self.who, np.random.default_rng(SEED).choice(buyers, MOST_BUYERS, replace=False))
        return Bought(who=self.who[kept], product=self.product[kept])

    def of(self, log: Log, view: View) -> "Bought":
        """Return what of it is in a view."""
        if view == "all":
            return self
        had = log.times if view == "unbought" else np.ones(len(log.who))
        kept = log.value_of(self.who, self.product, had, 0) == 0
        return Bought(who=self.who[kept], product=self.product[kept])

    def by_shopper(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the shoppers, rising, and the products of each."""
        who, starts = np.unique(self.who, return_index=True)
        return who, np.split(self.product, starts[1:]) if len(who) else []


def untouched_rate(log: Log, bought: Bought) -> float:
    """Return how many products an active shopper bought after a log's instant without a touch before it."""
    return len(bought.of(log, "untouched").who) / max(1, int(log.active.sum()))


def _places(names: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where wanted names stand among rising ones, and whether they do."""
    if not len(names):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return at, np.asarray(names[at] == wanted, dtype=bool)
