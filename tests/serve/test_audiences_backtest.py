"""The champion beside recency and RFM on made-up shoppers whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.serve.audiences_backtest import (
    best_simple,
    champion_wins,
    choose_way,
    compare_methods,
    in_words,
    main_list,
    set_right,
    surely_more,
)
from behavior_tasks.serve.audiences_simple import simple_order, simple_scores
from behavior_tasks.serve.audiences_way import Method, Way


def shoppers(count: int = 1500, seed: int = 4) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    purchases = generator.poisson(1.0, count)
    last = generator.exponential(20, count)
    chance = np.clip(0.02 + 0.12 * purchases, 0, 0.9)
    bought = (generator.random(count) < chance).astype(int)
    return pd.DataFrame(
        {
            "shopper": [f"{number:020x}" for number in range(count)],
            "probability": chance,
            "days_since_event": last,
            "days_since_purchase": np.where(purchases > 0, last, np.nan),
            "past_purchases": purchases,
            "past_spend": purchases * generator.gamma(2, 10, count),
            "bought": bought,
            "amount": bought * generator.gamma(2, 15, count),
        }
    )


def test_who_knows_the_truth_beats_luck_and_a_blind_champion_does_not() -> None:
    table = shoppers()
    compared = compare_methods(table, has_amounts=True)
    entry = main_list(compared)
    assert entry["size"] == 150
    methods = entry["methods"]
    best = table.sort_values("probability", ascending=False, kind="stable").head(150)
    assert methods["champion"]["buyers"]["found"] == best["bought"].sum()
    assert methods["champion"]["amount"]["found"] == pytest.approx(best["amount"].sum())
    assert methods["random"]["buyers"]["found"] == pytest.approx(150 * table["bought"].mean())
    assert methods["random"]["more_buyers"]["lower"] > 0
    # Frequency is the truth here, and when somebody came last says nothing.
    assert best_simple(compared) == "rfm"
    blind = table.assign(probability=np.random.default_rng(1).random(len(table)))
    lost = compare_methods(blind, has_amounts=False)
    assert not champion_wins(lost)
    assert main_list(lost)["methods"]["rfm"]["more_buyers"]["upper"] < 0
    assert "The simple way is better, beyond chance" in in_words(lost)
    assert "amount" not in main_list(lost)["methods"]["rfm"]


def test_the_champion_that_says_what_rfm_says_is_told_to_be_as_good() -> None:
    table = shoppers()
    same = compare_methods(table.assign(probability=simple_order("rfm", table)), has_amounts=False)
    assert main_list(same)["methods"]["rfm"]["more_buyers"] == {"found": 0.0, "lower": 0.0, "upper": 0.0}
    assert not champion_wins(same)
    assert "as good here" in in_words(same)


def test_simple_chances_are_calibrated_and_keep_the_order() -> None:
    then, now = shoppers(4000, seed=1), shoppers(4000, seed=2)
    scores = simple_scores("rfm", then, now, has_amounts=True)
    chance = scores["probability"].to_numpy()
    assert abs(chance.mean() - now["bought"].mean()) < 0.02
    top = np.argsort(-chance)[:400]
    assert abs(chance[top].mean() - now["bought"].to_numpy()[top].mean()) < 0.08
    order = simple_order("rfm", now)
    assert (np.diff(chance[np.argsort(order)]) > 0).all()
    assert len(np.unique(order)) == len(order)
    mean = np.log(then.loc[then["amount"] > 0, "amount"]).mean()
    assert scores["log_mean"].iloc[0] == pytest.approx(mean)
    assert np.isnan(simple_scores("recency", then, now, has_amounts=False)["expected_amount"]).all()


def test_a_shop_without_a_past_has_no_chances() -> None:
    now = shoppers(60)
    scores = simple_scores("rfm", now.head(0), now, has_amounts=True)
    assert (scores["probability"] < 0.001).all()
    assert not scores["decision"].any()


def test_row_order_plays_no_part() -> None:
    table = shoppers(300)
    mixed = table.sample(frac=1, random_state=3)
    one, other = (
        compare_methods(of.sort_values("shopper").reset_index(drop=True), has_amounts=True) for of in (table, mixed)
    )
    assert one == other


def test_what_came_sets_right_what_is_expected() -> None:
    checked = {"buyers": 30, "expected_buyers": 20.0}
    found = set_right(40.0, 30.0, checked)
    assert found is not None
    expected, lower, upper = found
    assert expected == pytest.approx(60)
    assert upper - expected == pytest.approx(1.959964 * np.sqrt(1.5 * 30 + 4 * 30))
    assert lower == pytest.approx(2 * expected - upper)
    assert set_right(40.0, 30.0, {"buyers": 4, "expected_buyers": 20.0}) is None


def test_a_way_is_left_only_for_one_that_is_better_beyond_chance() -> None:
    def chosen(compared: dict[str, Any], before: Method | None, champion: str = "shop 1") -> Method:
        return choose_way(compared, "shop 1", before and Way(method=before, champion=champion)).method

    table = shoppers()
    truth = compare_methods(table, has_amounts=False)
    # Frequency is the truth: champion and RFM know it, recency does not.
    assert surely_more(truth, "champion", "recency")
    assert surely_more(truth, "rfm", "recency")
    assert not surely_more(truth, "recency", "rfm")
    assert chosen(truth, "recency") != "recency"
    blind = table.assign(probability=np.random.default_rng(1).random(len(table)))
    lost = compare_methods(blind, has_amounts=False)
    assert chosen(lost, "champion") == "rfm"
    # A tie: the first choice is the simple way, and whichever came before stays.
    tie = compare_methods(table.assign(probability=simple_order("rfm", table)), has_amounts=False)
    assert [chosen(tie, before) for before in (None, "champion", "rfm")] == ["rfm", "champion", "rfm"]
    # A little better is not enough, unless nothing came before or it was beside another champion.
    order = simple_order("rfm", table)
    first = np.argsort(-order)[:170]
    swapped = order.copy()
    bought = table["bought"].to_numpy()
    out, in_ = first[:150][bought[first[:150]] == 0][-1], first[150:][bought[first[150:]] == 1][0]
    swapped[[out, in_]] = swapped[[in_, out]]
    nearly = compare_methods(table.assign(probability=swapped), has_amounts=False)
    assert main_list(nearly)["methods"]["rfm"]["more_buyers"]["found"] == 1
    assert chosen(nearly, "rfm") == "rfm"
    assert chosen(nearly, None) == chosen(nearly, "rfm", champion="shop 2") == "champion"
