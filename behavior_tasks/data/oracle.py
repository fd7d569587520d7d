"""The best possible reader of the simulated log: knows the shop's rules, and nothing but the log.

In: the coded events of a block of shoppers and the rules. Out: each eligible shopper's probability to buy in a label
window, whether they did, and the scores that nobody can be expected to beat. The one thing to know: the state at the
cutoff is recomputed from the events before it, so nothing hidden and nothing later enters the probability.

The probability is the mean over many futures of 1 - prod(1 - p_day). The futures hold no purchase, so each
contributes its whole chance instead of a 0 or 1 (Rao-Blackwell), and the error of the mean is small.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_recall_curve

from behavior_tasks.base.timeline import Window
from behavior_tasks.data import shop
from behavior_tasks.data.sessions import ADD_TO_CART, CLICK, FAVOURITE, PURCHASE
from behavior_tasks.data.shop import Calendar, Catalogue, Floats, Seen, State, spread

LANES = 100_000
"""Futures simulated at the same time: bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the oracle knows beside the log."""

    catalogue: Catalogue
    calendar: Calendar
    lookback_days: int
    rollouts: int


def read_states(events: pd.DataFrame, profile: Floats, rules: Rules, days: int) -> State:
    """Read the log of the first days as a perfect reader would.

    Args:
        events: coded events of a block; later ones are ignored.
        profile: effect of age and gender, (shoppers,).

    Returns:
        The state at the midnight after `days` days.
    """
    midnights = rules.calendar.midnights
    past = events[events["second"] < midnights[days]]
    day = np.searchsorted(midnights, past["second"], side="right") - 1
    off = rules.catalogue.discount(past["product"].to_numpy(), past["cents"].to_numpy())
    marks = pd.DataFrame({"day": day, "shopper": past["shopper"].to_numpy()})
    action = past["action"].to_numpy()
    for name, code in (("clicks", CLICK), ("favourites", FAVOURITE), ("carts", ADD_TO_CART), ("bought", PURCHASE)):
        marks[name] = (action == code).astype(np.int64)
    marks["discounts"] = np.where(action == ADD_TO_CART, off, 0)
    sums = marks.groupby(["day", "shopper"]).sum()
    purchases = marks.assign(period=rules.catalogue.period_days[past["product"]])[action == PURCHASE]
    sums["period"] = purchases.drop_duplicates(["day", "shopper"], keep="last").set_index(["day", "shopper"])["period"]
    state = State.unseen(profile)
    seen_on = dict(tuple(sums.fillna({"period": 0.0}).reset_index().groupby("day")))
    nothing = sums.iloc[:0].reset_index()
    for number in range(days):
        state = shop.advance(state, _seen(seen_on.get(number, nothing), len(profile)))
    return state


def _seen(sums: pd.DataFrame, count: int) -> Seen:
    who = sums["shopper"].to_numpy(dtype=np.int64)
    period = np.zeros(count)
    period[who] = sums["period"]
    return Seen(
        visited=spread(np.ones(len(who), dtype=np.int64), who, count) > 0,
        bought=spread(sums["bought"].to_numpy(), who, count) > 0,
        period_days=period,
        **{n: spread(sums[n].to_numpy(), who, count) for n in ("clicks", "favourites", "carts", "discounts")},
    )


def chance_to_buy(
    state: State, rules: Rules, *, first_day: int, days: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the probability to buy within `days` days from the midnight of `first_day`.

    Returns:
        Probabilities and their Monte-Carlo standard errors, (shoppers,) each.
    """
    rollouts = rules.rollouts
    count = len(state.sessions)
    probability, error = np.zeros(count), np.zeros(count)
    step = max(1, LANES // rollouts)
    for begin in range(0, count, step):
        rows = np.arange(begin, min(begin + step, count))
        lanes = state.take(np.repeat(rows, rollouts))
        missed = np.ones(len(rows) * rollouts)
        for day in range(first_day, first_day + days):
            visit, buy = shop.chances(lanes, rules.calendar, day)
            today = visit * buy
            missed *= 1 - today
            visited = rng.random(len(missed)) < (visit - today) / (1 - today)
            lanes = shop.advance(lanes, shop.draw_seen(lanes, visited, rng))
        bought = 1 - missed.reshape(len(rows), rollouts)
        probability[rows] = bought.mean(axis=1)
        error[rows] = bought.std(axis=1, ddof=1) / np.sqrt(rollouts)
    return probability, error


def foresee(
    events: pd.DataFrame, profile: Floats, rules: Rules, window: Window, rng: np.random.Generator
) -> pd.DataFrame:
    """Return each eligible shopper's probability to buy in a window, and whether they did.

    Returns:
        Columns shopper, split, cutoff, probability, error, bought; in order of shopper.
    """
    cutoff, end = (int(np.datetime64(t, "s").astype(np.int64)) for t in (window.cutoff, window.end))
    midnights = rules.calendar.midnights
    first_day, end_day = (int(np.searchsorted(midnights, instant)) for instant in (cutoff, end))
    if midnights[first_day] != cutoff or midnights[end_day] != end:
        raise AssertionError(f"the window {window} does not lie on local midnights")
    second = events["second"]
    read = events[(second >= cutoff - 86_400 * rules.lookback_days) & (second < cutoff)]
    shoppers = np.unique(read["shopper"])
    state = read_states(events, profile, rules, first_day).take(shoppers)
    probability, error = chance_to_buy(state, rules, first_day=first_day, days=end_day - first_day, rng=rng)
    bought = events["shopper"][(events["action"] == PURCHASE) & (second >= cutoff) & (second < end)]
    return pd.DataFrame(
        {
            "shopper": shoppers,
            "split": window.split,
            "cutoff": np.datetime64(window.cutoff, "us"),
            "probability": probability,
            "error": error,
            "bought": np.isin(shoppers, bought),
        }
    )


def best_possible(foreseen: pd.DataFrame, *, threshold: float) -> dict[str, float | int | None]:
    """Return the oracle's scores on one split; a score that is undefined, for want of buyers, is None."""
    labels, probabilities = foreseen["bought"].to_numpy(), foreseen["probability"].to_numpy()
    buyers = int(labels.sum())
    return {
        "average_precision": float(average_precision_score(labels, probabilities)) if buyers else None,
        "f1": float(f1_score(labels, probabilities >= threshold)) if buyers else None,
        "log_loss": float(log_loss(labels, probabilities, labels=[False, True])) if len(labels) else None,
        "examples": len(labels),
        "buyers": buyers,
        "threshold": threshold,
    }


def best_threshold(foreseen: pd.DataFrame) -> float:
    """Return the threshold of the highest F1, of equals the highest; 0.5 where nobody bought."""
    if not foreseen["bought"].any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(foreseen["bought"], foreseen["probability"])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.flatnonzero(f1[:-1] == f1[:-1].max()).max()])
