from dataclasses import replace
from datetime import datetime

import pytest

from behavior_tasks.base.artifacts import Rows
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.examples.doctor import Finding, LogCounts, SplitCounts, examine, refuse_if_short, worst

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


def found(what: str, counts: LogCounts, config: Config | None = None, read: Rows | None = None) -> Finding:
    return next(f for f in examine(counts, config or Config(), read=read) if f.what == what)


def test_just_enough_is_enough() -> None:
    findings = examine(FINE, Config())
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
        return found("bad rows", FINE, config, read)

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
    assert worst(examine(drifted, Config())) == 1
    refuse_if_short(drifted, Config())


def test_a_log_without_events_or_windows() -> None:
    nothing = LogCounts(first=None, last=None, history_days=0)
    assert worst(examine(nothing, Config())) == 2
    with pytest.raises(UserError, match="holds no events"):
        refuse_if_short(nothing, Config())
    assert found("days of history", nothing).missing == 22
    with pytest.raises(UserError, match="too short"):
        refuse_if_short(replace(FINE, splits={}, history_days=21), Config())
