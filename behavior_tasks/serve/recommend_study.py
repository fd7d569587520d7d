"""The study: every method on the same shoppers and candidates of past days in; which one is served, and how good, out.

Two past horizons are used. On the earlier one the method is chosen and the combination learned; on the newest one
everything is measured that is told. The one thing to know: no figure that is told took part in a choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from behavior_tasks.data.events import BucketEvents
from behavior_tasks.model.next_product import NextReader
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment, backtest_moment
from behavior_tasks.serve.recommend_champion import read_next, score_touched
from behavior_tasks.serve.recommend_log import Log, bought_between, read_log
from behavior_tasks.serve.recommend_measure import Measured, choose, measure_lists
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
from behavior_tasks.serve.recommend_rank import (
    FEWEST_HITS,
    Allowed,
    Candidates,
    Combination,
    are_bought,
    facts,
    gather,
    unseen_scores,
)
from behavior_tasks.serve.score import Place
from behavior_tasks.verdict.bootstrap import Resampling

RECENT, POPULAR, CATEGORY, OWN, KNN, FACTORS, LANGUAGE, SCORES, COMBINATION = METHODS = (
    "recent popularity",
    "popularity",
    "popular in their categories",
    "own products",
    "item-kNN",
    "matrix factorisation",
    "language model",
    "language model and product scores",
    "combination",
)
"""The simplest first."""
FALLBACK = OWN
"""Served where nothing can be compared: it knows what a shopper likes and goes on with what is popular lately."""
FEWEST_BUYERS = 30
"""Shoppers who bought, without whom nothing is compared."""
MOST_BUYERS = 4000
"""Of more, so many are drawn by lot."""
DRAWING = Resampling(resamples=1000, confidence=0.95, seed=7)
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What methods are made from, whatever the instant."""

    events: Sequence[BucketEvents]
    place: Place
    horizon_days: int
    lookback_days: int
    reading: tuple[Champion, NextReader] | None
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
        return read_log(
            self.events, moment.cutoff, horizon=self.horizon, lookback=lookback, memory_mb=self.memory_mb
        )

    def without_champions(self) -> "Sources":
        """Return the same shop as if it had no champion."""
        return replace(self, reading=None, products=None)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who may get what."""

    bought: str
    """keep or drop what a shopper has bought before."""
    per_category: int
    """Most products of one category in a list; 0: any number."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Every method on what the shoppers of one past instant then bought."""

    moment: Moment
    measured: dict[str, Measured]
    """Method → figures, the simplest first."""
    shoppers: int
    purchases: int
    """Different products that they bought, all shoppers added."""
    found: float
    """Share of these purchases among the candidates: no ranking can find more."""
    hits: int


@dataclass(frozen=True, kw_only=True)
class World:
    """A log at an instant with the methods that were made from it."""

    moment: Moment
    log: Log
    methods: Mapping[str, Method]
    horizon: timedelta

    def allowed(self, view: str) -> Allowed:
        """Return who may get what: `all`, `unbought` (never bought before) or `untouched` (never touched before)."""
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
        methods[SCORES] = with_scores(scores, methods.get(LANGUAGE, methods[RECENT]), rate)
    return World(moment=moment, log=log, methods=methods, horizon=sources.horizon)


def with_scores(scores: Method, reading: Method, rate: float) -> Method:
    """Rank by the product champion's probability where it has one, else by the language model's share of `rate`.

    The product champion learned from touched products only, so it is asked about no others: what is left of the
    reading after them is spread over the products that a shopper buys without having touched them.
    """

    def score(who: np.ndarray) -> np.ndarray:
        known, read = scores(who), reading(who)
        rest = np.where(known > 0, 0, read)
        share = rest / np.maximum(rest.sum(axis=1, keepdims=True), 1e-9)
        return np.asarray(np.where(known > 0, known, rate * share), dtype=np.float32)

    return score


