"""The doctor on counts: how much is needed, what the gate will be able to tell, ids that last, drift."""

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from behavior_tasks.base.artifacts import Rows
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.examples.doctor import (
    Finding,
    LogCounts,
    SplitCounts,
    amounts_needed,
    refuse_if_short,
    worst,
)
from behavior_tasks.examples.doctor_signs import Horizon, is_weak, log_findings, power_findings, stability_index
from behavior_tasks.examples.survey import Survey

ENOUGH = SplitCounts(examples=100, shoppers=50, buyers=10, non_buyers=50, positives=20)
FINE = LogCounts(
    first=datetime(2026, 1, 1),
    last=datetime(2026, 1, 30),
    history_days=29,
    events=1000,
    shoppers=50,
    purchases=30,
    priced_purchases=27,
    splits={"train": ENOUGH, "validation": ENOUGH, "test": ENOUGH},
)


READ = Rows(unit_in="rows", unit_out="rows", rows_in=1000, rows_out=1000)


def examine(
    counts: LogCounts, config: Config | None = None, *, read: Rows = READ, survey: Survey | None = None
) -> list[Finding]:
    config = config or Config()
    return [*amounts_needed(counts, config), *log_findings(counts, survey or Survey(), config, read)]


def found(what: str, *given: LogCounts | Config, read: Rows = READ, survey: Survey | None = None) -> Finding:
    counts = next((g for g in given if isinstance(g, LogCounts)), FINE)
    config = next((g for g in given if isinstance(g, Config)), None)
    return next(f for f in examine(counts, config, read=read, survey=survey) if f.what == what)


def test_just_enough_is_enough() -> None:
    findings = examine(FINE)
    assert [f.level for f in findings] == ["ok"] * len(findings)
    assert worst(findings) == 0
    refuse_if_short(FINE, Config())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("name", "what"), [("shoppers", "shoppers"), ("buyers", "buyers"), ("non_buyers", "non-buyers")]
)
def test_one_too_few_in_any_split_is_refused(split: str, name: str, what: str) -> None:
    short = replace(ENOUGH, **{name: getattr(ENOUGH, name) - 1 if name != "non_buyers" else 9})
    counts = replace(FINE, splits={**FINE.splits, split: short})
    finding = found(f"{split}: {what}", counts)
    assert (finding.level, finding.missing) == ("fail", 1)
    with pytest.raises(UserError, match=f"Missing: 1 {split}: {what}"):
        refuse_if_short(counts, Config())


def test_purchases_are_needed_in_every_split() -> None:
    finding = found("purchases in the log", replace(FINE, purchases=29))
    assert (finding.level, finding.number, finding.needed, finding.missing) == ("fail", "29", "30", 1)


def test_bad_rows_without_those_that_are_expected() -> None:
    config = load_config("canonical", overrides={"source.expected_reasons": ["missing_user_id"]})

    def judge(bad: int) -> Finding:
        removed = {"missing_user_id": 300, "bad_time": bad}
        read = Rows(unit_in="rows", unit_out="rows", rows_in=1000, rows_out=700 - bad, removed=removed)
        return found("bad rows", config, read=read)

    assert [judge(bad).level for bad in (10, 11, 50, 51)] == ["ok", "warn", "warn", "fail"]
    assert judge(51).number == "5.1% (51 of 1,000)"
    assert "bad_time" in judge(51).advice


def test_price_coverage_and_drift_warn_but_do_not_refuse() -> None:
    patchy = replace(FINE, priced_purchases=26)
    assert found("purchases with an amount", patchy).level == "warn"
    rare = replace(ENOUGH, positives=10)
    rarer = replace(ENOUGH, positives=9)
    assert found("share of buyers", replace(FINE, splits={**FINE.splits, "test": rare})).level == "ok"
    drifted = replace(FINE, splits={**FINE.splits, "test": rarer})
    assert found("share of buyers", drifted).level == "warn"
    assert "test 9.0%" in found("share of buyers", drifted).number
    assert worst(examine(drifted)) == 1
    few = replace(ENOUGH, positives=1)
    chance = replace(FINE, splits={**FINE.splits, "train": few, "validation": few})
    assert not [finding for finding in examine(chance) if finding.what == "share of buyers"]
    refuse_if_short(drifted, Config())


def test_a_log_without_events_or_windows() -> None:
    nothing = LogCounts(first=None, last=None, history_days=0)
    assert worst(examine(nothing)) == 2
    with pytest.raises(UserError, match="holds no events"):
        refuse_if_short(nothing, Config())
    assert found("days of history", nothing).missing == 22
    with pytest.raises(UserError, match="too short"):
        refuse_if_short(replace(FINE, splits={}, history_days=21), Config())


