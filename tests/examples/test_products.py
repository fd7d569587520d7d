"""The unit shopper_product: which products are asked about, what is kept of train's negatives, and their features."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.tables import connect, quote, write_parquet
from behavior_tasks.examples.candidates import Sampling, plan_sampling
from behavior_tasks.examples.cutoffs import cutoffs_stage
from behavior_tasks.examples.feature_table import PRODUCT
from behavior_tasks.examples.features import FeatureSettings, features_stage
from tests.examples.little import Event, clean_log, event, little_config, make_features, run, shop, table
from tests.examples.test_features import CUTOFF, HISTORY, OTHERS

MICROSECOND = timedelta(microseconds=1)
# shop() ends with January 30, and the horizon is three days.
VALIDATION, TEST = datetime(2026, 1, 25), datetime(2026, 1, 28)
MANY = 1_000_000
"""Negatives per positive that keep them all."""


def unit_config(**overrides: Any) -> Config:
    return little_config(examples__unit="shopper_product", **overrides)


def cutoffs(
    folder: Path, events: list[Event], config: Config | None = None, **how: Any
) -> tuple[pd.DataFrame, Artifact]:
    log = clean_log(folder / "log", events, **how)
    made = run("cutoffs", cutoffs_stage, config or unit_config(), [log], folder / "out")
    return table(made.path / "examples"), made


def test_products_touched_in_the_lookback_are_asked_about(tmp_path: Path) -> None:
    start = TEST - timedelta(days=20)
    events = [
        event("x", start - MICROSECOND, "browse", "too-old"),
        event("x", start, "browse", "in"),
        event("x", TEST - MICROSECOND, "search", None),
        event("x", TEST - MICROSECOND, "purchase", "just", amount=4.0),
        event("x", TEST, "browse", "too-late"),
        event("x", TEST, "purchase", "in", amount=1.5),
        event("x", TEST + timedelta(days=3) - MICROSECOND, "purchase", "in", amount=2.0),
        event("x", TEST + timedelta(hours=1), "purchase", "new", amount=9.0),
        event("y", TEST + timedelta(hours=1), "purchase", "just", amount=9.0),
        event("y", TEST - timedelta(days=1), "search", None),
    ]
    rows, made = cutoffs(tmp_path, shop() + events, unit_config(examples__lookback_days=20))
    mine = rows[(rows["shopper"] == "x") & (rows["cutoff"] == TEST)].set_index("example")
    assert sorted(mine.index) == ["x@2026-01-28#in", "x@2026-01-28#just"]
    assert mine.loc["x@2026-01-28#in", ["product_id", "label", "amount", "weight"]].tolist() == ["in", 1, 3.5, 1]
    # y bought it, x did not.
    assert mine.loc["x@2026-01-28#just", ["label", "amount"]].tolist() == [0, 0]
    assert "y" not in set(rows[rows["cutoff"] == TEST]["shopper"])
    assert rows["example"].is_unique
    assert made.facts["unit"] == "shopper_product"


def test_only_the_products_touched_last_are_candidates(tmp_path: Path) -> None:
    at = TEST - timedelta(days=2)
    events = [event("x", at + timedelta(minutes=n), "browse", name) for n, name in enumerate(["old", "mid", "new"])]
    # The same instant: the smaller name goes first, whatever the order of the rows.
    events += [event("x", at, "browse", "also-old"), event("x", TEST - timedelta(days=1), "browse", "mid")]
    rows, _ = cutoffs(tmp_path, shop() + events[::-1], unit_config(examples__candidates=3))
    mine = rows[(rows["shopper"] == "x") & (rows["cutoff"] == TEST)]
    assert set(mine["product_id"]) == {"mid", "new", "also-old"}
    assert rows.groupby(["shopper", "cutoff"]).size().max() == 3


def test_trains_negatives_are_thinned_out_and_weigh_for_those_left_out(tmp_path: Path) -> None:
    every, full = cutoffs(tmp_path / "all", shop(shoppers=120), unit_config(examples__negatives_per_positive=MANY))
    some, made = cutoffs(tmp_path / "some", shop(shoppers=120), unit_config(examples__negatives_per_positive=2.0))
    assert (every["weight"] == 1).all()
    assert made.facts["splits"] == full.facts["splits"]
    thinned = (every["split"] == "train") & (every["label"] == 0)
    kept = some[(some["split"] == "train") & (some["label"] == 0)]
    negatives, positives = int(thinned.sum()), int(((every["split"] == "train") & (every["label"] == 1)).sum())
    assert made.facts["train_negatives"] == {
        "all": negatives,
        "kept": len(kept),
        "weight": pytest.approx(negatives / (2 * positives)),
    }
    assert set(kept["weight"]) == {made.facts["train_negatives"]["weight"]}
    # Nothing else is left out, and nothing that stays is changed but in weight.
    rest = some.drop(kept.index)
    pd.testing.assert_frame_equal(rest, every[~thinned])
    pd.testing.assert_frame_equal(kept.drop(columns="weight"), every.loc[kept.index].drop(columns="weight"))
    assert made.manifest.rows.rows_out == len(some)
    # Four standard deviations of a binomial draw.
    rate = 2 * positives / negatives
    assert abs(len(kept) - negatives * rate) < 4 * np.sqrt(negatives * rate * (1 - rate))
    train = some[some["split"] == "train"]
    share = np.average(train["label"], weights=train["weight"])
    assert share == pytest.approx(every[every["split"] == "train"]["label"].mean(), rel=0.1)
    assert train["label"].mean() > 2 * share


def test_buckets_and_the_order_of_rows_choose_no_negative(tmp_path: Path) -> None:
    first, made = cutoffs(tmp_path / "a", shop())
    assert made.facts["train_negatives"]["kept"] < made.facts["train_negatives"]["all"]
    for name, how in (("b", {"shuffle": 4}), ("c", {"buckets": 5})):
        again, other = cutoffs(tmp_path / name, shop(), **how)
        pd.testing.assert_frame_equal(first, again)
        assert made.facts == other.facts


def test_labels_outside_train_change_neither_rate_nor_choice(tmp_path: Path) -> None:
    before, made = cutoffs(tmp_path / "a", shop())
    canaries = [event(f"s{n:02d}", TEST, "purchase", f"p{p}", amount=1e5) for n in range(0, 38) for p in range(9)]
    after, other = cutoffs(tmp_path / "b", [*shop(), *canaries])
    earlier = before["cutoff"] < TEST
    pd.testing.assert_frame_equal(before[earlier], after[after["cutoff"] < TEST])
    assert made.facts["train_negatives"] == other.facts["train_negatives"]
    assert after[after["cutoff"] == TEST]["label"].mean() > 0.9


def test_the_plan_of_the_sample() -> None:
    assert plan_sampling(0, 100, 10.0) == Sampling(negatives=100, target=1)
    assert plan_sampling(10, 100, 10.0).below == 2**64
    assert plan_sampling(5, 100, 10.0).below == 2**63
    assert plan_sampling(5, 0, 10.0).weight == 1


P3 = {
    "this_events": 3,
    "this_recency_days": 1 + 1 / 24,
    "this_tenure_days": 13 + (4 + 1 / 3) / 24,
    "this_place": 2,
    "this_later_events": 1,
    "this_in_last_session": 0,
    "this_share": 3 / 13,
    "this_clicks": 1,
    "this_favourites": 1,
    "this_carts": 1,
    "this_open_carts": 1,
    "this_purchases": 0,
    "this_purchase_recency_days": None,
    "this_returns": 0,
    "this_price": 7,
    "this_price_in_category": 7 / (28 / 3),
    "this_price_to_usual": 7 / (107 / 12),
    "this_popularity": 4 / 4,
    "this_popularity_place": 2,
    "this_shop_conversion": 1 / 4,
    "this_category_share": 2 / 12,
    "this_category_purchases": 0,
}
P1 = {
    "this_events": 7,
    "this_recency_days": 0.5,
    "this_tenure_days": 27 + 14 / 24,
    "this_place": 1,
    "this_later_events": 0,
    "this_in_last_session": 1,
    "this_share": 7 / 13,
    "this_clicks": 1,
    "this_favourites": 0,
    "this_carts": 2,
    "this_open_carts": 1,
    "this_purchases": 2,
    "this_purchase_recency_days": 7 + 4 / 24,
    "this_returns": 1,
    "this_price": 12,
    "this_price_in_category": 1,
    "this_price_to_usual": 12 / (107 / 12),
    "this_popularity": 8 / 4,
    "this_popularity_place": 1,
    "this_shop_conversion": 2 / 8,
    "this_category_share": 7 / 12,
    "this_category_purchases": 2,
}


def product_features(folder: Path, events: list[Event], *, shuffle: int | None = None) -> dict[str, dict[str, Any]]:
    """The features of shopper `s` and each of their products at one cutoff."""
    folder.mkdir(parents=True, exist_ok=True)
    log = clean_log(folder, events, buckets=1, shuffle=shuffle)
    connection = connect()
    examples = f"""
        SELECT 's@x#' || product_id AS example, 's' AS shopper, product_id, 'test' AS split,
               TIMESTAMP '{CUTOFF}' AS cutoff, 1 AS label, 0::DOUBLE AS amount, 1::DOUBLE AS weight
        FROM (VALUES ('p1'), ('p2'), ('p3')) AS t(product_id)
    """
    write_parquet(connection, examples, folder / "examples.parquet")
    settings = FeatureSettings(lookback_days=365, horizon_days=7, timezone="UTC", unit="shopper_product")
    make_features(folder / "examples.parquet", log, folder / "out.parquet", settings)
    frame = connection.execute(f"SELECT * FROM read_parquet({quote(folder / 'out.parquet')})").df()
    assert frame["product_id"].tolist() == ["p1", "p2", "p3"]
    return {
        row["product_id"]: {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    }


def test_every_feature_of_a_product(tmp_path: Path) -> None:
    found = product_features(tmp_path, [*HISTORY, *OTHERS])
    assert set(P1) == set(P3) == {feature.name for feature in PRODUCT}
    for product, expected in (("p1", P1), ("p3", P3)):
        for name, value in expected.items():
            assert found[product][name] == (value if value is None else pytest.approx(value, rel=1e-5)), (product, name)
        # What is known of the shopper is the same for every product.
        assert found[product]["events"] == 14
        assert found[product]["popularity"] == found["p2"]["popularity"]


def test_nothing_from_the_cutoff_on_reaches_a_product(tmp_path: Path) -> None:
    canaries = [
        event(shopper, at, action, product, price=999.0, amount=999.0, category="books")
        for shopper in ("s", "t", "new")
        for at in (CUTOFF, CUTOFF + timedelta(days=2), CUTOFF - timedelta(days=365) - MICROSECOND)
        for action in ("browse", "add_to_cart", "purchase", "return")
        for product in ("p1", "p3")
    ]
    before = product_features(tmp_path / "a", [*HISTORY, *OTHERS])
    assert product_features(tmp_path / "b", [*HISTORY, *OTHERS, *canaries], shuffle=5) == before


def test_the_stage_gives_each_candidate_its_features(tmp_path: Path) -> None:
    config = unit_config(examples__lookback_days=20)
    made = []
    for name, how in (("a", {}), ("b", {"shuffle": 2, "buckets": 3})):
        log = clean_log(tmp_path / name, shop(), **how)
        examples = run("cutoffs", cutoffs_stage, config, [log], tmp_path / name)
        made.append((examples, run("features", features_stage, config, [examples, log], tmp_path / name)))
    (examples, features), (_, again) = made
    rows, before = table(features.path / "examples"), table(examples.path / "examples")
    assert rows[list(before.columns)].equals(before)
    assert features.facts["unit"] == "shopper_product"
    assert features.facts["features"][-1] == "this_category_purchases"
    assert rows["this_events"].min() >= 1
    assert (rows["this_events"] <= rows["events"]).all()
    assert rows.equals(table(again.path / "examples"))
    assert sorted(path.name for path in features.path.iterdir()) == ["examples", "manifest.json", "market"]
