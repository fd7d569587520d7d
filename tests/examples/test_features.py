from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.tables import connect, quote, write_parquet
from behavior_tasks.examples.cutoffs import cutoffs_stage
from behavior_tasks.examples.features import EXAMPLE_COLUMNS, FeatureSettings, features_stage
from tests.examples.little import Event, clean_log, event, little_config, make_features, run, shop, table

CUTOFF = datetime(2026, 3, 2)
MICROSECOND = timedelta(microseconds=1)
SETTINGS = FeatureSettings(lookback_days=365, horizon_days=7, timezone="UTC")
SHOES, TOYS, BOOKS = (
    {"category": "shoes", "brand": "acme"},
    {"category": "toys", "brand": "bolt"},
    {"category": "books"},
)
HISTORY: list[Event] = [
    event("s", "2025-12-20 07:00", "browse", "p2", price=6.0, **TOYS),
    event("s", "2025-12-20 08:00", "purchase", "p2", price=6.0, amount=6.0, **TOYS),
    event("s", "2026-02-02 10:00", "browse", "p1", price=10.0, age=30, gender="male", **SHOES),
    event("s", "2026-02-02 10:10", "click", "p1", price=10.0, **SHOES),
    event("s", "2026-02-02 10:20", "add_to_cart", "p1", price=10.0, **SHOES),
    event("s", "2026-02-02 10:30", "purchase", "p1", price=10.0, amount=10.0, **SHOES),
    event("s", "2026-02-02 10:30", "purchase", "p2", price=5.0, amount=20.0, **TOYS),
    event("s", "2026-02-16 19:00", "search", None, age=31, gender="female"),
    event("s", "2026-02-16 19:40", "favourite", "p3", price=7.0, gender="unknown", **BOOKS),
    event("s", "2026-02-22 20:00", "purchase", "p1", price=12.0, amount=12.0, **SHOES),
    event("s", "2026-02-24 09:00", "return", "p1", price=12.0, amount=12.0, **SHOES),
    event("s", "2026-02-27 10:00", "click", "p3", category="unknown"),
    event("s", "2026-02-28 23:00", "add_to_cart", "p3", price=7.0, **BOOKS),
    event("s", "2026-03-01 12:00", "add_to_cart", "p1", price=12.0, **SHOES),
]
OTHERS: list[Event] = [
    # More than 30 days before the cutoff: its price counts in the market, its popularity does not.
    event("t", "2026-01-15 12:00", "browse", "p2", price=9.0, **TOYS),
    event("t", "2026-02-20 12:00", "browse", "p1", price=20.0, **SHOES),
    event("t", "2026-02-25 12:00", "purchase", "p3", price=14.0, amount=14.0, **BOOKS),
    *(event("t", f"2026-02-26 12:0{minute}", "browse", "p9") for minute in range(3)),
]
DAYS_SINCE = {"first": 71 + 17 / 24, "bought 1": 71 + 16 / 24, "bought 2": 27 + 13.5 / 24, "bought 3": 7 + 4 / 24}
AGES = [71 + 17 / 24, 71 + 16 / 24, *(27 + (14 - minutes / 60) / 24 for minutes in (0, 10, 20, 30, 30))]
AGES += [13 + 5 / 24, 13 + (4 + 1 / 3) / 24, 7 + 4 / 24, 5 + 15 / 24, 2 + 14 / 24, 1 + 1 / 24, 0.5]
SESSION_GAPS = np.array([1, 1058, 345, 2 / 3, 144 + 1 / 3, 37, 73, 37, 13])
"""Hours between the starts of the ten sessions."""
BUY_GAPS = np.array([44 * 24 + 2.5, 20 * 24 + 9.5])


def fading(age_days: float) -> float:
    return 0.5 ** (age_days / 30)


