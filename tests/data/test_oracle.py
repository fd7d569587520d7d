"""The oracle: reads nothing but the past, and its probabilities are what then happens."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from behavior_tasks.base.timeline import Window
from behavior_tasks.data import shop
from behavior_tasks.data.oracle import Rules, best_possible, best_threshold, chance_to_buy, foresee, read_states
from behavior_tasks.data.sessions import ADD_TO_CART, Profile, make_profile, simulate_block
from behavior_tasks.data.shop import State

DAYS = 50
WINDOW = Window(split="test", cutoff=pd.Timestamp("2026-02-16"), end=pd.Timestamp("2026-02-23"))


@pytest.fixture(scope="module")
def rules() -> Rules:
    catalogue = shop.make_catalogue(100, np.random.default_rng(1))
    calendar = shop.make_calendar(DAYS, "UTC")
    return Rules(catalogue=catalogue, calendar=calendar, lookback_days=365, rollouts=25)


@pytest.fixture(scope="module")
def lived(rules: Rules) -> tuple[Profile, pd.DataFrame, State]:
    profile = make_profile(6_000, rules.catalogue, rules.calendar, np.random.default_rng(2))
    events, state = simulate_block(profile, rules.catalogue, rules.calendar, np.random.SeedSequence(3))
    return profile, events, state


@pytest.fixture(scope="module")
def foreseen(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> pd.DataFrame:
    profile, events, _ = lived
    return foresee(events, profile.effect, rules, WINDOW, np.random.default_rng(4))


def assert_same(left: State, right: State) -> None:
    for field in fields(State):
        np.testing.assert_allclose(getattr(left, field.name), getattr(right, field.name), rtol=1e-9, err_msg=field.name)


def test_a_reader_of_the_log_knows_the_whole_state(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> None:
    profile, events, state = lived
    assert_same(read_states(events, profile.effect, rules, DAYS), state)


def test_the_future_has_no_say(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> None:
    profile, events, _ = lived
    past = events[events["second"] < rules.calendar.midnights[42]]
    state = read_states(past, profile.effect, rules, 42)
    assert_same(read_states(events, profile.effect, rules, 42), state)
    carted = past[past["action"] == ADD_TO_CART].index[-1]
    other = read_states(past.drop(carted), profile.effect, rules, 42)
    assert (other.heat != state.heat).sum() == 1


def test_probabilities_are_calibrated_as_a_whole_and_in_every_decile(foreseen: pd.DataFrame) -> None:
    decile = foreseen["probability"].rank(method="first", pct=True).mul(10).apply(np.ceil)
    for part in (foreseen, *(group for _, group in foreseen.groupby(decile))):
        p = part["probability"]
        standard_error = np.sqrt((p * (1 - p)).mean() / len(p))
        assert abs(part["bought"].mean() - p.mean()) < 3.5 * standard_error  # 11 draws: beyond 3.5 once in 200 shops
    assert foreseen["probability"].groupby(decile).mean().agg(["min", "max"]).tolist() == pytest.approx(
        [0.01, 0.7], abs=0.1
    )


def test_nobody_who_mixes_the_probabilities_up_or_ignores_them_does_as_well(foreseen: pd.DataFrame) -> None:
    bought, p = foreseen["bought"], foreseen["probability"]
    best = log_loss(bought, p)
    prior = np.full(len(p), bought.mean())
    assert best < log_loss(bought, prior) - 0.05
    assert best < log_loss(bought, np.random.default_rng(5).permutation(p)) - 0.1
    log_odds = np.log(p / (1 - p))
    for rival in (0.7 * log_odds, 1.4 * log_odds, log_odds + 0.3, log_odds - 0.3):
        assert best < log_loss(bought, 1 / (1 + np.exp(-rival)))


def test_the_default_horizon_leaves_something_to_learn(foreseen: pd.DataFrame) -> None:
    assert 0.15 < foreseen["bought"].mean() < 0.3
    scores = best_possible(foreseen, threshold=best_threshold(foreseen))
    assert 0.5 < scores["average_precision"] < 0.75
    assert scores["f1"] > 0.45


def test_one_day_ahead_needs_no_luck(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> None:
    profile, events, _ = lived
    state = read_states(events, profile.effect, rules, 42).take(np.arange(50))
    probability, error = chance_to_buy(state, rules, first_day=42, days=1, rng=np.random.default_rng(6))
    visit, buy = shop.chances(state, rules.calendar, 42)
    np.testing.assert_allclose(probability, visit * buy)
    np.testing.assert_allclose(error, 0, atol=1e-12)


def test_weighing_futures_gives_what_tossing_coins_gives(
    rules: Rules, lived: tuple[Profile, pd.DataFrame, State]
) -> None:
    profile, events, _ = lived
    everyone = read_states(events, profile.effect, rules, 42)
    visit, buy = shop.chances(everyone, rules.calendar, 42)
    keen = everyone.take(np.argsort(visit * buy)[-150:])  # where a purchase tells most about the other days
    asked = replace(rules, rollouts=400)
    probability, error = chance_to_buy(keen, asked, first_day=42, days=7, rng=np.random.default_rng(10))

    rng = np.random.default_rng(11)
    lanes = keen.take(np.repeat(np.arange(150), 400))
    bought = np.zeros(150 * 400, dtype=bool)
    for day in range(42, 49):
        visit, buy = shop.chances(lanes, rules.calendar, day)
        visited = rng.random(len(bought)) < visit
        bought |= visited & (rng.random(len(bought)) < buy)
        lanes = shop.advance(lanes, shop.draw_seen(lanes, visited, rng))
    tossed = bought.reshape(150, 400).mean(axis=1)
    standard_error = np.sqrt((tossed * (1 - tossed) / 400 + error**2).sum()) / 150
    assert abs(probability.mean() - tossed.mean()) < 3.5 * standard_error


def test_the_stated_error_is_the_error(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> None:
    profile, events, _ = lived
    everyone = read_states(events, profile.effect, rules, 42)
    state = everyone.take(np.flatnonzero(everyone.sessions)[:400])

    def ask(seed: int, rollouts: int) -> tuple[np.ndarray, np.ndarray]:
        asked = replace(rules, rollouts=rollouts)
        return chance_to_buy(state, asked, first_day=42, days=7, rng=np.random.default_rng(seed))

    (p, e), (q, f) = ask(7, 200), ask(8, 200)
    assert np.std((p - q) / np.hypot(e, f)) == pytest.approx(1, abs=0.15)
    assert abs(((p - q) / np.hypot(e, f)).mean()) < 0.2
    # A quarter of the futures: twice the error. Futures are weighed, not counted, so it is well below a coin's.
    rough = ask(9, 50)[1]
    assert rough.mean() == pytest.approx(2 * e.mean(), rel=0.1)
    assert e.mean() < 0.6 * np.sqrt(p * (1 - p) / 200).mean()


def test_a_window_off_the_local_midnights_is_refused(rules: Rules, lived: tuple[Profile, pd.DataFrame, State]) -> None:
    profile, events, _ = lived
    window = replace(WINDOW, cutoff=pd.Timestamp("2026-02-16T01:00"))
    with pytest.raises(AssertionError, match="local midnights"):
        foresee(events, profile.effect, rules, window, np.random.default_rng(4))


def test_scores_that_are_undefined_are_none() -> None:
    nobody = pd.DataFrame({"bought": [False, False], "probability": [0.1, 0.4]})
    scores = best_possible(nobody, threshold=best_threshold(nobody))
    assert scores["average_precision"] is None
    assert scores["f1"] is None
    assert scores["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.6)) / 2)
    assert (scores["examples"], scores["buyers"], scores["threshold"]) == (2, 0, 0.5)


def test_of_equal_thresholds_the_highest_is_taken() -> None:
    # Taking one buyer of one, and taking both of two with two strangers, are both worth F1 = 2/3.
    foreseen = pd.DataFrame({"bought": [True, False, False, True], "probability": [0.9, 0.6, 0.5, 0.3]})
    assert best_threshold(foreseen) == 0.9
    assert best_possible(foreseen, threshold=0.9)["f1"] == pytest.approx(2 / 3)
