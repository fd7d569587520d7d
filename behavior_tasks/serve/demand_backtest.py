"""Forecasts tried on the past: sales, and what the champion said then, in; figures of every method and a choice out.

Every window of the past is forecast from the windows before it. The language model counts only on windows that it was
not trained on, and is served only where it is shown to be better than the best simple method, which was picked in
hindsight, so that the doubt is the model's. The one thing to know: intervals are fitted on windows before the one that
they are measured on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from behavior_tasks.serve.demand_intervals import Asked, Calibration, Outcome, counts
from behavior_tasks.serve.demand_log import History
from behavior_tasks.serve.demand_methods import (
    Forecast,
    Sums,
    blend,
    language_model,
    simple_forecast,
    simple_methods,
)
from behavior_tasks.verdict.bootstrap import Resampling, percentile_interval, resample

MODEL, BLEND = "language model", "language model and moving average"
PARTNER, DEFAULT = "moving average", "fading average"
SEASONAL = "seasonal naive"
DRAWING = Resampling(resamples=500, confidence=0.95, seed=7)
WEIGHTS = np.linspace(0, 1, 11)
"""Shares of the language model that the blend chooses from."""
FEWEST_ORIGINS = 2
"""Horizons without which nothing is shown of the language model."""
FEWEST_DRAWN = 3
"""Horizons without which resampling them says nothing."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Every method's forecasts."""

    past: Mapping[str, Mapping[int, Forecast]]
    """Method → origin → forecast, origins ascending."""
    now: Mapping[str, Forecast]
    """Method → forecast of the window that begins at the moment."""
    weights: Mapping[int, float]
    """Origin → share of the language model in the blend; the moment's is among them."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which method is served, and why."""

    method: str
    simple: str
    """The best simple method."""
    why: str
    """One or two sentences with their figures."""
    model_wins: bool


