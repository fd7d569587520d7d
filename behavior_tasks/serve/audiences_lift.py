"""Lift: who was contacted, who was the control, and what both then bought; what the contact brought, out.

The one thing to know: contacted and control were parted by lot, so their difference is caused by the contact — if the
list was really contacted, and the control was not. Too few buyers are said to be too few.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.serve.audiences_rules import Costs

CONFIDENCE = 0.95
POWER = 0.8
WORTH_SEEING = 0.2
"""Relative lift that a control should be large enough to show."""
FEWEST_BUYERS = 5
"""In either group; below, an interval says next to nothing."""
FEWEST_FOR_SPREAD = 2


def find_campaign(
    told: Sequence[Mapping[str, Any]], campaign: str, as_of: date, also_known: Collection[str] = ()
) -> list[Mapping[str, Any]]:
    """Return those of a date's lists that belong to a campaign, which is called as its audience unless the file says
    otherwise.

    Args:
        told: what `tell` says of each list.
        campaign: its name, or an audience's.
        as_of: the date.
        also_known: campaigns of other dates.

    Raises:
        UserError: when there is none, it was not to be contacted, it has no members, or no control.
    """
    found = [one for one in told if campaign in {one["campaign"], one["name"]}]
    if not found:
        names = sorted({one["campaign"] for one in told if one["contact"]} | set(also_known))
        close = nearest(campaign, names)
        raise UserError(
            f"There is no campaign {campaign} among the audiences of {as_of}, and no list of it was taken away.",
            found=campaign,
            expected=", ".join(names),
            next_step=f"behavior lift {close}" if close else "behavior lift lists them",
        )
    contacted = [one for one in found if one["contact"]]
    if not contacted:
        raise UserError(
            f"{campaign} is a list of whom to leave alone: nobody was contacted, so there is no lift to measure.",
            next_step="behavior lift lists the campaigns",
        )
    if not any(one["members"] for one in contacted):
        raise UserError(
            f"The campaign {campaign} had nobody in it on {as_of}.",
            found=contacted[0]["note"],
            next_step="choose another date with --as-of; behavior audiences lists what there is",
        )
    if not any(one["control"] for one in contacted):
        share = max(one["holdout"] for one in contacted)
        raise UserError(
            f"The campaign {campaign} of {as_of} has no control, so its lift can't be measured.",
            found=f"a holdout of {share:.0%}" if not share else f"a holdout of {share:.0%} that drew nobody",
            expected="some shoppers of the list who are not contacted",
            next_step="next time a larger audiences.holdout (or `holdout:` in the file), or a larger audience",
        )
    return contacted


def measure_lift(members: pd.DataFrame, costs: Costs, *, has_amounts: bool) -> dict[str, Any]:
    """Return what a campaign brought.

    Args:
        members: a row a shopper: `group` (contact or control), `probability`, and `bought` (0 or 1) and `amount`
            within the horizon.
        costs: what a contact cost and a purchase brings.
        has_amounts: whether the log states amounts.

    Returns:
        `contact` and `control` (shoppers, buyers, rate, expected_rate, amount), `more` (difference of the rates,
        relative lift, extra buyers, amount a shopper, profit), each with its interval, `enough` and, where it is
        not, `why` and what would be needed.
    """
    groups = {name: members[members["group"] == name] for name in ("contact", "control")}
    told = {name: _told(group) for name, group in groups.items()}
    (k1, n1), (k2, n2) = ((told[name]["buyers"], told[name]["shoppers"]) for name in ("contact", "control"))
    difference = newcombe(k1, n1, k2, n2)
    more: dict[str, Any] = {
        "rate": difference,
        "buyers": {key: value * n1 for key, value in difference.items()},
        "relative": relative_lift(k1, n1, k2, n2),
        "allowing_for_scores": _beyond_scores(groups),
        "amount": _more_amount(groups) if has_amounts else None,
    }
    more["profit"] = _profit(more, n1, costs)
    base = told["control"]["rate"] or told["control"]["expected_rate"]
    needed = needed_control(base, ratio=n1 / n2)
    why = _why_not_enough(told)
    return {**told, "more": more, "needed_control": needed, "enough": why is None, "why": why}


def effect_of(lift: Mapping[str, Any]) -> Literal["unclear", "raised", "lowered"]:
    """Return what can be said of the contact: whether it raised or lowered purchases, beyond chance.

    Args:
        lift: what `measure_lift` gives.
    """
    rate = lift["more"]["rate"]
    if not lift["enough"] or rate["lower"] <= 0 <= rate["upper"]:
        return "unclear"
    return "raised" if rate["lower"] > 0 else "lowered"


def _told(group: pd.DataFrame) -> dict[str, Any]:
    return {
        "shoppers": len(group),
        "buyers": int(group["bought"].sum()),
        "rate": float(group["bought"].mean()) if len(group) else None,
        "expected_rate": float(group["probability"].mean()) if len(group) else None,
        "amount": float(group["amount"].sum()),
    }


def wilson(buyers: int, shoppers: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a proportion (Wilson 1927)."""
    found = stats.binomtest(buyers, shoppers).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def newcombe(k1: int, n1: int, k2: int, n2: int, confidence: float = CONFIDENCE) -> dict[str, float]:
    """Return the difference k1/n1 - k2/n2 with its hybrid score interval (Newcombe 1998, method 10).

    >>> {name: round(value, 4) for name, value in newcombe(56, 70, 48, 80).items()}
    {'found': 0.2, 'lower': 0.0524, 'upper': 0.3339}
    """
    (low1, high1), (low2, high2) = wilson(k1, n1, confidence), wilson(k2, n2, confidence)
    p1, p2 = k1 / n1, k2 / n2
    return {
        "found": p1 - p2,
        "lower": p1 - p2 - math.hypot(p1 - low1, high2 - p2),
        "upper": p1 - p2 + math.hypot(high1 - p1, p2 - low2),
    }


