"""Lift: planted effects are found, and too few buyers are said to be too few."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.serve.audiences_lift import measure_lift, needed_control, newcombe, relative_lift
from behavior_tasks.serve.audiences_rules import Costs


def campaign(contacts: int, control: int, *, lift: float, seed: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    group = np.repeat(["contact", "control"], [contacts, control])
    probability = generator.beta(2, 10, contacts + control)
    chance = np.clip(probability * np.where(group == "contact", 1 + lift, 1), 0, 1)
    bought = (generator.random(len(group)) < chance).astype(int)
    return pd.DataFrame(
        {
            "group": group,
            "probability": probability,
            "bought": bought,
            "amount": bought * generator.gamma(2, 20, len(group)),
        }
    )


def test_a_planted_lift_is_found_and_none_is_not() -> None:
    found = measure_lift(campaign(9000, 3000, lift=0.5), Costs(contact_cost=0.05, margin=0.3), has_amounts=True)
    more = found["more"]
    assert found["enough"]
    assert more["rate"]["lower"] > 0
    assert more["relative"]["lower"] < 0.5 < more["relative"]["upper"]
    assert more["amount"]["lower"] > 0
    assert more["profit"]["found"] == pytest.approx(9000 * (0.3 * more["amount"]["found"] - 0.05))
    assert more["buyers"]["found"] == pytest.approx(9000 * more["rate"]["found"])
    none = measure_lift(campaign(9000, 3000, lift=0.0), Costs(), has_amounts=True)["more"]
    assert none["rate"]["lower"] < 0 < none["rate"]["upper"]
    assert none["profit"] is None


def test_allowing_for_scores_narrows_the_interval_and_covers_the_truth() -> None:
    covered, widths = 0, []
    for seed in range(40):
        more = measure_lift(campaign(900, 300, lift=0.3, seed=seed), Costs(), has_amounts=False)["more"]
        truth = 0.3 * 2 / 12
        covered += more["allowing_for_scores"]["lower"] < truth < more["allowing_for_scores"]["upper"]
        widths.append(
            (more["rate"]["upper"] - more["rate"]["lower"])
            / (more["allowing_for_scores"]["upper"] - more["allowing_for_scores"]["lower"])
        )
    assert covered >= 34
    assert np.mean(widths) > 1


def test_too_few_buyers_are_said_to_be_too_few() -> None:
    members = campaign(200, 12, lift=0.0)
    members.loc[members["group"] == "control", "bought"] = 0
    found = measure_lift(members, Costs(), has_amounts=True)
    assert not found["enough"]
    assert "0 of 12 shoppers of the control bought" in found["why"]
    assert found["more"]["relative"] is None
    assert found["needed_control"] > 12


def test_nobody_bought_and_a_control_of_one() -> None:
    members = campaign(3, 1, lift=0.0).assign(bought=0, amount=0.0)
    found = measure_lift(members, Costs(value_of_sale=5, contact_cost=1), has_amounts=True)
    assert found["more"]["amount"] is None
    assert found["more"]["profit"]["found"] == -3


def test_the_control_that_is_needed_shows_the_lift_four_times_in_five() -> None:
    size = needed_control(0.2, ratio=3, lift=0.25)
    assert size is not None
    generator = np.random.default_rng(2)
    tries = 200
    contact, control = generator.binomial(3 * size, 0.25, tries), generator.binomial(size, 0.2, tries)
    seen = sum(newcombe(int(k1), 3 * size, int(k2), size)["lower"] > 0 for k1, k2 in zip(contact, control, strict=True))
    assert 0.72 < seen / tries < 0.88
    assert needed_control(0.0, ratio=3) is None


def test_intervals_turn_round_when_the_groups_do() -> None:
    one, other = newcombe(30, 100, 10, 90), newcombe(10, 90, 30, 100)
    assert one["lower"] == pytest.approx(-other["upper"])
    ratio: Any = relative_lift(30, 100, 10, 90)
    assert ratio["found"] == pytest.approx(1.7)
