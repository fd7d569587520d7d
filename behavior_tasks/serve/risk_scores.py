"""Scores of risk: what was measured of a reference, an earlier moment, and of today in; one number a shopper out.

Every value is held against the reference's: how rare is it there (its tail probability, as in ECOD, Li et al. 2022),
or how far beyond the middle of shoppers who are as active. The one thing to know: nothing of today takes part in what
is usual, so that a day on which many misbehave does not make misbehaving usual.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest

from behavior_tasks.base.application_config import RiskConfig, RiskMethod, RuleName
from behavior_tasks.serve.risk_rules import FACTS, RULES

METHODS: tuple[RiskMethod, ...] = ("surprise", "velocity", "forest", "combined")
TOP_RULES = 2
"""Rules of a shopper that count: a bot breaks many at once, and is no worse for it than for the worst."""
ACTIVITY_BINS = 6
"""Shoppers are compared with those who have about as many phrases."""
MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation of a normal distribution → its standard deviation."""
SMALLEST_LIMIT = 1e-6
"""A limit is above zero, so that it can be doubled."""
TREES, TREE_SHOPPERS = 200, 512
FOREST_COLUMNS = (*FACTS, *RULES, "surprise_mean", "surprise_peak")
"""What the isolation forest reads: everything that the others read."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What is usual."""

    values: Mapping[RuleName, np.ndarray]
    """Of each rule that is asked, the reference's values, rising; an empty one is below all."""
    limits: Mapping[RuleName, float]
    """Above which each rule fires."""
    edges: np.ndarray
    """Of the activity bins, in phrases."""
    middles: np.ndarray
    """Median and deviation of the surprise in each bin, shape (bins, mean or peak, 2)."""
    surprises: np.ndarray
    """The reference's surprise, rising."""
    surprise_limit: float
    """Above which surprise counts like a broken rule."""
    forest: IsolationForest
    columns: tuple[str, ...]
    """That the forest reads."""
    scores: Mapping[RiskMethod, np.ndarray]
    """The reference's own scores by each method, rising."""

    @classmethod
    def fit(cls, table: pd.DataFrame, config: RiskConfig, *, seed: int = 0) -> Self:
        """Learn what is usual.

        Args:
            table: what `measure_buckets` gives, of a hundred shoppers and more.
            config: which rules are asked, and their limits.
            seed: of the forest.
        """
        rules = [name for name in RULES if name not in config.off]
        phrases = table["phrases"].fillna(0).to_numpy()
        edges = np.unique(np.quantile(phrases, np.linspace(0, 1, ACTIVITY_BINS + 1)[1:-1]))
        middles = _middles(table, np.searchsorted(edges, phrases, side="right"), len(edges) + 1)
        surprise = _surprise(table, edges, middles)
        columns = tuple(name for name in FOREST_COLUMNS if name not in config.off)
        forest = IsolationForest(n_estimators=TREES, max_samples=min(TREE_SHOPPERS, len(table)), random_state=seed)
        self = cls(
            values={name: np.sort(_known(table[name])) for name in rules},
            limits={name: _limit(name, table[name], config) for name in rules},
            edges=edges,
            middles=middles,
            surprises=np.sort(surprise),
            surprise_limit=max(float(np.quantile(surprise, config.quantile, method="higher")), 1.0),
            forest=forest.fit(table[list(columns)].fillna(0.0).to_numpy()),
            columns=columns,
            scores={},
        )
        own = self.score(table)
        return replace(self, scores={method: np.sort(own[method].to_numpy()) for method in METHODS})

    def score(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the scores of shoppers by METHODS, higher where more unusual; rows as in the table."""
        tails, beyond = self._rules(table)
        surprise = _surprise(table, self.edges, self.middles)
        more = _tail(self.surprises, surprise), _beyond(surprise, self.surprise_limit)
        forest = -self.forest.score_samples(table[list(self.columns)].fillna(0.0).to_numpy())
        return pd.DataFrame(
            {
                "surprise": np.where(np.isinf(surprise), 0.0, surprise),
                "velocity": _together(tails, beyond),
                "forest": forest,
                "combined": _together(np.column_stack([tails, more[0]]), np.column_stack([beyond, more[1]])),
            },
            index=table.index,
        )

    def fired(self, table: pd.DataFrame) -> list[list[RuleName]]:
        """Return the rules that each shopper breaks, the rarest value first."""
        names = list(self.values)
        tails, beyond = self._rules(table)
        order = np.argsort(-(tails + beyond), axis=1, kind="stable")
        over = np.column_stack([_known(table[name]) > self.limits[name] for name in names])
        return [[names[i] for i in row if hit[i]] for row, hit in zip(order, over, strict=True)]

    def bar(self, method: RiskMethod, share: float) -> float:
        """Return the score that so large a share of the reference stays at or below."""
        return float(np.quantile(self.scores[method], share, method="higher"))

    def _rules(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return how rare each rule's value is, and how far beyond its limit, shapes (shoppers, rules)."""
        tails = [_tail(values, _known(table[name])) for name, values in self.values.items()]
        beyond = [_beyond(_known(table[name]), self.limits[name]) for name in self.values]
        nothing = np.zeros((len(table), 0))
        return np.column_stack(tails or [nothing]), np.column_stack(beyond or [nothing])


def _together(tails: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    return -np.sort(-tails, axis=1)[:, :TOP_RULES].sum(axis=1) + beyond.sum(axis=1)


def _limit(name: RuleName, values: pd.Series, config: RiskConfig) -> float:
    if name in config.limits:
        return config.limits[name]
    known = values.dropna()
    rare = float(known.quantile(config.quantile, interpolation="higher")) if len(known) else 0.0
    return max(rare, RULES[name].least, SMALLEST_LIMIT)


def _known(values: pd.Series) -> np.ndarray:
    """Return values as numbers, with one that is below all for what is empty."""
    return values.fillna(-np.inf).to_numpy(dtype=float)


def _tail(reference: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return −log10 of the share of the reference that is at least as large; 0 for what is empty."""
    above = len(reference) - np.searchsorted(reference, asked, side="left")
    return np.where(np.isinf(asked), 0.0, -np.log10((above + 1) / (len(reference) + 1)))


def _beyond(asked: np.ndarray, limit: float) -> np.ndarray:
    """Return how many doublings a value is beyond a limit above zero; 0 up to it."""
    return np.log2(np.maximum(asked, limit) / limit)


def _surprise(table: pd.DataFrame, edges: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Return the larger of mean and peak surprise, in deviations of equally active shoppers; −inf where unknown."""
    bins = np.searchsorted(edges, table["phrases"].fillna(0).to_numpy(), side="right")
    middle, deviation = np.moveaxis(middles[bins], 2, 0)
    values = table[["surprise_mean", "surprise_peak"]].to_numpy(dtype=float)
    told: np.ndarray = np.nan_to_num((values - middle) / deviation, nan=-np.inf).max(axis=1)
    return told


def _middles(table: pd.DataFrame, bins: np.ndarray, count: int) -> np.ndarray:
    """Return median and deviation of both surprises in each bin; those of everybody where a bin has too few."""
    found = np.empty((count, 2, 2))
    values = table[["surprise_mean", "surprise_peak"]].to_numpy(dtype=float)
    for place in range(count):
        inside = values[bins == place]
        for column in range(2):
            known = inside[:, column][~np.isnan(inside[:, column])]
            if len(known) < 20:
                known = values[:, column][~np.isnan(values[:, column])]
            found[place, column] = _middle(known)
    return found


def _middle(known: np.ndarray) -> Sequence[float]:
    if not len(known):
        return 0.0, 1.0
    median = float(np.median(known))
    return median, max(MAD_TO_DEVIATION * float(np.median(np.abs(known - median))), 1e-6)
