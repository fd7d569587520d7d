"""Candidates and their ranking: methods and who may get what in; for each shopper the best products out.

Every method names its best products, all of them together are a shopper's candidates, and every method then ranks
the same candidates. The one thing to know: the combination is learned at an earlier instant than the one it is
measured at, and its own figures there come from shoppers that it has not seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from behavior_tasks.serve.recommend_log import NEVER, Log
from behavior_tasks.serve.recommend_measure import NOBODY
from behavior_tasks.serve.recommend_methods import Method, blocks

EACH = 30
"""Products that each method names as candidates."""
FOLDS = 3
SEED = 7
FEWEST_HITS = 50
"""Bought candidates without which nothing is learned from them."""
LONG_AGO_DAYS = 10_000.0
"""Stands for never."""
DAY = 86_400_000_000
Allowed = Callable[[np.ndarray], np.ndarray]
"""Takes shoppers (places in the log), returns whether each may get each product, (shoppers, products)."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Candidates of some shoppers, ordered by shopper and product; arrays of shape (candidates,)."""

    who: np.ndarray
    """The shoppers, places in the log, in the order that was asked for, (shoppers,)."""
    row: np.ndarray
    """Of each candidate its shopper's place in `who`."""
    product: np.ndarray
    scores: dict[str, np.ndarray]
    """Method → score."""
    filler: np.ndarray
    """What decides between equal scores."""

    def places(self, score: np.ndarray) -> np.ndarray:
        """Return each candidate's place among its shopper's, from 0, the best score first."""
        # Rounded, so that what differs only by the order of additions is equal.
        order = np.lexsort((self.product, -self.filler, -np.round(score, 9), self.row))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        return self._numbered(place)

    def lists(
        self, score: np.ndarray, length: int, *, category: np.ndarray | None = None, per_category: int = 0
    ) -> np.ndarray:
        """Return the best products of each shopper, NOBODY where there are fewer, (shoppers, length).

        Args:
            score: of each candidate.
            length: of a list.
            category: place of each product's category, -1 for none, (products,).
            per_category: most products of one category in a list; 0: any number.
        """
        kept = np.ones(len(self.row), dtype=bool)
        if per_category and category is not None:
            kept = self._within(self.places(score), category[self.product], per_category)
        place = self._numbered(np.where(kept, self.places(score), len(self.row)))
        found = np.full((len(self.who), length), NOBODY, dtype=np.int64)
        kept &= place < length
        found[self.row[kept], place[kept]] = self.product[kept]
        return found

    def _within(self, place: np.ndarray, category: np.ndarray, most: int) -> np.ndarray:
        """Return whether a candidate is among the best so many of its category; without one it always is."""
        order = np.lexsort((place, category, self.row))
        group = self.row[order] * np.int64(category.max(initial=0) + 2) + category[order] + 1
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - np.searchsorted(group, group)
        return (rank < most) | (category < 0)

    def _numbered(self, place: np.ndarray) -> np.ndarray:
        """Return each shopper's candidates numbered from 0 in a rising order."""
        order = np.lexsort((place, self.row))
        numbers = np.empty(len(order), dtype=np.int64)
        starts = np.searchsorted(self.row[order], np.arange(len(self.who)))
        numbers[order] = np.arange(len(order)) - starts[self.row[order]]
        return numbers


def gather(log: Log, who: np.ndarray, methods: Mapping[str, Method], allowed: Allowed, each: int = EACH) -> Candidates:
    """Let every method name its best allowed products of every shopper, and score all that are named by all methods."""
    parts = [_gather_block(log, block, methods, allowed, each) for block in blocks(who, log)]
    starts = np.cumsum([0, *(len(block) for block in blocks(who, log))])
    empty = np.zeros(0, dtype=np.int64)
    product = np.concatenate([part.product for part in parts] or [empty])
    return Candidates(
        who=who,
        row=np.concatenate([part.row + start for part, start in zip(parts, starts, strict=False)] or [empty]),
        product=product,
        scores={name: np.concatenate([part.scores[name] for part in parts] or [empty]) for name in methods},
        filler=log.recent[product] + 1e-6 * log.popularity[product],
    )


