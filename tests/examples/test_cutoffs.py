from datetime import datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import bucket_files, connect, quote
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.cutoffs import count_log, cutoffs_stage
from tests.examples.little import START, Event, clean_log, event, little_config, run, shop, table

MICROSECOND = timedelta(microseconds=1)
# shop() ends with the last second of January 30, so the horizon of three days gives these cutoffs.
TRAIN, VALIDATION, TEST = datetime(2026, 1, 22), datetime(2026, 1, 25), datetime(2026, 1, 28)
END = datetime(2026, 1, 31)


def cutoffs(folder: Path, events: list[Event], **overrides: object):
    """The example table of a log, and the artifact."""
    log = clean_log(folder / "log", events)
    made = run("cutoffs", cutoffs_stage, little_config(**overrides), [log], folder / "out")
    return table(made.path / "examples"), made


def test_windows_and_counts(tmp_path: Path) -> None:
    rows, made = cutoffs(tmp_path, shop())
    assert [(w["split"], w["cutoff"], w["end"]) for w in made.facts["windows"]] == [
        ("train", "2026-01-19T00:00:00", "2026-01-22T00:00:00"),
        ("train", "2026-01-22T00:00:00", "2026-01-25T00:00:00"),
        ("validation", "2026-01-25T00:00:00", "2026-01-28T00:00:00"),
        ("test", "2026-01-28T00:00:00", "2026-01-31T00:00:00"),
    ]
    for split, part in rows.groupby("split"):
        assert made.facts["splits"][split] == {
            "examples": len(part),
            "shoppers": part["shopper"].nunique(),
            "buyers": part[part["label"] == 1]["shopper"].nunique(),
            "non_buyers": part[part["label"] == 0]["shopper"].nunique(),
            "positives": part["label"].sum(),
        }
    assert made.manifest.rows.rows_out == len(rows) == rows["example"].nunique()
    assert made.manifest.rows.rows_in == len(shop())


def test_history_ends_just_before_the_cutoff_and_the_label_starts_at_it(tmp_path: Path) -> None:
    edges = [
        event("before", TEST - MICROSECOND, "browse"),
        event("at", TEST, "purchase", amount=5.0),
        event("both", TEST - MICROSECOND, "browse"),
        event("both", TEST, "purchase", amount=7.0),
        event("both", END - MICROSECOND, "purchase", amount=0.5),
        event("late", TEST - MICROSECOND, "purchase", amount=3.0),
        event("late", END - timedelta(seconds=1), "return", amount=3.0),
    ]
    rows, _ = cutoffs(tmp_path, shop() + edges)
    test = rows[rows["split"] == "test"].set_index("shopper")
    assert "at" not in test.index
    assert test.loc[["before", "both", "late"], ["label", "amount"]].to_numpy().tolist() == [[0, 0], [1, 7.5], [0, 0]]
    assert test.loc["both", "example"] == "both@2026-01-28"


def test_label_window_ends_just_before_its_end(tmp_path: Path) -> None:
    edges = [
        event("in", VALIDATION - MICROSECOND, "browse"),
        event("in", TEST - MICROSECOND, "purchase"),
        event("out", VALIDATION - MICROSECOND, "browse"),
        event("out", TEST, "purchase"),
    ]
    rows, _ = cutoffs(tmp_path, shop() + edges)
    assert rows.loc["in@2026-01-25", "label"] == 1
    assert rows.loc["out@2026-01-25", "label"] == 0
    assert rows.loc["out@2026-01-28", "label"] == 1


def test_lookback_starts_with_its_first_instant(tmp_path: Path) -> None:
    start = TEST - timedelta(days=4)
    edges = [event("in", start, "browse"), event("out", start - MICROSECOND, "browse")]
    rows, _ = cutoffs(tmp_path, shop() + edges, examples__lookback_days=4)
    assert "in@2026-01-28" in rows.index
    assert "out@2026-01-28" not in rows.index
    assert "out@2026-01-25" in rows.index


def test_local_midnight_and_date(tmp_path: Path) -> None:
    rows, made = cutoffs(tmp_path, shop(), source__timezone="Asia/Shanghai")
    # The log ends at 07:59 of January 31 in Shanghai, so its last whole day there is the 30th.
    assert made.facts["windows"][-1]["cutoff"] == "2026-01-27T16:00:00"
    assert set(rows[rows["split"] == "test"]["example"].str[-10:]) == {"2026-01-28"}


def test_amounts_are_null_everywhere_in_a_log_without_them(tmp_path: Path) -> None:
    events = [{**row, "amount": None} for row in shop()]
    rows, _ = cutoffs(tmp_path, events)
    assert rows["amount"].isna().all()
    assert rows["label"].sum() > 0


