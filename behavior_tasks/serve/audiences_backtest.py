"""The backtest: what champion and simple methods would have said one horizon ago, and who then really bought, compared.

In come scores and facts at an instant whose horizon is over, and the outcomes; out come, for lists of several sizes,
the buyers and the revenue that each method found, with intervals by shopper. The one thing to know: every method
chooses from the same shoppers, and the interval of a difference sees the same resampled shoppers on both sides.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.serve.audiences_pick import Picked
from behavior_tasks.serve.audiences_profit import amount_moments, buyers_estimate
from behavior_tasks.serve.audiences_simple import SIMPLE, simple_order
from behavior_tasks.serve.audiences_way import Way
from behavior_tasks.verdict.bootstrap import Resampling, draws, percentile_interval

SHARES = (0.05, 0.1, 0.2)
"""Sizes of the lists that are compared, as shares of all who are scored."""
MAIN_SHARE = 0.1
MODEL, RANDOM = "champion", "random"
RESAMPLING = Resampling(resamples=1000, confidence=0.95, seed=7)
FEWEST_BUYERS = 5
"""Real buyers below which what was expected is not set right by what came."""


def compare_methods(table: pd.DataFrame, *, has_amounts: bool) -> dict[str, Any]:
    """Return what the first n of each method's order really brought, for each of SHARES.

    Args:
        table: the champion's `probability`, the facts, and `bought` and `amount` of what followed; a row a shopper.
        has_amounts: whether the log states amounts.

    Returns:
        `shoppers`, `buyers`, `amount`, and `lists`: for each share its `size` and `methods`, name → `buyers`, `amount`
        and, of all but the champion, `more_buyers` and `more_amount` of the champion, each `found`, `lower`, `upper`;
        and `rfm_over_recency`, the more buyers of RFM.
    """
    bought, amount = table["bought"].to_numpy(dtype=np.float64), table["amount"].to_numpy(dtype=np.float64)
    orders = {MODEL: np.argsort(-table["probability"].to_numpy(), kind="stable")}
    orders |= {name: np.argsort(-simple_order(name, table), kind="stable") for name in SIMPLE}
    sizes = [max(1, round(share * len(table))) for share in SHARES]

    def figures(weights: np.ndarray) -> np.ndarray:
        """Return buyers and amount of each list, shape (shares, methods, 2); a list of a resample is as long."""
        found = np.empty((len(sizes), len(orders) + 1, 2))
        for place, order in enumerate(orders.values()):
            reached = np.cumsum(weights[order])
            for row, size in enumerate(sizes):
                taken = np.clip(weights[order] - np.maximum(reached - size, 0), 0, None)
                found[row, place] = taken @ bought[order], taken @ amount[order]
        for row, size in enumerate(sizes):
            # A random list is taken at its expectation.
            found[row, -1] = np.array([weights @ bought, weights @ amount]) * size / len(table)
        return found

    whole = figures(np.ones(len(table)))
    drawn = np.array([figures(draw) for draw in draws(len(table), RESAMPLING.within_reach(len(table)))])
    names = (*orders, RANDOM)
    lists = []
    for row, (share, size) in enumerate(zip(SHARES, sizes, strict=True)):
        methods: dict[str, Any] = {}
        for place, name in enumerate(names):
            told = {"buyers": _interval(whole[row, place, 0], drawn[:, row, place, 0])}
            if name != MODEL:
                told["more_buyers"] = _interval(
                    whole[row, 0, 0] - whole[row, place, 0], drawn[:, row, 0, 0] - drawn[:, row, place, 0]
                )
            if has_amounts:
                told["amount"] = _interval(whole[row, place, 1], drawn[:, row, place, 1])
                if name != MODEL:
                    told["more_amount"] = _interval(
                        whole[row, 0, 1] - whole[row, place, 1], drawn[:, row, 0, 1] - drawn[:, row, place, 1]
                    )
            methods[name] = told
        rfm, recency = names.index("rfm"), names.index("recency")
        simple = _interval(
            whole[row, rfm, 0] - whole[row, recency, 0], drawn[:, row, rfm, 0] - drawn[:, row, recency, 0]
        )
        lists.append({"share": share, "size": size, "methods": methods, "rfm_over_recency": simple})
    return {"shoppers": len(table), "buyers": int(bought.sum()), "amount": float(amount.sum()), "lists": lists}


def _interval(found: float, drawn: np.ndarray) -> dict[str, float]:
    lower, upper = percentile_interval(drawn, RESAMPLING.confidence)
    return {"found": float(found), "lower": lower, "upper": upper}


def main_list(compared: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the list of the size by which methods are chosen."""
    return next(entry for entry in compared["lists"] if entry["share"] == MAIN_SHARE)