ACTIVITY = {
    "recency_days": 0.5,
    "tenure_days": DAYS_SINCE["first"],
    "events": 14,
    "events_1d": 1,
    "events_7d": 4,
    "events_30d": 12,
    "events_fading": sum(map(fading, AGES)),
    "active_days": 8,
    "active_days_30d": 7,
    "trend": (4 + 1) / (3 + 1),
    "trend_30d": (12 + 1) / (0 + 1),
    "browses": 2,
    "searches": 1,
    "clicks": 2,
    "favourites": 1,
    "carts": 3,
    "returns": 1,
    "sessions": 10,
    "session_events": 1.4,
    "session_minutes": 30 / 10,
    "session_gap_days": (DAYS_SINCE["first"] - 0.5) / 9,
    "session_gap_variation": SESSION_GAPS.std() / SESSION_GAPS.mean(),
    "last_session_gap_days": 13 / 24,
    "session_recency_days": 0.5,
    "last_session_events": 1,
    "last_session_minutes": 0,
    "weekend_share": 5 / 14,
    "night_share": 0,
    "morning_share": 9 / 14,
    "evening_share": 4 / 14,
    "favourite_hour": 10,
    "hour_spread": 14**2 / (6**2 + 2**2 + 6 * 1),
    "favourite_weekday": 1,
    "weekday_spread": 14**2 / (7**2 + 1 + 1 + 3**2 + 2**2),
}
WINDOWS = {
    # Over 1, 3, 7, 14, 30 and 90 days.
    "browses": (0, 0, 0, 0, 1, 2),
    "searches": (0, 0, 0, 1, 1, 1),
    "clicks": (0, 1, 1, 1, 2, 2),
    "favourites": (0, 0, 0, 1, 1, 1),
    "carts": (1, 2, 2, 2, 3, 3),
    "returns": (0, 0, 1, 1, 1, 1),
    "purchases": (0, 0, 0, 1, 2, 3),
}
BUYING = {
    "purchase_recency_days": DAYS_SINCE["bought 3"],
    "purchase_tenure_days": DAYS_SINCE["bought 1"],
    "purchases": 3,
    "purchases_fading": sum(fading(DAYS_SINCE[f"bought {n}"]) for n in (1, 2, 3)),
    "purchase_rate": 3 * 30 / DAYS_SINCE["first"],
    "spend": 48,
    "spend_7d": 0,
    "spend_30d": 42,
    "spend_90d": 48,
    "spend_fading": sum(paid * fading(DAYS_SINCE[f"bought {n}"]) for n, paid in ((1, 6), (2, 30), (3, 12))),
    "basket_spend": 16,
    "largest_line": 20,
    "basket_lines": 4 / 3,
    "purchase_gap_days": (DAYS_SINCE["bought 1"] - DAYS_SINCE["bought 3"]) / 2,
    "purchase_gap_variation": BUY_GAPS.std() / BUY_GAPS.mean(),
    "last_purchase_gap_days": DAYS_SINCE["bought 2"] - DAYS_SINCE["bought 3"],
    "overdue": DAYS_SINCE["bought 3"] / ((DAYS_SINCE["bought 1"] - DAYS_SINCE["bought 3"]) / 2),
    "habit": 3 / 11,
    "conversion": 0.3,
    "return_rate": 1 / 4,
    "open_carts": 2,
    "open_carts_7d": 2,
    "cart_recency_days": 0.5,
    "open_cart_value": 7 + 12,
    "cart_abandonment": 2 / 3,
}
TASTE = {
    # s touched p1 seven times, p2 and p3 three times each. The shop's last 30 days: 8, 1 and 4 events, and 3 of p9.
    "products": 3,
    "product_events": 13 / 3,
    "top_product_share": 7 / 13,
    "bought_products": 2,
    "rebought_share": 1,
    "categories": 3,
    "top_category_share": 7 / 12,
    "category_spread": 12**2 / (7**2 + 3**2 + 2**2),
    "bought_categories": 2,
    "brands": 2,
    "top_brand_share": 7 / 10,
    "brand_spread": 10**2 / (7**2 + 3**2),
    "price_level": (6 + 6 + 10 + 10 + 10 + 10 + 5 + 7 + 12 + 12 + 7 + 12) / 12,
    "price_max": 12,
    "bought_price_level": (6 + 10 + 5 + 12) / 4,
    # Mean prices of the whole shop: shoes 96 / 8, toys 26 / 4, books 28 / 3.
    "price_in_category": (76 + 17 + 14) / (7 * 12 + 3 * 6.5 + 2 * 28 / 3),
    "popularity": (7 * 8 + 3 * 1 + 3 * 4) / 13 / 4,
    "last_popularity": 8 / 4,
    "bought_popularity": (2 * 8 + 2 * 1) / 4 / 4,
    "hit_share": 1,
    "shop_conversion": (7 * 2 + 3 * 1 + 3 * 1) / (7 * 8 + 3 * 1 + 3 * 4),
    "age": 31,
    "age_band": 2,
    "gender": "female",
}
EXPECTED: dict[str, Any] = {
    **ACTIVITY,
    **{f"{name}_{days}d": n for name, ns in WINDOWS.items() for days, n in zip((1, 3, 7, 14, 30, 90), ns, strict=True)},
    **BUYING,
    **TASTE,
}