def each_block(
    log: Log, who: np.ndarray, methods: Mapping[str, Method], allowed: Allowed, each: int = EACH
) -> Iterator[Candidates]:
    """Yield what `gather` gives, a few shoppers at a time."""
    for block in blocks(who, log):
        yield _gather_block(log, block, methods, allowed, each)


def _gather_block(log: Log, who: np.ndarray, methods: Mapping[str, Method], allowed: Allowed, each: int) -> Candidates:
    may = allowed(who)
    told = {name: method(who) for name, method in methods.items()}
    chosen = np.zeros(may.shape, dtype=bool)
    # A list can always be filled with what is popular lately.
    most = min(each, may.shape[1])
    for scores in [*told.values(), np.tile(log.recent.astype(np.float32), (len(who), 1))]:
        masked = np.where(may & (scores > 0), scores, 0)
        best = np.argpartition(-masked, most - 1, axis=1)[:, :most]
        chosen[np.arange(len(who))[:, None], best] |= np.take_along_axis(masked, best, axis=1) > 0
    row, product = np.nonzero(chosen)
    return Candidates(
        who=who,
        row=row,
        product=product,
        scores={name: scores[row, product].astype(np.float64) for name, scores in told.items()},
        filler=log.recent[product] + 1e-6 * log.popularity[product],
    )


def facts(log: Log, candidates: Candidates) -> np.ndarray:
    """Return what the combination reads of candidates: every method's score and place, and what lies between the two.

    Returns:
        Shape (candidates, columns), float64.
    """
    who, product = candidates.who[candidates.row], candidates.product
    until = np.datetime64(log.cutoff, "us").astype(np.int64)
    columns: list[np.ndarray] = []
    for score in candidates.scores.values():
        columns += [score, 1 / (1.0 + candidates.places(score))]

    def days(values: np.ndarray) -> np.ndarray:
        when = log.value_of(who, product, values, NEVER)
        return np.where(when == NEVER, LONG_AGO_DAYS, (until - when) / DAY)

    columns += [days(log.last), days(log.first), days(log.bought), days(log.carted)]
    columns += [log.value_of(who, product, log.times, 0), log.recent[product], log.popularity[product]]
    columns.append((until - log.born[product]) / DAY)
    return np.stack(columns, axis=1)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A learned ranking."""

    model: HistGradientBoostingClassifier

    @classmethod
    def learn(cls, read: np.ndarray, bought: np.ndarray) -> "Combination":
        """Learn from candidates, (n, columns), of which some were bought, (n,)."""
        model = HistGradientBoostingClassifier(
            max_iter=80,
            learning_rate=0.08,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=SEED,
        )
        # Threads that wait by spinning for one another take far longer than one alone.
        with threadpool_limits(limits=1):
            return cls(model=model.fit(read, bought))

    def score(self, read: np.ndarray) -> np.ndarray:
        """Return a score of each candidate."""
        with threadpool_limits(limits=1):
            return np.asarray(self.model.predict_proba(read)[:, 1]) if len(read) else np.zeros(0)


def unseen_scores(candidates: Candidates, read: np.ndarray, bought: np.ndarray) -> np.ndarray:
    """Return the combination's scores of candidates, learned from the candidates of other shoppers (FOLDS folds)."""
    fold = np.random.default_rng(SEED).permutation(len(candidates.who))[candidates.row] % FOLDS
    scores = np.zeros(len(read))
    for number in range(FOLDS):
        held = fold == number
        scores[held] = Combination.learn(read[~held], bought[~held]).score(read[held])
    return scores


def are_bought(candidates: Candidates, targets: Sequence[np.ndarray], products: int) -> np.ndarray:
    """Return whether each candidate is one of its shopper's targets, (candidates,)."""
    row = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
    wanted = row * np.int64(products) + (np.concatenate(targets) if len(targets) else np.zeros(0, dtype=np.int64))
    return np.isin(candidates.row * np.int64(products) + candidates.product, wanted)