def best_simple(compared: Mapping[str, Any]) -> str:
    """Return the simple method that found most buyers on the main list; of equals RFM."""
    methods = main_list(compared)["methods"]
    return max(reversed(tuple(SIMPLE)), key=lambda name: methods[name]["buyers"]["found"])


def champion_wins(compared: Mapping[str, Any]) -> bool:
    """Whether the champion found more buyers on the main list than every simple method."""
    methods = main_list(compared)["methods"]
    return all(methods[MODEL]["buyers"]["found"] > methods[name]["buyers"]["found"] for name in SIMPLE)


def surely_more(compared: Mapping[str, Any], one: str, other: str) -> bool:
    """Whether a method found more buyers on the main list than another, beyond chance: the interval excludes 0."""
    entry = main_list(compared)
    for first, second, sign in ((one, other, 1), (other, one, -1)):
        if first == MODEL and second != MODEL:
            more = entry["methods"][second]["more_buyers"]
        elif (first, second) == ("rfm", "recency"):
            more = entry["rfm_over_recency"]
        else:
            continue
        return bool(more["lower"] > 0 if sign > 0 else more["upper"] < 0)
    return False  # the same method


def choose_way(compared: Mapping[str, Any], champion: str, before: Way | None) -> Way:
    """Return the way that a comparison speaks for.

    The first choice goes to whoever found most buyers, a tie between the champion and a simple way to the simple one.
    From then on a way stays, as long as the champion is the same, until another one is better beyond chance, so that
    lists don't change their kind from night to night by luck.

    Args:
        compared: what `compare_methods` gives.
        champion: name and version of the champion that was compared.
        before: the way of the night before; None, or that of another champion: it plays no part.
    """
    if before is None or before.champion != champion:
        method: Any = MODEL if champion_wins(compared) else best_simple(compared)
        return Way(method=method, champion=champion)
    found = main_list(compared)["methods"]
    better = [name for name in (*SIMPLE, MODEL) if surely_more(compared, name, before.method)]
    method = max(better, key=lambda name: found[name]["buyers"]["found"], default=before.method)
    return Way(method=method, champion=champion)


def in_words(compared: Mapping[str, Any]) -> str:
    """Return what the comparison says, in two sentences."""
    entry, name = main_list(compared), best_simple(compared)
    methods = entry["methods"]
    found, simple, luck = (methods[of]["buyers"]["found"] for of in (MODEL, name, RANDOM))
    more = methods[name]["more_buyers"]
    told = (
        f"Of {entry['size']:,} shoppers, {found:,.0f} bought where the champion chose them, {simple:,.0f} where the "
        f"better simple way did ({SIMPLE[name]}), {luck:,.0f} by luck; the champion's {more['found']:+,.0f} against "
        f"that way has the 95 % interval {more['lower']:+,.0f} to {more['upper']:+,.0f}."
    )
    if more["lower"] > 0:
        return f"{told} The champion is better, beyond chance."
    if more["upper"] < 0:
        return f"{told} The simple way is better, beyond chance: use it."
    return f"{told} The simple way is as good here: the difference lies within chance."


def check_audience(picked: Picked) -> dict[str, Any]:
    """Return what an audience, filled one horizon ago, was expected to bring and brought.

    Args:
        picked: its members have `bought` and `amount`.
    """
    members = picked.members
    expected = buyers_estimate(members["probability"].to_numpy(dtype=np.float64))
    moments = amount_moments(members) if len(members) else None
    return {
        "shoppers": len(members),
        "expected_buyers": expected.expected,
        "expected_lower": expected.lower,
        "expected_upper": expected.upper,
        "buyers": int(members["bought"].sum()),
        "expected_amount": None if moments is None else float(moments[0].sum()),
        "amount": float(members["amount"].sum()),
    }


def set_right(expected: float, spread: float, checked: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return expected buyers as the last horizon suggests: times the buyers that came over those expected, with 95 %.

    The ratio's own variance, of a count, is added to that of the coming horizon (delta method); None where too few
    bought then.

    Args:
        expected: buyers expected now.
        spread: variance of their number.
        checked: what `check_audience` gives for the same audience.
    """
    if checked["buyers"] < FEWEST_BUYERS or checked["expected_buyers"] <= 0:
        return None
    ratio = checked["buyers"] / checked["expected_buyers"]
    variance = ratio * spread + (expected / checked["expected_buyers"]) ** 2 * checked["buyers"]
    half = 1.959964 * float(np.sqrt(variance))
    return ratio * expected, max(0.0, ratio * expected - half), ratio * expected + half
