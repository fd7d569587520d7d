"""Lots, profit and intervals: against brute force and simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.serve.audiences_profit import (
    amount_moments,
    buyers_estimate,
    choose_contacts,
    expected_profit,
    worth_of,
)
from behavior_tasks.serve.audiences_rules import Costs

SHOPPERS = [f"{number:020x}" for number in range(20_000)]
NOBODY: list[bool] = [False] * 6


def test_the_lot_has_its_share_is_stable_and_independent_between_campaigns() -> None:
    lots = Holdout(bytes(32))
    spring, autumn = (lots.drawn(name, SHOPPERS, 0.1) for name in ("spring", "autumn"))
    # Four standard deviations of a binomial count.
    assert abs(spring.mean() - 0.1) < 4 * np.sqrt(0.09 / len(SHOPPERS))
    assert abs((spring & autumn).mean() - 0.01) < 4 * np.sqrt(0.0099 / len(SHOPPERS))
    backwards = lots.drawn("spring", SHOPPERS[::-1], 0.1)[::-1]
    assert (spring == backwards).all()
    assert (Holdout(bytes(32)).drawn("spring", SHOPPERS[:50], 0.1) == spring[:50]).all()
    other = Holdout(bytes(31) + b"x").drawn("spring", SHOPPERS, 0.1)
    assert abs((spring & other).mean() - 0.01) < 4 * np.sqrt(0.0099 / len(SHOPPERS))


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_who_is_drawn_at_one_share_is_drawn_at_every_larger_one(one: float, two: float) -> None:
    lots = Holdout(b"k" * 32)
    fewer, more = (lots.drawn("c", SHOPPERS[:200], share) for share in sorted((one, two)))
    assert (fewer <= more).all()
    assert not lots.drawn("c", SHOPPERS[:200], 0.0).any()
    assert lots.drawn("c", SHOPPERS[:200], 1.0).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_buyers_is_that_of_every_outcome_counted(chances: list[float]) -> None:
    probability, counts = np.array(chances), np.zeros(len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        bought = np.array(outcome)
        counts[bought.sum()] += np.where(bought, probability, 1 - probability).prod()
    found, reached = buyers_estimate(probability, 0.9), np.cumsum(counts)
    assert found.expected == pytest.approx(probability.sum())
    # The smallest counts that leave at most, and at least, five per cent below and above.
    assert reached[int(found.lower)] >= 0.05 - 1e-9
    assert found.lower == 0 or reached[int(found.lower) - 1] < 0.05 + 1e-9
    assert reached[int(found.upper)] >= 0.95 - 1e-9
    assert found.upper == 0 or reached[int(found.upper) - 1] < 0.95 + 1e-9


def test_many_shoppers_get_nearly_the_exact_interval() -> None:
    probability = np.random.default_rng(3).beta(1, 9, 2000)
    exact, near = buyers_estimate(probability), buyers_estimate(np.append(probability, 0.0))
    assert abs(exact.lower - near.lower) < 1.5
    assert abs(exact.upper - near.upper) < 1.5


def made_up(shoppers: int = 400) -> pd.DataFrame:
    generator = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "probability": generator.beta(1, 6, shoppers),
            "log_mean": generator.normal(3, 0.4, shoppers),
            "log_std": 0.9,
        }
    )


def test_the_worth_is_that_of_simulated_horizons() -> None:
    table, generator = made_up(), np.random.default_rng(6)
    shape = (4000, len(table))
    bought = generator.random(shape) < table["probability"].to_numpy()
    amounts = bought * np.exp(table["log_mean"].to_numpy() + 0.9 * generator.normal(size=shape))
    moments = amount_moments(table)
    assert moments is not None
    assert amounts.mean(axis=0).sum() == pytest.approx(moments[0].sum(), rel=0.02)
    assert amounts.var(axis=0).sum() == pytest.approx(moments[1].sum(), rel=0.1)
    worth = worth_of(table, Costs(contact_cost=0.5, margin=0.3))
    assert worth.amount is not None
    assert worth.profit is not None
    totals = amounts.sum(axis=1)
    inside = ((totals >= worth.amount.lower) & (totals <= worth.amount.upper)).mean()
    assert 0.93 < inside < 0.97
    assert worth.profit.expected == pytest.approx(0.3 * worth.amount.expected - 0.5 * len(table))
    assert worth.profit.lower < worth.profit.expected < worth.profit.upper


def test_without_amounts_the_value_of_a_sale_counts() -> None:
    table = made_up(5).assign(log_mean=np.nan, log_std=np.nan)
    assert expected_profit(table, Costs(margin=0.3)) is None
    worth = worth_of(table, Costs(value_of_sale=10, contact_cost=1))
    assert worth.amount is None
    assert worth.profit is not None
    assert worth.profit.expected == pytest.approx(10 * table["probability"].sum() - 5)


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.none() | st.integers(1, 6),
)
@settings(max_examples=80, deadline=None)
def test_no_other_choice_of_contacts_brings_more(profits: list[float], lots: list[bool], contacts: int | None) -> None:
    profit, drawn = np.array(profits), np.array(lots[: len(profits)])
    chosen = choose_contacts(profit, drawn, contacts, only_gains=True)
    mine = [place for place in chosen if not drawn[place]]
    assert contacts is None or len(mine) <= contacts
    payable = [place for place in range(len(profit)) if not drawn[place]]
    most = max(
        sum(profit[list(some)])
        for size in range(min(len(payable), contacts or len(payable)) + 1)
        for some in itertools.combinations(payable, size)
    )
    assert profit[mine].sum() == pytest.approx(most)
    # The control is of the same audience: nobody who is worse than the last one contacted.
    assert (np.diff(profit[chosen]) <= 0).all()
