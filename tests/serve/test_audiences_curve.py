"""What every budget buys: the figures that are added up beforehand are those of the list itself."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.audiences_curve import CAMPAIGN, Curve, write_curves
from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.serve.audiences_pick import pick_all, with_ranks
from behavior_tasks.serve.audiences_profit import worth_of
from behavior_tasks.serve.audiences_rules import Audience, Audiences, Costs

DRAW = Holdout(bytes(32)).drawn
PRICED = Costs(contact_cost=0.4, margin=0.3)
SALE = Costs(contact_cost=0.5, value_of_sale=2.0)


def everybody(shoppers: int, *, amounts: bool = True) -> pd.DataFrame:
    """Return scores of everybody, with shoppers of equal probability among them."""
    random = np.random.default_rng(5)
    names = [f"{number:06x}" for number in range(shoppers)]
    probability = np.round(random.beta(1, 6, shoppers), 2)
    mean = random.normal(2, 1, shoppers) if amounts else np.nan
    std = 0.5 if amounts else np.nan
    scores = pd.DataFrame({"shopper": names, "probability": probability, "log_mean": mean, "log_std": std})
    scores["decision"] = scores["probability"] > 0.5
    scores["expected_amount"] = scores["probability"] * np.exp(scores["log_mean"] + scores["log_std"] ** 2 / 2)
    return with_ranks(scores, pd.DataFrame({"shopper": names, "past_spend": 1.0}))


@pytest.mark.parametrize("shoppers", [0, 40, 3000])
@pytest.mark.parametrize("costs", [Costs(), PRICED, SALE], ids=["none", "margin", "sale"])
@pytest.mark.parametrize("amounts", [True, False], ids=["amounts", "chances"])
def test_a_budgets_figures_are_those_of_its_list(tmp_path: Path, shoppers: int, costs: Costs, amounts: bool) -> None:
    if costs.margin and not amounts:
        return
    table = everybody(shoppers, amounts=amounts)
    write_curves(tmp_path, table, holdout=0.2, draw=DRAW)
    curve = Curve.load(tmp_path, costs)
    is_priced = costs != Costs()
    for contacts in (1, 30, 2300, None):
        audience = Audience(name=CAMPAIGN, contacts=contacts, maximise_profit=is_priced, costs=costs)
        if not audience.is_budget:
            continue
        (picked,) = pick_all(Audiences(audiences=[audience]), table, holdout=0.2, draw=DRAW)
        wanted = worth_of(picked.of_group("contact"), costs)
        found = curve.ask(contacts, costs)
        assert (found.worth.shoppers, found.control) == (wanted.shoppers, len(picked.of_group("control")))
        for name in ("buyers", "amount", "profit"):
            told, expected = getattr(found.worth, name), getattr(wanted, name)
            assert (told is None) == (expected is None) or not wanted.shoppers
            if told is not None and expected is not None:
                assert asdict(told) == pytest.approx(asdict(expected), rel=1e-9, abs=1e-9)


def test_points_run_from_the_first_shopper_to_the_last(tmp_path: Path) -> None:
    table = everybody(300)
    write_curves(tmp_path, table, holdout=0.0, draw=DRAW)
    points = Curve.load(tmp_path, Costs()).points(50)
    assert (points[0][0], points[-1][0], len(points)) == (1, 300, 50)
    assert points[-1][1] == pytest.approx(table["probability"].sum())
    gains = np.diff([amount for _, _, amount in points]) / np.diff([contacts for contacts, _, _ in points])
    assert (np.diff(gains) <= 1e-9).all(), "the best come first"


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="before budgets were added up"):
        Curve.load(tmp_path, Costs())
    write_curves(tmp_path, everybody(20, amounts=False), holdout=0.2, draw=DRAW)
    with pytest.raises(UserError, match="the scores of this date say none"):
        Curve.load(tmp_path, PRICED)
    assert Curve.load(tmp_path, SALE).ask(5, SALE).worth.amount is None
