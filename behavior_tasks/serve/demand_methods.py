"""Ways to forecast demand: sales by product and past window in; expected pieces of each product and their spread out.

The simple ones look at sales alone; the language model's adds its probabilities up. Every method forecasts the window
that begins at an origin from the windows before it, so the same code is tried on the past and used for tomorrow. The
one thing to know: nothing at or after the origin is read, whatever else the history holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from behavior_tasks.serve.demand_log import History

HALF_LIFE_WINDOWS = 2.0
"""Windows after which a window counts half."""
PRIOR_BUYERS = 5.0
"""Buyers that the category's mean counts as, beside a product's own."""
LIFE_DAYS = 365.0
"""Mean life of a product in the shop: an assumption, which says how soon silence means that it is gone."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a method says of a window."""

    expected: np.ndarray
    """Pieces, (P,)."""
    variance: np.ndarray
    """Of the pieces, as counted; how often it is right is measured elsewhere, (P,)."""
    unseen: np.ndarray | None = None
    """Part of `expected` for shoppers who had not touched the product; only of the language model, (P,)."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """The language model's probabilities at an origin, added up by product, (P,)."""

    probability: np.ndarray
    squared: np.ndarray
    """Sum of the squared probabilities."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces that one buyer takes within a window, estimated, (P,)."""

    mean: np.ndarray
    square: np.ndarray
    """Mean of their square."""


def naive(history: History, origin: int) -> np.ndarray:
    """Return the pieces of the window before the origin, (P,)."""
    return history.units[:, origin - 1]


def seasonal(history: History, origin: int) -> np.ndarray:
    """Return the pieces of the window a season before; NaN where the log does not reach so far, (P,)."""
    return history.seasonal[:, origin]


def moving_average(history: History, origin: int, windows: int) -> np.ndarray:
    """Return the mean of the last windows, of those in which a product was there, (P,)."""
    first = max(0, origin - windows)
    return _mean(history, slice(first, origin), np.ones(origin - first))


def fading_average(history: History, origin: int) -> np.ndarray:
    """Return the mean of all windows, each weighing half of what HALF_LIFE_WINDOWS later ones weigh, (P,)."""
    return _mean(history, slice(0, origin), fading(origin))


def fading(origin: int) -> np.ndarray:
    """Return the windows' weights, the newest's being one.

    >>> fading(3).round(3).tolist()
    [0.5, 0.707, 1.0]
    """
    return 0.5 ** (np.arange(origin)[::-1] / HALF_LIFE_WINDOWS)