def relative_lift(k1: int, n1: int, k2: int, n2: int, confidence: float = CONFIDENCE) -> dict[str, float] | None:
    """Return (k1/n1) / (k2/n2) - 1 with the interval of the logarithm of the ratio (Katz 1978); None without buyers."""
    if not k1 or not k2:
        return None
    ratio = (k1 / n1) / (k2 / n2)
    spread = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(1 / k1 - 1 / n1 + 1 / k2 - 1 / n2)
    return {"found": ratio - 1, "lower": ratio * math.exp(-spread) - 1, "upper": ratio * math.exp(spread) - 1}


def _beyond_scores(groups: Mapping[str, pd.DataFrame]) -> dict[str, float] | None:
    """Return the difference of what came beyond the scores, which were known before: chance in the lot counts less."""
    one, two = ((group["bought"] - group["probability"]).to_numpy(dtype=np.float64) for group in groups.values())
    return _welch(one, two)


def _welch(one: np.ndarray, two: np.ndarray) -> dict[str, float] | None:
    """Return the difference of two means with Welch's interval; None where a group is too small for one."""
    if min(len(one), len(two)) < FEWEST_FOR_SPREAD or (np.ptp(one) == 0 and np.ptp(two) == 0):
        return None
    interval = stats.ttest_ind(one, two, equal_var=False).confidence_interval(CONFIDENCE)
    return {"found": float(one.mean() - two.mean()), "lower": float(interval.low), "upper": float(interval.high)}


def _more_amount(groups: Mapping[str, pd.DataFrame]) -> dict[str, float] | None:
    """Return how much more a contacted shopper spent than one of the control, with Welch's interval."""
    one, two = (group["amount"].to_numpy(dtype=np.float64) for group in groups.values())
    return _welch(one, two)


def _profit(more: Mapping[str, Any], contacts: int, costs: Costs) -> dict[str, float] | None:
    """Return what the extra purchases of all who were contacted earned, after the contacts."""
    if costs.value_of_sale is not None:
        worth, gained = costs.value_of_sale, more["rate"]
    elif costs.margin is not None and more["amount"] is not None:
        worth, gained = costs.margin, more["amount"]
    else:
        return None
    return {key: contacts * (value * worth - costs.contact_cost) for key, value in gained.items()}


def needed_control(rate: float, *, ratio: float, lift: float = WORTH_SEEING) -> int | None:
    """Return how many shoppers a control needs to show a relative lift with a chance of 80 %.

    From the normal approximation of two proportions (Fleiss, Levin and Paik 2003, chapter 4), two-sided at 95 %.

    Args:
        rate: share of the control that buys.
        ratio: contacted shoppers for each of the control.
        lift: relative.

    Returns:
        None where the rate is 0 or 1, for which nothing can be said.

    >>> needed_control(0.1, ratio=9, lift=0.2)
    1997
    """
    if not 0 < rate < 1:
        return None
    raised = min(rate * (1 + lift), 1.0)
    spread = rate * (1 - rate) + raised * (1 - raised) / ratio
    quantiles = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    return math.ceil(float(quantiles) ** 2 * spread / (raised - rate) ** 2)


def _why_not_enough(told: Mapping[str, Mapping[str, Any]]) -> str | None:
    few = [
        f"{told[name]['buyers']} of {told[name]['shoppers']:,} {words}"
        for name, words in (("contact", "contacted shoppers bought"), ("control", "shoppers of the control bought"))
        if told[name]["buyers"] < FEWEST_BUYERS
    ]
    return f"only {' and '.join(few)}; at least {FEWEST_BUYERS} are needed in each group" if few else None
