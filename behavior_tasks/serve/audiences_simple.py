"""The simple thing a shop would do: facts in; shoppers in the order of recency, or of RFM, and chances for them, out.

RFM gives each shopper one to five points for how lately, how often and for how much they bought (quintiles), and adds
them; where most have never bought, the last visit decides among equals. The one thing to know: an order becomes
chances through what shoppers of like places really did in a horizon that is over (isotonic regression).
"""

import numpy as np
import pandas as pd

SIMPLE: dict[str, str] = {
    "recency": "the most recent visitors",
    "rfm": "RFM: how lately, how often and for how much they bought",
}
"""Name of a simple method → in words."""
POINTS = 5
GROUP, MOST_GROUPS = 25, 40
TIE = 1e-4


def simple_order(name: str, facts: pd.DataFrame) -> np.ndarray:
    """Return how highly a simple method thinks of each shopper, shape (n,): places from 0 to 1, no two the same.

    Args:
        name: a key of SIMPLE.
        facts: a row a shopper, with the columns FACTS; a `past_spend` that is missing plays no part.
    """
    last = -facts["days_since_event"].to_numpy(dtype=np.float64)
    keys = [facts["shopper"].to_numpy(dtype=str), last]
    if name == "rfm":
        bought = -facts["days_since_purchase"].to_numpy(dtype=np.float64)
        often = facts["past_purchases"].to_numpy(dtype=np.float64)
        paid = np.nan_to_num(facts["past_spend"].to_numpy(dtype=np.float64))
        buyers = often > 0
        points = [_points(np.where(buyers, values, np.nan)) for values in (bought, often, paid)]
        keys.append(np.sum(points, axis=0))
    order = np.lexsort(keys)
    places = np.empty(len(facts))
    places[order] = (np.arange(len(facts)) + 0.5) / max(len(facts), 1)
    return places


def _points(values: np.ndarray) -> np.ndarray:
    """Return one to five points by quintile among those who have a value, 0 for the others."""
    there = ~np.isnan(values)
    edges = np.quantile(values[there], np.arange(1, POINTS) / POINTS) if there.any() else []
    return np.where(there, 1 + np.searchsorted(edges, np.nan_to_num(values), side="left"), 0).astype(np.float64)


def simple_scores(name: str, then: pd.DataFrame, now: pd.DataFrame, *, has_amounts: bool) -> pd.DataFrame:
    """Return scores as a champion's, of a simple method.

    Args:
        name: a key of SIMPLE.
        then: facts at an instant whose horizon is over, with `bought` and `amount`.
        now: facts of the shoppers to score.
        has_amounts: whether the log states amounts.

    Returns:
        TABLE_COLUMNS of `audiences_pick`, in the order of `now`. What a buyer spends is the same for all of them.
    """
    order = simple_order(name, now)
    # A little of the order itself keeps equals apart, and changes no chance by more than a ten-thousandth.
    probability = (
        np.clip(_chances(simple_order(name, then), then["bought"].to_numpy(), order), 0, 1 - TIE) + TIE * order
    )
    mean, std = _lognormal(then) if has_amounts else (np.nan, np.nan)
    return pd.DataFrame(
        {
            "shopper": now["shopper"],
            "probability": probability,
            "decision": probability >= 0.5,
            "expected_amount": probability * np.exp(mean + std**2 / 2),
            "log_mean": mean,
            "log_std": std,
        }
    )


def _chances(places: np.ndarray, bought: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the share of buyers at places from 0 to 1, from what shoppers of like places did; it never falls.

    Shares are taken over groups of GROUP shoppers or more, so that no single one makes a chance of 0 or 1; where
    nobody was there, it is 0.
    """
    from sklearn.isotonic import IsotonicRegression  # loads all of scikit-learn, which a page that is read needs not

    if not len(places):
        return np.zeros(len(asked))
    groups = np.array_split(np.argsort(places), max(1, min(MOST_GROUPS, len(places) // GROUP)))
    centres, shares = (np.array([of[group].mean() for group in groups]) for of in (places, bought))
    rising = IsotonicRegression().fit_transform(centres, shares, sample_weight=[len(group) for group in groups])
    return np.interp(asked, centres, rising)


def _lognormal(then: pd.DataFrame) -> tuple[float, float]:
    """Return mean and standard deviation of the logarithm of what buyers spent; NaN without any."""
    spent = then["amount"].to_numpy(dtype=np.float64)
    logs = np.log(spent[spent > 0])
    return (float(logs.mean()), float(logs.std())) if len(logs) else (np.nan, np.nan)
