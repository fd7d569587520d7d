"""The survey and the diagnosis on little logs: counted over buckets, the same whatever the buckets."""

import json
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.cutoffs import count_log, cutoffs_stage, plan_windows, read_counts
from behavior_tasks.examples.diagnosis import diagnose, doctor_stage
from behavior_tasks.examples.doctor import Finding
from behavior_tasks.examples.survey import Survey, survey_log
from tests.examples import little
from tests.examples.little import event, little_config, shop

READ = Rows(unit_in="rows", unit_out="rows", rows_in=100, rows_out=100)


def look(clean: Artifact, config: Config) -> Survey:
    return survey_log(
        open_events(clean),
        plan_windows(clean.facts, config),
        horizon_days=config.examples.horizon_days,
        timezone=config.source.timezone,
        engine=config.engine,
    )


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_what_is_counted(tmp_path: Path) -> None:
    events = [
        event("a", "2025-12-31 10:00:00", "browse", category="shoes"),
        event("a", "2026-01-09 09:30:00", "purchase", category="shoes"),
        event("b", "2026-01-05 23:30:00", "browse", category="hats"),
        event("b", "2026-01-07 10:00:05", "browse", category="scarves"),
        event("c", "2026-01-08 00:00:00", "purchase", category="unknown"),
        event("a", "2026-01-10 23:59:59", "browse", category="late"),
    ]
    # Three days of horizon: the test cutoff is 8 January, the train period ends on the 5th.
    config = little_config()
    seen = look(little.clean_log(tmp_path / "a", events, buckets=2), config)
    assert seen.events == 6
    assert seen.days == Counter([date(2025, 12, 31), *(date(2026, 1, d) for d in (5, 7, 8, 9, 10))])
    assert seen.ids == Counter(shoppers=3, one_event=1, one_day=1, test_buyers=2, new_test_buyers=1)
    assert seen.active.total() == 6
    assert seen.returning == Counter({date(2026, 1, d): 1 for d in (7, 9, 10)})
    assert seen.coarse == Counter(second=6, minute=4, hour=2, day=1)
    assert seen.actions["test"] == Counter(browse=2)
    assert seen.activity["test"] == Counter({1: 1})
    assert seen.train_categories == {"shoes"}
    assert seen.later_categories == Counter(hats=1, scarves=1)


def test_local_days_are_counted(tmp_path: Path) -> None:
    events = [event("a", datetime(2026, 1, 1) + timedelta(hours=12 * n, minutes=5), "browse") for n in range(40)]
    clean = little.clean_log(tmp_path / "a", events)
    seen = look(clean, little_config(source__timezone="Asia/Shanghai"))
    assert {hour.hour for hour in seen.hours} == {8, 20}


@pytest.mark.parametrize("buckets", [1, 3])
def test_buckets_and_the_order_of_rows_play_no_part(tmp_path: Path, buckets: int) -> None:
    config = little_config()
    one = look(little.clean_log(tmp_path / "one", shop(), buckets=2), config)
    other = look(little.clean_log(tmp_path / "other", shop(), buckets=buckets, shuffle=5), config)
    # Each bucket tells of its own busiest instants only.
    assert {**vars(one), "instants": None} == {**vars(other), "instants": None}


def test_the_stage_keeps_what_the_command_finds(tmp_path: Path) -> None:
    config = little_config()
    clean = little.clean_log(tmp_path / "store", shop())
    cutoffs = little.run("cutoffs", cutoffs_stage, config, [clean], tmp_path / "store")
    assert read_counts(cutoffs) == count_log(open_events(clean), clean.facts, config)
    doctor = little.run("doctor", doctor_stage, config, [clean, cutoffs, ingested(tmp_path)], tmp_path / "store")
    kept = json.loads((doctor.path / "doctor.json").read_text(encoding="utf-8"))
    assert [Finding(**finding) for finding in kept] == diagnose(clean, config, read=READ)
    assert doctor.facts["warnings"] == len([f for f in kept if f["level"] == "warn"])
    assert all(f["advice"] for f in kept if f["level"] != "ok")


def test_the_stage_refuses_what_is_hopeless(tmp_path: Path) -> None:
    """Two test buyers satisfy `min_buyers` of one, but can't tell any two models apart."""
    few = [e for e in shop(shoppers=9) if e["action"] != "purchase" or e["shopper"] in {"s00", "s02", "s04"}]
    config = little_config()
    clean = little.clean_log(tmp_path / "store", few)
    cutoffs = little.run("cutoffs", cutoffs_stage, config, [clean], tmp_path / "store")
    with pytest.raises(UserError, match="test: buyers for the gate") as error:
        little.run("doctor", doctor_stage, config, [clean, cutoffs, ingested(tmp_path)], tmp_path / "store")
    assert "hopeless" in str(error.value)
    assert "gate.margin" in str(error.value)


def test_other_horizons_are_really_counted(tmp_path: Path) -> None:
    clean, config = little.clean_log(tmp_path / "store", shop(shoppers=60, days=40)), little_config()
    advice = named(diagnose(clean, config, read=READ))["test: buyers for the gate"].advice
    told = advice.partition("a horizon of ")[2]
    days = int(told.split(" days")[0])
    assert days in (6, 12)
    counted = count_log(open_events(clean), clean.facts, little_config(examples__horizon_days=days))
    assert f"{days} days, which has {counted.splits['test'].positives:,} (counted)" in advice


def ingested(folder: Path) -> Artifact:
    return little.run("ingest", lambda job: Output(rows=READ), little_config(), [], folder / "store")