def features_of(
    folder: Path,
    events: list[Event],
    settings: FeatureSettings = SETTINGS,
    *,
    cutoff: datetime = CUTOFF,
    shuffle: int | None = None,
) -> dict[str, Any]:
    """The features of shopper `s` at one cutoff."""
    folder.mkdir(parents=True, exist_ok=True)
    log = clean_log(folder, events, buckets=1, shuffle=shuffle)
    connection = connect()
    example = f"""
        SELECT 's@x' AS example, 's' AS shopper, NULL::VARCHAR AS product_id, 'test' AS split,
               TIMESTAMP '{cutoff}' AS cutoff, 1 AS label, 2.5::DOUBLE AS amount, 1::DOUBLE AS weight
    """
    write_parquet(connection, example, folder / "examples.parquet")
    make_features(folder / "examples.parquet", log, folder / "out.parquet", settings)
    frame = connection.execute(f"SELECT * FROM read_parquet({quote(folder / 'out.parquet')})").df()
    kept = frame.iloc[0, : len(EXAMPLE_COLUMNS)].to_dict()
    assert kept.pop("product_id") is None
    assert list(kept.values()) == ["s@x", "s", "test", pd.Timestamp(cutoff), 1, 2.5, 1]
    found = frame.iloc[0, len(EXAMPLE_COLUMNS) :].to_dict()
    return {name: None if pd.isna(value) else value for name, value in found.items()}


def test_every_feature_of_a_little_history(tmp_path: Path) -> None:
    found = features_of(tmp_path, [*HISTORY, *OTHERS])
    assert list(found) == [feature.name for feature in SETTINGS.features()]
    assert set(found) == set(EXPECTED)
    for name, value in EXPECTED.items():
        assert found[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), name


@pytest.mark.parametrize("shuffle", [1, 2])
def test_row_order_never_matters(tmp_path: Path, shuffle: int) -> None:
    assert features_of(tmp_path / "a", HISTORY) == features_of(tmp_path / "b", HISTORY, shuffle=shuffle)


@pytest.mark.parametrize("action", ["browse", "add_to_cart", "purchase", "return"])
def test_an_event_at_the_cutoff_is_no_history(tmp_path: Path, action: str) -> None:
    canary = {"price": 999.0, "amount": 999.0, "category": "canary", "age": 99, "gender": "canary"}
    outside = [
        event("s", at, action, product, **canary)
        for at in (CUTOFF, CUTOFF + timedelta(days=3), CUTOFF - timedelta(days=365) - MICROSECOND)
        for product in ("p1", "p3", "canary")
    ]
    before, after = features_of(tmp_path / "a", HISTORY), features_of(tmp_path / "b", [*HISTORY, *outside])
    assert before == after


@pytest.mark.parametrize("at", [CUTOFF - MICROSECOND, CUTOFF - timedelta(days=365)])
def test_the_first_and_the_last_instant_of_the_lookback_are_history(tmp_path: Path, at: datetime) -> None:
    found = features_of(tmp_path, [*HISTORY, event("s", at, "purchase", "p3", price=1.0, amount=1.0, category="books")])
    assert (found["events"], found["purchases"], found["spend"]) == (15, 4, 49)


def test_the_lookback_cuts_gaps_and_first_times(tmp_path: Path) -> None:
    short = FeatureSettings(lookback_days=20, horizon_days=7, timezone="UTC")
    found = features_of(tmp_path, HISTORY, short)
    assert "events_30d" not in found
    assert "events_7d" in found
    expected = {
        "events": 7,
        "tenure_days": 13 + 5 / 24,
        "purchases": 1,
        "purchase_gap_days": None,
        "last_purchase_gap_days": None,
        "overdue": None,
        "sessions": 7,
        "session_gap_days": (13 + 5 / 24 - 0.5) / 6,
        "products": 2,
        "categories": 2,
        "bought_products": 1,
        "active_days": 6,
        "habit": 1 / 2,
        "age": 31,
    }
    for name, value in expected.items():
        assert pd.isna(found[name]) if value is None else found[name] == pytest.approx(value), name


