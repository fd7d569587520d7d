"""Forecasts of made-up sales: what each method must say, what it must not see, and which one is served."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.serve import demand_methods as methods
from behavior_tasks.serve.demand_backtest import (
    BLEND,
    MODEL,
    Choice,
    Tried,
    choose,
    compare,
    measure,
    try_methods,
)
from behavior_tasks.serve.demand_intervals import Asked, Calibration, Outcome
from behavior_tasks.serve.demand_log import Unseen
from behavior_tasks.serve.demand_methods import Forecast, Sums
from behavior_tasks.serve.demand_table import forecast_table
from tests.serve.demands import made, read, sale

ASKED = Asked(interval=0.8, service_level=0.95)
TREND = np.array([[8, 4, 2, 1, 16], [0, 0, 0, 0, 5], [9, 9, 0, 0, 0]])


def sums(probability: np.ndarray) -> Sums:
    return Sums(probability=probability, squared=np.zeros(len(probability)))


def test_the_simple_methods_on_sales_that_are_easy_to_add_up() -> None:
    history = made(TREND)
    assert methods.naive(history, 4).tolist() == [1, 0, 0]
    assert methods.moving_average(history, 4, 2).tolist() == [1.5, 0, 0]
    assert methods.moving_average(history, 4, 4).tolist() == [3.75, 0, 4.5]
    faded = methods.fading_average(history, 4)
    assert faded[0] == pytest.approx((8 * 0.5**1.5 + 4 * 0.5 + 2 * 0.5**0.5 + 1) / (0.5**1.5 + 0.5 + 0.5**0.5 + 1))
    assert 0 < faded[2] < 4.5, "what sold long ago fades"


@pytest.mark.parametrize("origin", [1, 3, 4])
def test_nothing_at_or_after_an_origin_is_seen(origin: int) -> None:
    past, future = TREND.copy(), TREND.copy()
    future[:, origin:] = 777
    told = [
        [
            *(method(history, origin) for method in methods.simple_methods(3).values()),
            methods.language_model(history, origin, sums(np.ones(3))).expected,
            methods.language_model(history, origin, sums(np.ones(3))).variance,
        ]
        for history in (made(past, unseen=0.5), made(future, unseen=0.5))
    ]
    np.testing.assert_array_equal(told[0], told[1])


def test_the_language_model_adds_probabilities_times_pieces_and_those_not_yet_seen() -> None:
    steady = np.full((2, 12), 400)
    found = methods.language_model(made(steady), 12, sums(np.array([30.0, 50.0])))
    np.testing.assert_allclose(found.expected, [30, 50], rtol=0.01)
    half = methods.language_model(made(steady, unseen=0.5), 12, sums(np.array([30.0, 50.0])))
    np.testing.assert_allclose(half.expected, [230, 250], rtol=0.01)
    assert half.unseen is not None
    np.testing.assert_allclose(half.unseen, [200, 200], rtol=0.01)
    certain = Sums(probability=np.array([30.0, 50.0]), squared=np.array([30.0, 50.0]))
    assert (methods.language_model(made(steady), 12, certain).variance < 0.2 * found.variance).all()


def test_pieces_of_a_buyer_shrink_to_the_category_where_there_are_few(tmp_path: Path) -> None:
    many = [sale("box", n / 4, 12, f"s{n}", category="bulk") for n in range(80)]
    few = [sale("rare", 8, 1, category="bulk"), sale("single", 8, 1, category="other")]
    history = read(tmp_path, [*many, *few], 21)
    mean = dict(zip(history.products["product_id"], methods.pieces(history, 3).mean, strict=True))
    assert mean["box"] == pytest.approx(12, abs=0.5)
    assert 8 < mean["rare"] < mean["box"]
    assert mean["single"] < mean["rare"]


def test_who_had_touched_a_product_may_take_more_than_who_comes_first() -> None:
    history = made(np.full((2, 12), 60), unseen=2 / 3)
    assert history.unseen is not None
    again = Unseen(units=history.units * 0.4, buyers=history.unseen.buyers, squares=history.squares * 0.3)
    history = replace(history, unseen=again)  # a third of the buyers takes three fifths of the pieces
    assert methods.pieces(history, 12).mean == pytest.approx([1, 1], rel=0.01)
    assert methods.pieces_of_seen(history, 12).mean == pytest.approx([1.8, 1.8], rel=0.02)
    assert methods.pieces_of_seen(history, 12).square == pytest.approx([1.8**2, 1.8**2], rel=0.02), "no less than that"
    found = methods.language_model(history, 12, sums(np.array([20.0, 20.0])))
    assert found.expected == pytest.approx([20 * 1.8 + 24] * 2, rel=0.02)


def test_a_product_that_has_gone_decays_and_one_that_sells_seldom_does_not() -> None:
    gone, seldom, steady = np.zeros(12), np.zeros(12), np.full(12, 6)
    gone[:6], seldom[[0, 5, 9]] = 6, 1
    history = made(np.array([gone, seldom, steady]))
    living = methods.alive(history, 12)
    assert living[0] < 1e-6
    assert living[1] > 0.9
    assert living[2] == 1
    assert methods.alive(history, 6)[0] == 1, "it was not gone yet"
    found = methods.language_model(history, 12, sums(np.ones(3)))
    assert found.expected[0] < 0.3 < 0.8 < found.expected[1]
    earlier = [methods.fading_average(history, origin)[0] for origin in range(6, 13)]
    assert all(later < before for before, later in pairwise(earlier))


def test_a_new_product_is_neither_a_horizon_of_first_days_nor_divided_by_the_past(tmp_path: Path) -> None:
    old = [sale(f"old{n}", week * 7 + 1, 2) for n in range(5) for week in range(4)]
    history = read(tmp_path, [*old, sale("new", 27, 4)], 28)
    place = history.products["product_id"].tolist().index("new")
    for told in (methods.moving_average(history, 4, 4), methods.fading_average(history, 4)):
        assert 4 < told[place] < 8, "four on its first day, and for six more what such products sell"


def world(probability_of: float, *, windows: int = 12, seed: int = 2) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Return sales whose mean jumps at random, and what a model says that knows so much of the jumps."""
    rng = np.random.default_rng(seed)
    means = rng.gamma(1.0, 6.0, size=(150, windows + 1))
    told = {o: probability_of * means[:, o] + (1 - probability_of) * means.mean() for o in range(windows + 1)}
    return rng.poisson(means)[:, :windows], told