def targets_at(sources: Sources, world_log: Log, view: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the active shoppers who bought something within the horizon after a log's instant, and what.

    A product that nobody had touched before can't be recommended and is no target.
    """
    log = world_log
    found = bought_between(sources.events, log.cutoff, log.cutoff + sources.horizon, memory_mb=sources.memory_mb)
    who, is_known = _places(log.shoppers, found["shopper"].to_numpy(dtype=object))
    product, is_sold = _places(log.products, found["product_id"].to_numpy(dtype=object))
    kept = is_known & is_sold
    kept[kept] &= log.active[who[kept]]
    if view != "all":
        had = log.times if view == "unbought" else np.ones(len(log.who))
        kept[kept] &= log.value_of(who[kept], product[kept], had, 0) == 0
    who, product = who[kept], product[kept]
    buyers, starts = np.unique(who, return_index=True)
    targets = np.split(product, starts[1:]) if len(buyers) else []
    if len(buyers) > MOST_BUYERS:
        drawn = np.sort(np.random.default_rng(SEED).choice(len(buyers), MOST_BUYERS, replace=False))
        buyers, targets = buyers[drawn], [targets[place] for place in drawn]
    return buyers, targets


def _places(names: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where wanted names stand among rising ones, and whether they do."""
    if not len(names):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return at, names[at] == wanted


def untouched_rate(sources: Sources, log: Log) -> float:
    """Return how many products an active shopper bought in the horizon after an instant without a touch before it."""
    _, targets = targets_at(sources, log, "untouched")
    return sum(map(len, targets)) / max(1, int(log.active.sum()))


@dataclass(frozen=True, kw_only=True)
class Sat:
    """One exam with what a combination can be learned from."""

    exam: Exam
    world: World
    read: np.ndarray
    bought: np.ndarray

    def learn(self) -> Combination | None:
        """Return the combination that these days teach, or None when too little was bought."""
        return Combination.learn(self.read, self.bought) if self.exam.hits >= FEWEST_HITS else None


def sit(
    sources: Sources, moment: Moment, rules: Rules, *, rate: float | None, combination: Combination | None, view: str
) -> Sat | None:
    """Hold the exam of an instant; None with fewer than FEWEST_BUYERS.

    Args:
        sources: what methods are made from.
        moment: at least one horizon ago.
        rules: how lists are made.
        rate: see `make_world`; None: what then happened, which a choice may know and a report may not.
        combination: learned at an earlier instant; None: it is learned here, and every shopper is ranked by one that
            was learned from others.
        view: of `World.allowed`.
    """
    log = sources.read(moment)
    who, targets = targets_at(sources, log, view)
    if len(who) < FEWEST_BUYERS:
        return None
    rate = untouched_rate(sources, log) if rate is None else rate
    world = make_world(sources, moment, log, who, rate=rate)
    return examine(world, who, targets, rules, combination=combination, view=view)


def examine(
    world: World,
    who: np.ndarray,
    targets: Sequence[np.ndarray],
    rules: Rules,
    *,
    combination: Combination | None,
    view: str,
) -> Sat:
    """Measure every method's lists of some shoppers against what they bought; arguments as for `sit`."""
    log = world.log
    candidates = gather(log, who, world.methods, world.allowed(view))
    read, bought = facts(log, candidates), are_bought(candidates, targets, len(log.products))
    scores = dict(candidates.scores)
    if combination is not None:
        scores[COMBINATION] = combination.score(read)
    elif bought.sum() >= FEWEST_HITS:
        scores[COMBINATION] = unseen_scores(candidates, read, bought)
    purchases = sum(map(len, targets))
    exam = Exam(
        moment=world.moment,
        measured=_measure(world, candidates, scores, targets, rules),
        shoppers=len(who),
        purchases=purchases,
        found=float(bought.sum() / max(1, purchases)),
        hits=int(bought.sum()),
    )
    return Sat(exam=exam, world=world, read=read, bought=bought)


def _measure(
    world: World,
    candidates: Candidates,
    scores: Mapping[str, np.ndarray],
    targets: Sequence[np.ndarray],
    rules: Rules,
) -> dict[str, Measured]:
    log = world.log
    reach = log.count_shoppers(np.ones(len(log.who), dtype=bool)) / max(1, len(log.shoppers))
    lists = {
        name: candidates.lists(score, 10, category=log.category, per_category=rules.per_category)
        for name, score in scores.items()
    }
    return {name: measure_lists(list_, targets, reach, log.recent > 0) for name, list_ in lists.items()}


def pick(measured: Mapping[str, Measured]) -> str:
    """Return the method to serve: the simplest that the best is not shown to beat."""
    return choose({name: measured[name] for name in METHODS if name in measured}, DRAWING)


def can_ask(moment: Moment, champion: Champion) -> bool:
    """Whether a champion learned nothing from the newest finished horizon before a moment."""
    return backtest_moment(moment, champion) is not None