def test_what_is_undefined_is_null_and_what_is_none_is_zero(tmp_path: Path) -> None:
    found = features_of(tmp_path, [event("s", "2026-03-01 00:00", "browse", "p1")])
    assert {name for name, value in found.items() if value is None} == {
        *("purchase_recency_days", "purchase_tenure_days", "session_gap_days", "cart_recency_days", "basket_spend"),
        *("basket_lines", "price_level", "purchase_gap_days", "last_purchase_gap_days", "overdue", "age", "gender"),
        *("session_gap_variation", "last_session_gap_days", "largest_line", "purchase_gap_variation", "return_rate"),
        *("cart_abandonment", "rebought_share", "categories", "top_category_share", "category_spread", "age_band"),
        *("bought_categories", "brands", "top_brand_share", "brand_spread", "price_max", "bought_price_level"),
        *("price_in_category", "bought_popularity"),
    }
    assert found["spend"] == found["purchases"] == found["conversion"] == found["spend_fading"] == 0
    assert found["trend"] == 2
    assert found["popularity"] == found["hit_share"] == 1


def test_an_example_without_history_keeps_its_row(tmp_path: Path) -> None:
    found = features_of(tmp_path, [event("t", "2026-03-01 00:00", "browse")])
    assert found["events"] == found["sessions"] == found["products"] == found["events_fading"] == 0
    assert found["recency_days"] is found["favourite_hour"] is found["popularity"] is None


def test_days_and_hours_are_local(tmp_path: Path) -> None:
    # Friday 19:30 and 20:30 in UTC are Saturday 03:30 and 04:30 in Shanghai; Friday 15:30 is 23:30.
    events = [event("s", f"2026-02-27 {clock}", "browse") for clock in ("15:30", "19:30", "20:30")]
    shanghai = FeatureSettings(lookback_days=365, horizon_days=7, timezone="Asia/Shanghai")
    found = features_of(tmp_path, events, shanghai)
    assert (found["active_days"], found["weekend_share"]) == (2, pytest.approx(2 / 3))
    assert found["evening_share"] == pytest.approx(1 / 3)


def test_the_stage_keeps_every_example_and_its_order(tmp_path: Path) -> None:
    config = little_config(examples__lookback_days=20)
    log = clean_log(tmp_path, shop())
    examples = run("cutoffs", cutoffs_stage, config, [log], tmp_path)
    made = run("features", features_stage, config, [examples, log], tmp_path)
    rows, before = table(made.path / "examples"), table(examples.path / "examples")
    assert rows[list(before.columns)].equals(before)
    assert made.facts["features"] == list(rows.columns[len(EXAMPLE_COLUMNS) :])
    assert made.facts["categorical"] == ["gender"]
    assert made.manifest.rows.rows_in == made.manifest.rows.rows_out == len(before)
    assert set(rows["gender"].dropna()) == {"female", "male"}
    assert set(map(str, rows.dtypes[made.facts["features"][:-1]])) == {"float64"}


def test_canaries_after_the_last_cutoff_reach_no_example(tmp_path: Path) -> None:
    config = little_config()
    planted = [event(f"s{n:02d}", "2026-01-28 00:00", "purchase", "canary", amount=9e4, age=99) for n in range(40)]
    hashes = []
    for name, events in (("a", shop()), ("b", [*shop(), *planted])):
        log = clean_log(tmp_path / name, events)
        # The same examples in both: the planted purchases may change labels, and nothing else.
        examples = run("cutoffs", cutoffs_stage, config, [clean_log(tmp_path / "a", shop())], tmp_path / "a")
        hashes.append(run("features", features_stage, config, [examples, log], tmp_path / name).manifest.content_hash)
    assert hashes[0] == hashes[1]


def test_sessions_end_after_half_an_hour_of_silence(tmp_path: Path) -> None:
    clock = CUTOFF - timedelta(days=365)
    events = [
        event("s", clock - MICROSECOND, "browse"),
        event("s", clock, "browse"),
        event("s", clock + timedelta(minutes=30), "browse"),
        event("s", clock + timedelta(minutes=60) + MICROSECOND, "browse"),
    ]
    # The event before the lookback is not known, so it neither opens the first session nor joins it.
    assert features_of(tmp_path, events)["sessions"] == 2


def test_a_period_holds_its_first_instant(tmp_path: Path) -> None:
    events = [
        event("s", CUTOFF - timedelta(days=14), "purchase"),
        event("s", CUTOFF - timedelta(days=7), "purchase"),
    ]
    assert features_of(tmp_path, events)["habit"] == 1
    assert (
        features_of(tmp_path / "one", [*events[:1], event("s", CUTOFF - timedelta(days=8), "purchase")])["habit"] == 0.5
    )


def test_a_window_as_long_as_the_lookback_is_left_out() -> None:
    names = {f.name for f in FeatureSettings(lookback_days=30, horizon_days=7, timezone="UTC").features()}
    assert "events_30d" not in names
    assert {"events", "events_7d", "trend"} <= names