def test_a_model_that_knows_more_is_served_once_two_horizons_show_it() -> None:
    units, told = world(1.0)
    history = made(units)
    tried = {
        first: try_methods(history, {o: sums(told[o]) for o in range(first, 13)}, average_horizons=4)
        for first in (8, 10, 11, 12)
    }
    assert choose(history, tried[10], has_champion=True).method == MODEL
    choice = choose(history, tried[8], has_champion=True)
    assert choice.model_wins
    assert tried[8].weights[12] >= 0.9
    for first, words in ((11, "one horizon"), (12, "no horizon")):
        unsure = choose(history, tried[first], has_champion=True)
        assert unsure.method == unsure.simple
        assert words in unsure.why


def test_a_model_that_knows_nothing_is_not_served() -> None:
    units, told = world(0.0)
    shuffled = {o: np.random.default_rng(o).permutation(told[o] * np.linspace(0, 4, 150)) for o in told}
    history = made(units)
    tried = try_methods(history, {o: sums(shuffled[o]) for o in range(6, 13)}, average_horizons=4)
    choice = choose(history, tried, has_champion=True)
    assert not choice.model_wins
    assert "is not shown to be below" in choice.why
    assert compare(history, tried, MODEL, choice.simple, [7, 8, 9]).difference > 0
    assert set(tried.past[BLEND]) == {7, 8, 9, 10, 11}, "the first has no earlier one to choose a share on"


def test_the_best_simple_method_is_that_with_the_smallest_error() -> None:
    rising = np.arange(12) * np.ones((30, 1)) * 5
    history = made(rising)
    choice = choose(history, try_methods(history, {}, average_horizons=4), has_champion=False)
    assert choice.method == "naive"
    level = made(np.random.default_rng(1).poisson(9, size=(100, 12)))
    tried = try_methods(level, {}, average_horizons=8)
    assert choose(level, tried, has_champion=False).method == "moving average"
    figures = measure(level, tried, ASKED).set_index(["method", "level"])
    naive, mean = (figures.loc[(name, "product")] for name in ("naive", "moving average"))
    assert mean["lower"] < mean["wape"] < mean["upper"] < naive["wape"]
    assert abs(mean["bias"]) < 0.03
    assert 0.75 < mean["coverage"] < 0.87
    assert figures.loc[("moving average", "category"), "wape"] < 0.1