def test_order_of_rows_and_number_of_buckets_change_nothing(tmp_path: Path) -> None:
    config = little_config()
    made = [
        run("cutoffs", cutoffs_stage, config, [clean_log(tmp_path / name, shop(), **how)], tmp_path / f"{name}-out")
        for name, how in (("a", {}), ("b", {"shuffle": 1}), ("c", {"buckets": 5}))
    ]
    assert made[0].manifest.content_hash == made[1].manifest.content_hash
    assert table(made[0].path / "examples").equals(table(made[2].path / "examples"))
    connection = connect()
    for file in bucket_files(made[0].path / "examples"):
        there = connection.execute(f"SELECT cutoff, shopper FROM read_parquet({quote(file)})").fetchall()
        assert there == sorted(there)
        assert there


def test_a_planted_future_event_changes_no_example_that_ended_before_it(tmp_path: Path) -> None:
    before, _ = cutoffs(tmp_path / "a", shop())
    canaries = [event(f"s{n:02d}", TEST, "purchase", "canary", amount=1e5) for n in range(0, 38, 2)]
    after, _ = cutoffs(tmp_path / "b", [*shop(), *canaries])
    earlier = before["cutoff"] < TEST
    assert before[earlier].equals(after[after["cutoff"] < TEST])
    at_test = after[after["cutoff"] == TEST].set_index("shopper")
    assert (at_test.loc[[f"s{n:02d}" for n in range(0, 38, 2)], "label"] == 1).all()
    assert at_test["amount"].max() >= 1e5


FIVE_ROWS = [
    event("u", datetime(2021, 8, 12, 7, 2, 34 + n), action, f"{1001 + n}")
    for n, action in enumerate(["browse", "click", "add_to_cart", "purchase", "browse"])
]


def refusal(folder: Path, events: list[Event], **overrides: object) -> str:
    log = clean_log(folder, events)
    with pytest.raises(UserError) as caught:
        run("cutoffs", cutoffs_stage, little_config(**overrides), [log], folder / "out")
    return str(caught.value)


def test_five_rows_say_what_is_missing(tmp_path: Path) -> None:
    defaults = {"examples__horizon_days": 7, "examples__min_shoppers": 50, "examples__min_buyers": 10}
    message = refusal(tmp_path, FIVE_ROWS, **defaults)
    assert message.startswith(
        "The log holds a single shopper, so there is nobody to compare with. "
        "Missing: 22 days of history, 49 shoppers in the log, 29 purchases in the log."
    )
    assert "give a longer log" in message
    assert len(message.splitlines()) < 20
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_too_short_names_a_horizon_that_fits(tmp_path: Path) -> None:
    message = refusal(tmp_path, shop(days=12), examples__horizon_days=4)
    assert message.startswith("The log is too short to be split into train, validation and test. Missing: 2 days")
    assert "--set examples.horizon_days=3" in message


def test_no_purchases_point_at_the_actions(tmp_path: Path) -> None:
    message = refusal(tmp_path, [row for row in shop() if row["action"] != "purchase"])
    assert message.startswith("The log holds no purchases")
    assert "3 purchases in the log" in message
    assert "source.actions" in message


def test_too_few_shoppers_and_buyers_per_split(tmp_path: Path) -> None:
    log = clean_log(tmp_path, shop())
    counts = count_log(open_events(log), log.facts, little_config())
    there = counts.splits["test"]
    message = refusal(
        tmp_path, shop(), examples__min_shoppers=there.shoppers + 3, examples__min_buyers=there.buyers + 2
    )
    assert "3 test: shoppers, 2 test: buyers" in message
    assert "test: buyers" in message.split("Missing")[1]


def test_all_positive_splits_are_refused(tmp_path: Path) -> None:
    days = [START + timedelta(days=n, hours=12) for n in range(30)]
    events = [event(f"s{n}", day, "purchase", amount=1.0) for n in range(4) for day in days]
    message = refusal(tmp_path, [*events, event("s1", END - timedelta(seconds=1), "browse")])
    assert "1 train: non-buyers, 1 validation: non-buyers, 1 test: non-buyers" in message
    assert "shorter" in message


def test_counting_for_the_doctor_equals_what_the_stage_writes(tmp_path: Path) -> None:
    _, made = cutoffs(tmp_path, shop())
    log = clean_log(tmp_path / "log", shop())
    counts = count_log(open_events(log), log.facts, little_config())
    assert {name: vars(split) for name, split in counts.splits.items()} == made.facts["splits"]
    purchases = [row for row in shop() if row["action"] == "purchase"]
    assert (counts.shoppers, counts.purchases, counts.priced_purchases) == (40, len(purchases), len(purchases))
    assert counts.history_days == 29