def gate(buyers: int, shoppers: int, *horizons: Horizon, **settings: float) -> Finding:
    test = SplitCounts(
        examples=shoppers, shoppers=shoppers, buyers=buyers, non_buyers=shoppers - buyers, positives=buyers
    )
    config = load_config("canonical", overrides={f"gate.{name}": value for name, value in settings.items()})
    counts = replace(FINE, splits={**FINE.splits, "test": test})
    finding = next(f for f in power_findings(counts, config, horizons) if f.what == "test: buyers for the gate")
    assert is_weak(counts, config) == (bool(finding.missing) or buyers < config.examples.min_buyers)
    return finding


def test_the_number_of_buyers_that_the_gate_needs() -> None:
    short = gate(700, 3000)
    assert short.level == "warn"
    enough = gate(700 + short.missing, 3000 * (700 + short.missing) // 700)
    assert (enough.level, enough.missing) == ("ok", 0)
    # Half a per cent fewer are too few again: the number is the boundary itself.
    assert gate(695 + short.missing, 3000 * (695 + short.missing) // 700).level == "warn"
    assert gate(700, 3000, margin=0.01).missing > 3 * short.missing
    assert f"you need about {short.missing:,} more buyers" in short.advice


def test_the_margin_that_would_do_is_named() -> None:
    advice = gate(200, 1000).advice
    margin = float(advice.rpartition("gate.margin=")[2])
    assert gate(200, 1000, margin=margin).level == "ok"
    assert gate(200, 1000, margin=margin - 0.01).level == "warn"


def test_a_longer_horizon_is_advised_by_what_was_counted() -> None:
    def horizon(days: int, buyers: int, shoppers: int) -> Horizon:
        return Horizon(days=days, test=SplitCounts(examples=shoppers, positives=buyers))

    two_weeks, four_weeks = horizon(14, 1400, 3000), horizon(28, 1500, 3000)
    assert "a horizon of 14 days, which has 1,400 (counted): enough" in gate(700, 3000, two_weeks, four_weeks).advice
    assert "28" not in gate(700, 3000, two_weeks, four_weeks).advice
    assert "a horizon of 14 days, which has 300 (counted): ±" in gate(181, 983, horizon(14, 300, 983)).advice
    assert "horizon" not in gate(700, 3000, horizon(14, 700, 3000)).advice
    assert "horizon" not in gate(700, 3000).advice


def test_too_little_power_is_a_warning_until_it_is_hopeless() -> None:
    assert gate(10, 60).level == "warn"
    hopeless = gate(3, 18)
    assert hopeless.level == "fail"
    assert "hopeless" in hopeless.advice
    assert gate(3, 18, margin=0.9).level != "fail"


def test_ids_that_do_not_last_are_a_warning() -> None:
    def judge(**ids: int) -> list[str]:
        survey = Survey(ids=Counter(ids))
        whats = ("shoppers of one day only", "test buyers never seen before the cutoff")
        return [f.level for f in examine(FINE, survey=survey) if f.what in whats]

    assert judge(shoppers=100, one_day=80, one_event=9, test_buyers=10, new_test_buyers=5) == ["ok", "ok"]
    assert judge(shoppers=100, one_day=81, one_event=9, test_buyers=10, new_test_buyers=6) == ["warn", "warn"]


def test_a_day_on_which_all_ids_are_new_is_named() -> None:
    start = date(2026, 1, 1)
    active = Counter({start + timedelta(days=n): 100 for n in range(20)})
    returning = Counter({start + timedelta(days=n): 40 for n in range(1, 20)})
    what = "days on which ids change"
    assert found(what, survey=Survey(active=active, returning=returning)).level == "ok"
    returning[date(2026, 1, 15)] = 3
    reset = found(what, survey=Survey(active=active, returning=returning))
    assert reset.level == "warn"
    assert "2026-01-15" in reset.advice
    # Where hardly anybody ever returns, there is nothing to see on any day.
    rare = Counter(dict.fromkeys(active, 11))
    assert not [f for f in examine(FINE, survey=Survey(active=active, returning=rare)) if f.what == what]


def test_drift_is_judged_beyond_what_chance_gives() -> None:
    def judge(train: Counter[str], test: Counter[str]) -> Finding:
        return found("drift in actions", survey=Survey(actions={"train": train, "test": test}))

    assert judge(Counter(browse=900, purchase=100), Counter(browse=880, purchase=120)).level == "ok"
    moved = judge(Counter(browse=900, purchase=100), Counter(browse=600, purchase=400))
    assert moved.level == "warn"
    assert "a large drift, most in browse: 90.0% of train, 60.0% of test" in moved.advice
    # The same shares among ten events say nothing.
    assert judge(Counter(browse=9, purchase=1), Counter(browse=6, purchase=4)).level == "ok"
    assert stability_index(Counter(a=5, b=7), Counter(a=5, b=7)) == 0


def test_events_in_categories_that_train_never_saw() -> None:
    def judge(new: int) -> str:
        later = Counter(shoes=100 - new, renamed=new)
        survey = Survey(train_categories=frozenset({"shoes"}), later_categories=later)
        return found("events in categories that train never saw", survey=survey).level

    assert [judge(10), judge(11)] == ["ok", "warn"]
