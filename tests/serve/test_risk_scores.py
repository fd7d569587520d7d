"""Scores and the list of risk, on made-up tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.application_config import RiskConfig
from behavior_tasks.serve.risk_list import LISTED, OVER_LIMIT, REPEATED, USUAL, listed, write_ranking
from behavior_tasks.serve.risk_rules import FACTS, RULES
from behavior_tasks.serve.risk_scores import METHODS, Reference


def crowd(shoppers: int, seed: int) -> pd.DataFrame:
    """Ordinary shoppers; who is more active has a larger peak of surprise."""
    rng = np.random.default_rng(seed)
    values = {name: rng.exponential(1.0, shoppers) for name in (*FACTS, *RULES)}
    phrases = rng.integers(1, 30, shoppers).astype(float)
    surprise = {"surprise_mean": rng.normal(0, 1, shoppers), "surprise_peak": rng.normal(phrases / 3, 1)}
    return pd.DataFrame({"shopper": [f"s{n:04d}" for n in range(shoppers)], **values, **surprise, "phrases": phrases})


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.fit(crowd(1000, 0), RiskConfig())


def test_a_value_beyond_all_of_the_reference_ranks_first_and_fires_its_rule(reference: Reference) -> None:
    table = crowd(300, 1)
    table.loc[7, "returns"] = 40.0
    for method in ("velocity", "combined"):
        assert reference.score(table)[method].idxmax() == 7
    assert reference.fired(table)[7][0] == "returns"
    broken = ["returns" in fired for fired in reference.fired(table)]
    assert broken == (table["returns"] > reference.limits["returns"]).tolist()
    further = table.assign(returns=table["returns"] * 2)
    assert reference.score(further).loc[7, "velocity"] == pytest.approx(reference.score(table).loc[7, "velocity"] + 1)


def test_what_is_empty_says_nothing(reference: Reference) -> None:
    table = crowd(50, 2)
    table[list(RULES)] = np.nan
    table[["surprise_mean", "surprise_peak"]] = np.nan
    scores = reference.score(table)
    assert (scores[["velocity", "surprise", "combined"]] == 0).all(axis=None)
    assert all(not fired for fired in reference.fired(table))


def test_surprise_is_held_against_shoppers_who_are_as_active(reference: Reference) -> None:
    table = crowd(2, 3)
    table[["surprise_mean", "surprise_peak"]] = [[0.0, 9.0], [0.0, 9.0]]
    table["phrases"] = [2.0, 28.0]
    quiet, busy = reference.score(table)["surprise"]
    assert quiet > 5
    assert busy < 2


def test_a_rule_can_have_a_fixed_limit_or_be_off() -> None:
    table = crowd(500, 4)
    config = RiskConfig(limits={"returns": 0.5}, off=["night_events"])
    reference = Reference.fit(table, config)
    assert reference.limits["returns"] == 0.5
    assert "night_events" not in reference.limits
    fired = reference.fired(table)
    assert [("returns" in names) for names in fired] == (table["returns"] > 0.5).tolist()
    # Above the quantile of the reference, and never below what is nothing to talk about.
    assert reference.limits["spend_against_own"] == max(
        np.quantile(table["spend_against_own"], 0.999, method="higher"), 3
    )
    table["night_events"] = 1e6
    assert (reference.score(table)["velocity"] < 100).all()


def test_an_ordinary_day_has_as_many_above_the_bar_as_the_reference(reference: Reference) -> None:
    scores = reference.score(crowd(4000, 5))
    for method in METHODS:
        assert (scores[method] > reference.bar(method, 0.95)).mean() == pytest.approx(0.05, abs=0.03)


def test_the_list_is_limited_and_repeats_nobody_unless_it_got_worse(tmp_path: Path) -> None:
    table = pd.DataFrame({"shopper": list("abcdefgh"), "score": [9.0, 8, 7, 6, 5, 4, 1, 0.5]})
    files = []
    for place, part in enumerate((table[:3], table[3:])):
        files.append(tmp_path / f"{place}.parquet")
        part.to_parquet(files[-1], index=False)
    earlier = pd.DataFrame({"shopper": ["a", "b", "z"], "score": [8.9, 4.0, 1.0]})
    config = RiskConfig(alerts=3, worse=1.2)
    out = tmp_path / "risk.parquet"
    counts = write_ranking(files, earlier, out, config, bar=1.0, memory_mb=512)
    assert counts == {LISTED: 3, REPEATED: 1, OVER_LIMIT: 2, USUAL: 2}
    found = pd.read_parquet(out).set_index("shopper")
    assert found["rank"].tolist() == list(range(1, 9))
    assert found["outcome"].to_dict() == {
        "a": REPEATED,
        **dict.fromkeys("bcd", LISTED),
        **dict.fromkeys("ef", OVER_LIMIT),
        **dict.fromkeys("gh", USUAL),
    }
    assert listed(out)["shopper"].tolist() == ["b", "c", "d"]