def try_methods(history: History, sums: Mapping[int, Sums], *, average_horizons: int) -> Tried:
    """Forecast every past window, and the next, with every method that can.

    Args:
        history: the sales.
        sums: origin → what the champion says there; only origins that it was not trained on, and the moment.
        average_horizons: of the moving average.
    """
    end = history.windows
    past: dict[str, dict[int, Forecast]] = {}
    now: dict[str, Forecast] = {}
    for name, method in simple_methods(average_horizons).items():
        told = {origin: method(history, origin) for origin in range(1, end + 1)}
        told = {origin: expected for origin, expected in told.items() if not np.isnan(expected).any()}
        if end not in told or (name == SEASONAL and len(told) <= min(4, 1 + end // 2)):
            continue
        now[name] = simple_forecast(history, end, told.pop(end))
        past[name] = {origin: simple_forecast(history, origin, expected) for origin, expected in told.items()}
    weights: dict[int, float] = {}
    if end in sums:
        told_by = {origin: language_model(history, origin, sums[origin]) for origin in sorted(sums)}
        now[MODEL] = told_by.pop(end)
        past[MODEL] = told_by
        earlier = list(told_by)
        for origin in (*earlier[1:], end):
            weights[origin] = _weight(history, past, [o for o in earlier if o < origin])
        past[BLEND] = {o: blend(told_by[o], past[PARTNER][o], weights[o]) for o in earlier[1:]}
        now[BLEND] = blend(now[MODEL], now[PARTNER], weights[end])
    return Tried(past=past, now=now, weights=weights)


def _weight(history: History, past: Mapping[str, Mapping[int, Forecast]], origins: Sequence[int]) -> float:
    """Return the share of the language model with the smallest absolute error; without origins half."""
    if not origins:
        return 0.5
    errors = [
        sum(
            float(np.abs(blend(past[MODEL][o], past[PARTNER][o], weight).expected - history.units[:, o]).sum())
            for o in origins
        )
        for weight in WEIGHTS
    ]
    return float(WEIGHTS[int(np.argmin(errors))])


def choose(history: History, tried: Tried, *, has_champion: bool) -> Choice:
    """Choose the method to serve.

    Args:
        history: what really came.
        tried: the forecasts.
        has_champion: whether there is a language model at all.
    """
    simple, common = _best_simple(history, tried)
    here = "the best simple method" if common else "a simple method (the log is too short to compare them)"
    if not has_champion:
        why = f"There is no champion for products, so {here} is served: {simple}."
        return Choice(method=simple, simple=simple, why=why, model_wins=False)
    honest = [origin for origin in tried.past.get(MODEL, {}) if origin in tried.past[simple]]
    if len(honest) < FEWEST_ORIGINS:
        told = "no horizon" if not honest else "one horizon"
        why = (
            f"The language model could be tried on {told} that it was not trained on; {FEWEST_ORIGINS} are needed to "
            f"show anything, so {here} is served: {simple}."
        )
        return Choice(method=simple, simple=simple, why=why, model_wins=False)
    rivals = [MODEL, BLEND] if len(honest) > FEWEST_ORIGINS else [MODEL]
    origins = honest[1:] if BLEND in rivals else honest
    found = {name: compare(history, tried, name, simple, origins) for name in rivals}
    best = min(rivals, key=lambda name: found[name].wape)
    shown = found[best]
    wins = shown.upper < 0
    verb = "is below" if wins else "is not shown to be below"
    why = (
        f"On {len(origins)} horizons that it was not trained on, the WAPE of the {best} ({shown.wape:.3f}) {verb} that "
        f"of the best simple method, the {simple} ({shown.rival:.3f}); the difference is {shown.difference:+.3f} "
        f"({shown.lower:+.3f} to {shown.upper:+.3f}). Served: {best if wins else simple}."
    )
    return Choice(method=best if wins else simple, simple=simple, why=why, model_wins=wins)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The WAPE of a method minus that of a rival on the same windows, with the 95 % interval by product."""

    wape: float
    rival: float
    difference: float
    lower: float
    upper: float


def compare(history: History, tried: Tried, method: str, rival: str, origins: Sequence[int]) -> Difference:
    """Compare two methods on the same windows; NaN where nothing was sold in them."""
    mine, theirs = (_errors(history, tried.past[name], origins) for name in (method, rival))
    sold = history.units[:, list(origins)].sum(axis=1)
    values = _resampled(np.stack([mine, theirs, sold], axis=1))
    lower, upper = percentile_interval((values[:, 0] - values[:, 1]) / _positive(values[:, 2]), DRAWING.confidence)
    total = float(sold.sum()) or math.nan
    wape, other = float(mine.sum()) / total, float(theirs.sum()) / total
    return Difference(wape=wape, rival=other, difference=wape - other, lower=lower, upper=upper)


def _best_simple(history: History, tried: Tried) -> tuple[str, list[int]]:
    """Return the simple method with the lowest WAPE on the windows that all of them forecast, and those windows."""
    names = [name for name in tried.past if name not in (MODEL, BLEND)]
    common = sorted(set.intersection(*(set(tried.past[name]) for name in names)))
    if not common or not history.units[:, common].any():
        return DEFAULT, []
    return min(names, key=lambda name: float(_errors(history, tried.past[name], common).sum())), common


def _errors(history: History, told: Mapping[int, Forecast], origins: Sequence[int]) -> np.ndarray:
    """Return each product's absolute errors, added up over windows, (P,)."""
    errors = np.zeros(len(history.products))
    for origin in origins:
        errors += np.abs(told[origin].expected - history.units[:, origin])
    return errors


def _resampled(amounts: np.ndarray) -> np.ndarray:
    """Return the sums of amounts (n, k) over resampled rows, (resamples, k); rows of zeros play no part."""
    held = amounts[amounts.any(axis=1)]
    drawing = DRAWING.within_reach(len(held))
    return resample({"sums": lambda draw: draw @ held}, len(held), drawing)["sums"].reshape(-1, amounts.shape[1])


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def wape_of(missed: np.ndarray, sold: np.ndarray) -> tuple[float, float, float]:
    """Return the sum of absolute errors over what was sold, with its 95 % interval by row; NaN where nothing was sold.

    Args:
        missed: absolute errors, (n,).
        sold: what came, (n,).
    """
    values = _resampled(np.stack([missed, sold], axis=1))
    lower, upper = percentile_interval(values[:, 0] / _positive(values[:, 1]), DRAWING.confidence)
    return float(missed.sum()) / (float(sold.sum()) or math.nan), lower, upper


def held(lower: np.ndarray, upper: np.ndarray, expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return, of those that `counts` names, whose interval held what came, (k,); all arguments have the shape (n,)."""
    return ((lower <= actual) & (actual <= upper))[counts(expected)]


def group_sums(history: History, values: np.ndarray) -> np.ndarray:
    """Return values (P,) by category, in the order of their names, and last the total, (C + 1,)."""
    codes, names = pd.factorize(history.products["category"], sort=True)
    return np.append(np.bincount(codes, values, minlength=len(names)), values.sum())


def outcomes(history: History, told: Mapping[int, Forecast], level: str, origins: Sequence[int]) -> list[Outcome]:
    """Return a method's forecasts of past windows beside what came, of products or of categories and the total."""
    found = []
    for origin in origins:
        values = (told[origin].expected, told[origin].variance, history.units[:, origin])
        if level != "product":
            values = tuple(group_sums(history, value) for value in values)  # type: ignore[assignment]  # three
        found.append(Outcome(expected=values[0], variance=values[1], actual=values[2]))
    return found


def measure(history: History, tried: Tried, asked: Asked) -> pd.DataFrame:
    """Return the figures of every method, one row a (method, level).

    Returns:
        method, level (product or category, the total among the latter), windows (which everybody here forecast),
        wape with its 95 % interval (of products by product, of categories by window), bias (share of what came),
        coverage and width (in what came) of the intervals, where a forecast is above NO_DEMAND, on the windows that
        have one before them; NaN, where undefined.
    """
    tested = [name for name, told in tried.past.items() if told]
    rows = []
    for group in (False, True):  # all windows for the simple methods, the model's own for all
        names = [name for name in tested if group or name not in (MODEL, BLEND)]
        if not names or (group and MODEL not in tested):
            continue
        common = sorted(set.intersection(*(set(tried.past[name]) for name in names if name != BLEND)))
        for level in ("product", "category"):
            for name in names:
                origins = [origin for origin in common if origin in tried.past[name]]
                row = _measure_one(history, tried.past[name], level, origins, asked)
                rows.append({"method": name, "level": level, "on": "model" if group else "all", **row})
    return pd.DataFrame(rows)


def _measure_one(
    history: History, told: Mapping[int, Forecast], level: str, origins: Sequence[int], asked: Asked
) -> dict[str, float]:
    every = outcomes(history, told, level, sorted(told))
    places = {origin: number for number, origin in enumerate(sorted(told))}
    calibrations = Calibration.fit_each(every, asked)
    errors, inside, width, sold_in, ranged = [], 0, 0.0, 0.0, 0
    for origin in origins:
        one, calibration = every[places[origin]], calibrations[places[origin]]
        errors.append(np.abs(one.expected - one.actual))
        if calibration.errors:
            ranges = calibration.ranges(one.expected, one.variance)
            sells = counts(one.expected)
            inside += int(held(ranges.lower, ranges.upper, one.expected, one.actual).sum())
            width += float((ranges.upper - ranges.lower)[sells].sum())
            sold_in += float(one.actual[sells].sum())
            ranged += int(sells.sum())
    if not origins:
        return dict.fromkeys(("windows", "wape", "lower", "upper", "bias", "coverage", "width"), math.nan)
    actual = np.stack([every[places[origin]].actual for origin in origins], axis=1)
    missed = np.stack(errors, axis=1)
    axis = 1 if level == "product" else 0
    wape, lower, upper = wape_of(missed.sum(axis=axis), actual.sum(axis=axis))
    if level != "product" and len(origins) < FEWEST_DRAWN:
        lower = upper = math.nan
    total = float(actual.sum()) or math.nan
    expected = sum(float(every[places[origin]].expected.sum()) for origin in origins)
    return {
        "windows": len(origins),
        "wape": wape,
        "lower": lower,
        "upper": upper,
        "bias": (expected - float(actual.sum())) / total,
        "coverage": inside / ranged if ranged else math.nan,
        "width": width / sold_in if sold_in else math.nan,
    }