def _mean(history: History, windows: slice, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over the windows in which a product was there.

    Less than one whole window is filled up with the mean of its category, so that a product's first day is neither
    multiplied by a horizon nor divided by it.
    """
    there = history.exposure[:, windows]
    sold, known = history.units[:, windows] @ weights, there @ weights
    lacking = np.clip(1.0 - there.sum(axis=1), 0.0, 1.0) * (there.sum(axis=1) > 0)
    selling = sold > 0
    typical = by_category(
        history, np.where(selling, sold, 0.0), np.where(selling, known, 0.0), prior=0.0, overall_prior=0.0
    )
    total = known + lacking
    return np.divide(sold + lacking * typical, total, out=np.zeros(len(sold)), where=total > 0)


def by_category(
    history: History, amounts: np.ndarray, counts: np.ndarray, *, prior: float, overall_prior: float
) -> np.ndarray:
    """Return amounts over counts of each product's category, shrunk to the whole shop's, (P,).

    Args:
        history: whose products these are.
        amounts: of each product, (P,).
        counts: the same.
        prior: counts that the whole shop's quotient stands for.
        overall_prior: counts that one stands for in the whole shop's.
    """
    codes, names = pd.factorize(history.products["category"])
    total = float(counts.sum()) + overall_prior
    overall = (float(amounts.sum()) + overall_prior) / total if total > 0 else 0.0
    of_category = np.bincount(codes, counts, minlength=len(names)) + prior
    summed = np.bincount(codes, amounts, minlength=len(names)) + prior * overall
    return np.divide(summed, of_category, out=np.full(len(names), overall), where=of_category > 0)[codes]


def pieces(history: History, origin: int) -> Pieces:
    """Estimate the pieces of one buyer from the windows before an origin, shrunk to the category and the shop."""
    weights = fading(origin)
    buyers = history.buyers[:, :origin] @ weights
    found = []
    for sums in (history.units, history.squares):
        own = sums[:, :origin] @ weights
        typical = by_category(history, own, buyers, prior=PRIOR_BUYERS, overall_prior=1.0)
        found.append((own + PRIOR_BUYERS * typical) / (buyers + PRIOR_BUYERS))
    mean, square = found
    return Pieces(mean=mean, square=np.maximum(square, mean**2))


def pieces_of_seen(history: History, origin: int) -> Pieces:
    """Estimate the pieces of a buyer who had touched the product before.

    Who comes back often takes more than who comes first, or less. Where a product has few such buyers, it is its
    own mean over all buyers, times how much such buyers take beyond others of the same products.
    """
    assert history.unseen is not None  # there is a champion
    weights, every = fading(origin), pieces(history, origin)
    buyers = (history.buyers - history.unseen.buyers)[:, :origin] @ weights
    found = []
    for sums, part, typical in (
        (history.units, history.unseen.units, every.mean),
        (history.squares, history.unseen.squares, every.square),
    ):
        own, alike = (sums - part)[:, :origin] @ weights, PRIOR_BUYERS * float(typical.mean())
        ratio = (float(own.sum()) + alike) / (float(buyers @ typical) + alike)
        found.append((own + PRIOR_BUYERS * ratio * typical) / (buyers + PRIOR_BUYERS))
    mean, square = found
    return Pieces(mean=mean, square=np.maximum(square, mean**2))


def unseen_share(history: History, origin: int) -> np.ndarray:
    """Return which share of a product's pieces goes to shoppers who had not touched it, shrunk likewise, (P,)."""
    assert history.unseen is not None  # there is a champion
    weights = fading(origin)
    unseen, sold = history.unseen.units[:, :origin] @ weights, history.units[:, :origin] @ weights
    prior = PRIOR_BUYERS * pieces(history, origin).mean
    typical = by_category(history, unseen, sold, prior=float(np.mean(prior)), overall_prior=1.0)
    return np.clip((unseen + prior * typical) / (sold + prior), 0.0, 1.0)


def alive(history: History, origin: int) -> np.ndarray:
    """Return the probability that each product is still sold, given its sales and the silence since the last, (P,).

    Sales come at a steady rate until the product goes, which it does at a constant rate of one in LIFE_DAYS
    (Schmittlein, Morrison and Colombo 1987, with known rates). A product that never sold counts as alive.
    """
    sold = history.buyers[:, :origin] > 0
    ever = sold.any(axis=1)
    last = origin - 1 - np.argmax(sold[:, ::-1], axis=1)
    silent = np.where(ever, origin - 1 - last, 0).astype(float)
    active = np.maximum(
        1e-9, (history.exposure[:, :origin] * (np.arange(origin)[None, :] <= last[:, None])).sum(axis=1)
    )
    rate = np.where(ever, history.buyers[:, :origin].sum(axis=1) / active, 0.0)
    going = history.horizon_days / LIFE_DAYS
    # Beyond 50 the probability is nought to all digits that anybody reads.
    growth = np.expm1(np.minimum(50.0, (rate + going) * silent))
    return 1.0 / (1.0 + going / (rate + going) * growth)


def language_model(history: History, origin: int, sums: Sums) -> Forecast:
    """Return the sum of the probabilities times the pieces of a buyer, and the rate of those not yet seen.

    Args:
        history: with `unseen`.
        origin: of the window that is forecast.
        sums: what the champion says at the origin.
    """
    taken, first, living = pieces_of_seen(history, origin), pieces(history, origin), alive(history, origin)
    seen = living * sums.probability * taken.mean
    unseen = fading_average(history, origin) * unseen_share(history, origin)
    spread = living * (sums.probability * taken.square - sums.squared * taken.mean**2)
    # Between shoppers who come for the first time there is no probability each: they come as Poisson, with pieces.
    spread = np.maximum(spread, 0.0) + unseen * first.square / first.mean
    return Forecast(expected=seen + unseen, variance=spread, unseen=unseen)


def simple_methods(average_horizons: int) -> dict[str, Callable[[History, int], np.ndarray]]:
    """Return the methods that look at sales alone."""
    return {
        "naive": naive,
        "seasonal naive": seasonal,
        "moving average": lambda history, origin: moving_average(history, origin, average_horizons),
        "fading average": fading_average,
    }


def simple_forecast(history: History, origin: int, expected: np.ndarray) -> Forecast:
    """Return a simple method's forecast with its spread: Poisson buyers, each with their pieces."""
    taken = pieces(history, origin)
    return Forecast(expected=expected, variance=expected * taken.square / taken.mean)


def blend(model: Forecast, simple: Forecast, weight: float) -> Forecast:
    """Return the forecast between the language model's (weight 1) and a simple one (weight 0)."""
    return Forecast(
        expected=weight * model.expected + (1 - weight) * simple.expected,
        variance=weight * model.variance + (1 - weight) * simple.variance,
        unseen=None if model.unseen is None else weight * model.unseen,
    )