def test_intervals_hold_what_they_promise_whatever_the_spread() -> None:
    rng = np.random.default_rng(4)

    def outcome() -> Outcome:
        mean = rng.gamma(2.0, 5.0, size=2000)
        return Outcome(expected=mean, variance=mean, actual=rng.negative_binomial(3, 3 / (3 + mean)).astype(float))

    calibration, new = Calibration.fit([outcome(), outcome()], ASKED), outcome()
    ranges = calibration.ranges(new.expected, new.variance)
    assert np.mean((ranges.lower <= new.actual) & (new.actual <= ranges.upper)) == pytest.approx(0.8, abs=0.03)
    assert np.mean(new.actual <= ranges.safe) == pytest.approx(0.95, abs=0.015)
    assert (ranges.lower <= new.expected).all()
    assert (new.expected <= ranges.upper).all()
    for band in np.array_split(np.argsort(new.expected), 4):
        inside = (ranges.lower[band] <= new.actual[band]) & (new.actual[band] <= ranges.upper[band])
        assert 0.72 < inside.mean() < 0.9, "in every size of product"


def test_intervals_hold_what_they_promise_of_windows_that_move_as_a_whole() -> None:
    rng = np.random.default_rng(5)

    def outcome() -> Outcome:
        mean = rng.gamma(2.0, 5.0, size=800)
        shift = rng.choice([0.75, 1.25])
        return Outcome(expected=mean, variance=mean, actual=rng.poisson(mean * shift).astype(float))

    shares, safe, alone = [], [], []
    for _ in range(12):
        past, new = [outcome() for _ in range(6)], outcome()
        calibration = Calibration.fit(past, ASKED)
        ranges = calibration.ranges(new.expected, new.variance)
        shares.append(np.mean((ranges.lower <= new.actual) & (new.actual <= ranges.upper)))
        safe.append(np.mean(new.actual <= ranges.safe))
        never = replace(calibration, widened=(1.0, 1.0)).ranges(new.expected, new.variance)
        alone.append(np.mean((never.lower <= new.actual) & (new.actual <= never.upper)))
        assert min(calibration.widened) >= 1
    assert np.mean(alone) < np.mean(shares) < 0.9
    assert np.mean(shares) > 0.78
    assert np.mean(safe) > 0.94


def test_a_window_is_told_by_windows_before_it_alone() -> None:
    rng = np.random.default_rng(6)
    past = [
        Outcome(expected=np.full(100, 9.0), variance=np.full(100, 9.0), actual=rng.poisson(9 * by, 100).astype(float))
        for by in (1.0, 1.1, 0.8, 1.4, 0.9, 1.2)
    ]
    each = Calibration.fit_each(past, ASKED)
    assert len(each) == len(past) + 1
    for count, one in enumerate(each):
        alone = Calibration.fit(past[:count], ASKED)
        assert one.widened == alone.widened
        np.testing.assert_array_equal(one.quantiles, alone.quantiles)
    assert each[3].widened == (1.0, 1.0), "two windows with ranges from before them are too few"


def test_without_a_past_intervals_are_a_normal_distributions() -> None:
    ranges = Calibration.fit([], ASKED).ranges(np.array([100.0, 0.0]), np.array([100.0, 0.0]))
    assert ranges.lower[0] == pytest.approx(100 - 1.2816 * 11.18, abs=0.1)
    assert ranges.safe[0] == pytest.approx(100 + 1.6449 * 11.18, abs=0.1)
    assert ranges.lower[1] == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40),
    st.lists(st.sampled_from(["cups", "mugs", "a, b"]), min_size=40, max_size=40),
)
def test_products_add_up_to_categories_and_these_to_the_shop(expected: list[float], categories: list[str]) -> None:
    history = made(np.ones((len(expected), 4)), categories=categories[: len(expected)])
    forecast = Forecast(expected=np.array(expected), variance=np.array(expected))
    tried = Tried(past={"naive": {}}, now={"naive": forecast}, weights={})
    choice = Choice(method="naive", simple="naive", why="", model_wins=False)
    table = forecast_table(history, tried, choice, ASKED)
    by_level = dict(iter(table.groupby("level")))
    total = by_level["total"]["expected"].iloc[0]
    assert isinstance(total, Decimal)
    assert sum(by_level["category"]["expected"]) == sum(by_level["product"]["expected"]) == total
    for row in by_level["category"].itertuples():
        assert sum(by_level["product"].loc[by_level["product"]["category"] == row.category, "expected"]) == row.expected
    assert float(total) == pytest.approx(sum(expected), abs=0.001 * len(expected))
