"""Two samples compared: the noise of chance is known and taken off, and a quiet shop sounds no alarm."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.watch.drift import compare_columns
from behavior_tasks.watch.statistics import MOST_WORDS, adjusted, compare, grouped, stability

SETTINGS = WatchConfig()


def columns(generator: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Columns as features are: skewed, mostly zero, few values, with gaps, words, and copies of one another."""
    spend = np.where(generator.random(rows) < 0.6, 0.0, generator.lognormal(3, 1, rows))
    base = generator.normal(size=rows)
    return {
        "spend": spend,
        "twice": 2 * spend,
        "count": generator.poisson(0.3, rows).astype(np.float64),
        "gaps": np.where(generator.random(rows) < 0.3, np.nan, base),
        "word": generator.choice(np.array(["a", "b", "c", None], dtype=object), rows),
        **{f"number_{n}": base + generator.normal(size=rows) for n in range(20)},
    }


def states(then: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> pd.Series:
    table = compare_columns(then, now, {}, SETTINGS)
    return pd.Series(table["state"].to_numpy(), index=table["column"])


def test_the_index_of_one_distribution_is_its_noise_and_its_p_values_are_uniform() -> None:
    generator = np.random.default_rng(1)
    found = [compare(generator.normal(size=700), generator.normal(size=500)) for _ in range(300)]
    assert np.mean([one.psi for one in found]) == pytest.approx(found[0].noise, rel=0.15)
    assert np.mean([one.psi_p < 0.1 for one in found]) == pytest.approx(0.1, abs=0.05)
    assert abs(np.mean([one.excess for one in found])) < 0.005


@pytest.mark.slow
def test_random_halves_of_the_same_days_sound_no_more_alarms_than_promised() -> None:
    generator, days, called = np.random.default_rng(2), 150, 0
    for _ in range(days):
        every = columns(generator, 900)
        half = generator.permutation(900) < 450
        found = states({n: v[half] for n, v in every.items()}, {n: v[~half] for n, v in every.items()})
        # Shifted is the weaker word, and still promised no more often than that.
        called += bool(found.isin(["shifted", "drifted"]).any())
    assert called <= binom.ppf(0.999, days, SETTINGS.false_alarms)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.9, 3))
def test_a_large_shift_of_one_column_is_told_of_that_column_alone(seed: int, shift: float) -> None:
    generator = np.random.default_rng(seed)
    then, now = columns(generator, 1500), columns(generator, 1200)
    now["number_3"] = now["number_3"] + shift * now["number_3"].std()
    found = states(then, now)
    assert found["number_3"] == "drifted"
    assert (found.drop("number_3") != "drifted").all()


def test_a_sure_but_small_shift_is_no_drift() -> None:
    generator = np.random.default_rng(3)
    then, now = generator.normal(size=40_000), generator.normal(0.1, 1, size=40_000)
    assert states({"x": then}, {"x": now})["x"] == "shifted"


def test_a_column_that_fell_away_has_drifted_and_one_that_never_was_says_nothing() -> None:
    there, gone = np.random.default_rng(4).normal(size=500), np.full(500, np.nan)
    assert states({"x": there}, {"x": gone})["x"] == "drifted"
    assert states({"x": gone}, {"x": gone})["x"] == "too few"


def test_words_that_changed_have_drifted_and_too_few_rows_say_nothing() -> None:
    then = np.array(["toys"] * 300 + ["shoes"] * 300, dtype=object)
    now = np.array(["toys"] * 50 + ["shoes"] * 550, dtype=object)
    assert states({"x": then}, {"x": now})["x"] == "drifted"
    few = SETTINGS.min_rows - 1
    assert states({"x": then}, {"x": now[-few:]})["x"] == "too few"


def test_the_order_of_rows_plays_no_part() -> None:
    generator = np.random.default_rng(5)
    then, now = generator.normal(size=300), generator.normal(size=300)
    assert compare(then, now) == compare(generator.permutation(then), generator.permutation(now))


def test_p_values_are_those_of_benjamini_and_hochberg() -> None:
    from scipy.stats import false_discovery_control

    values = np.random.default_rng(6).random(50) ** 3
    assert adjusted(list(values)) == pytest.approx(false_discovery_control(values))


def test_rare_words_are_counted_together_without_losing_any() -> None:
    counts = np.arange(1.0, 61.0)
    then, now = grouped(counts, counts[::-1])
    assert len(then) == MOST_WORDS + 1
    assert (then.sum(), now.sum()) == (counts.sum(), counts.sum())
    assert stability(np.array([0.0]), np.array([0.0])).psi_p == 1
