"""The simulated shop, through what it writes: the log, its mess, and the best possible scores."""

import json
from datetime import date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss

from behavior_tasks.base.artifacts import ArtifactStore
from behavior_tasks.base.config import Config, ExamplesConfig, SimulateConfig
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.timeline import plan
from behavior_tasks.data import simulate
from behavior_tasks.data.simulate import Simulated, simulate_shop, simulate_stage

HEADER = "user_id,action,product_id,timestamp,quantity,price,amount,category,query,age,gender"
SMALL = SimulateConfig(shoppers=300, days=45, rollouts=20, seed=5)
VALID = f"""
    SELECT DISTINCT * FROM read_csv(?, all_varchar = true)
    WHERE user_id <> '' AND action IN {ACTIONS} AND try_cast(timestamp AS BIGINT) IS NOT NULL
        AND (amount IS NULL OR CAST(amount AS DOUBLE) >= 0)
"""


def make(out: Path, config: SimulateConfig = SMALL, **options: object) -> Simulated:
    out.mkdir()
    options.setdefault("examples", ExamplesConfig())
    return simulate_shop(config, out, **options)


def read_valid(out: Path) -> pd.DataFrame:
    """The rows that ingest and clean leave, by plain SQL; numbers as numbers."""
    query = f"""SELECT * REPLACE (CAST(timestamp AS BIGINT) AS timestamp, CAST(quantity AS DOUBLE) AS quantity,
        CAST(price AS DOUBLE) AS price, CAST(amount AS DOUBLE) AS amount, CAST(age AS INTEGER) AS age) FROM ({VALID})"""
    with duckdb.connect() as connection:
        return connection.execute(query, [str(out / "events.csv")]).df()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop") / "out"
    make(out)
    return out


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(shop: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    make(tmp_path / "other", SMALL.model_copy(update={"seed": 6}))
    names = sorted(path.name for path in shop.iterdir())
    assert names == ["events.csv", "oracle.json", "oracle.parquet"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (shop / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (shop / name).read_bytes()


def test_the_number_of_rollouts_leaves_the_log_alone(shop: Path, tmp_path: Path) -> None:
    make(tmp_path / "more", SMALL.model_copy(update={"rollouts": 30}))
    assert (tmp_path / "more" / "events.csv").read_bytes() == (shop / "events.csv").read_bytes()
    assert (tmp_path / "more" / "oracle.parquet").read_bytes() != (shop / "oracle.parquet").read_bytes()


def test_the_log_has_the_canonical_header_and_covers_whole_days_in_order(shop: Path) -> None:
    assert (shop / "events.csv").read_text(encoding="utf-8").partition("\n")[0] == HEADER
    raw = pd.read_csv(shop / "events.csv", dtype=str, keep_default_na=False)
    times = pd.to_numeric(raw["timestamp"], errors="coerce").dropna()
    assert times.is_monotonic_increasing
    first, last = pd.to_datetime([times.min(), times.max()], unit="s")
    assert first.date() == date(2026, 1, 5)
    assert pd.Timestamp("2026-02-18T23:00:00") <= last < pd.Timestamp("2026-02-19")


def test_cells_are_empty_exactly_where_a_shop_has_nothing_to_say(shop: Path) -> None:
    events = read_valid(shop)
    search = events["action"] == "search"
    paid = events["action"].isin(["purchase", "return"])
    assert (events["product_id"].isna() == search).all()
    assert (events["query"].notna() == search).all()
    assert (events["price"].isna() == search).all()
    assert (events["amount"].notna() == paid).all()
    assert (events["quantity"].notna() == paid).all()
    assert set(events["action"]) == set(ACTIONS)
    assert events["user_id"].nunique() == SMALL.shoppers
    shoppers = events.groupby("user_id")[["age", "gender"]].nunique(dropna=False)
    assert (shoppers == 1).all(axis=None)
    missing = events.groupby("user_id")[["age", "gender"]].first().isna().mean()
    assert missing.between(0.01, 0.2).all()
    assert events["age"].dropna().between(16, 90).all()


def test_no_two_events_of_a_shopper_share_a_second(shop: Path) -> None:
    assert not read_valid(shop).duplicated(["user_id", "timestamp"]).any()


def test_new_shoppers_keep_arriving(shop: Path) -> None:
    first = read_valid(shop).groupby("user_id")["timestamp"].min()
    day = (first - first.min()) // 86_400
    assert 0.2 < (day >= 20).mean() < 0.5
    assert day.max() >= 40


def test_the_mess_is_there_and_small(shop: Path) -> None:
    raw = pd.read_csv(shop / "events.csv", dtype=str, keep_default_na=False)
    events = read_valid(shop)
    kinds = {
        "user": raw["user_id"] == "",
        "action": ~raw["action"].isin(ACTIONS),
        "time": ~raw["timestamp"].str.fullmatch(r"\d+"),
        "amount": raw["amount"].str.startswith("-"),
    }
    broken = pd.DataFrame(kinds)
    assert (broken.sum() > 0).all()
    assert (broken.sum(axis=1) <= 1).all()
    assert 0.001 < broken.any(axis=1).mean() < 0.004
    duplicates = len(raw) - broken.any(axis=1).sum() - len(events)
    assert 0.002 < duplicates / len(raw) < 0.004
    assert 0.01 < events.loc[events["action"] != "search", "category"].isna().mean() < 0.03


def test_amounts_are_price_times_quantity_but_for_a_few_slips(shop: Path) -> None:
    paid = read_valid(shop).dropna(subset="amount")
    factor = (paid["amount"] / (paid["price"] * paid["quantity"])).round(6)
    assert set(factor) == {1.0, 100.0}
    assert 0 < (factor == 100).mean() < 0.01


def test_categories_have_their_price_and_age_and_person_shape_the_spend(shop: Path) -> None:
    events = read_valid(shop).dropna(subset="price")
    prices = events.groupby("category")["price"].median()
    assert prices["electronics"] > 3 * prices["books"] > 3 * prices["groceries"] * 0.9
    electronics = events[events["category"] == "electronics"]
    assert electronics[electronics["age"] >= 50]["price"].mean() > electronics[electronics["age"] < 35]["price"].mean()


def test_a_shopper_keeps_to_few_categories(shop: Path) -> None:
    browsed = read_valid(shop).query("action == 'browse'").dropna(subset="category")
    counts = browsed.groupby(["user_id", "category"]).size().unstack(fill_value=0)
    counts = counts[counts.sum(axis=1) >= 20]
    favourite = counts.max(axis=1) / counts.sum(axis=1)
    assert favourite.mean() > 0.3  # 12 categories; without taste the largest of them would hold about 0.2


@pytest.mark.parametrize(
    ("timezone", "examples", "block_shoppers"),
    [
        ("UTC", ExamplesConfig(), 20_000),
        pytest.param("UTC", ExamplesConfig(), 70, marks=pytest.mark.slow),
        ("America/New_York", ExamplesConfig(horizon_days=5, lookback_days=6), 20_000),  # summer time starts on day 62
    ],
)
def test_the_oracle_knows_who_is_eligible_and_who_bought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timezone: str, examples: ExamplesConfig, block_shoppers: int
) -> None:
    monkeypatch.setattr(simulate, "BLOCK_SHOPPERS", block_shoppers)
    config = SMALL.model_copy(update={"days": 70, "rollouts": 10})
    made = make(tmp_path / "out", config, examples=examples, timezone=timezone)
    timeline = plan(
        made.first,
        made.last,
        horizon_days=examples.horizon_days,
        train_cutoffs=examples.train_cutoffs,
        train_every_days=examples.train_every_days,
        timezone=timezone,
    )
    assert timeline is not None
    query = f"""
        SELECT user_id, bool_or(action = 'purchase' AND t >= $cutoff AND t < $end) AS bought
        FROM (SELECT *, make_timestamp(CAST(timestamp AS BIGINT) * 1000000) AS t FROM ({VALID.replace("?", "$path")}))
        GROUP BY user_id HAVING bool_or(t >= $cutoff - to_days(CAST($lookback AS INTEGER)) AND t < $cutoff)
        ORDER BY user_id
    """
    oracle = pd.read_parquet(tmp_path / "out" / "oracle.parquet")
    assert list(oracle.columns) == ["user_id", "split", "cutoff", "probability", "bought"]
    for window in (timeline.validation, timeline.test):
        parameters = {"path": str(tmp_path / "out" / "events.csv"), "cutoff": window.cutoff, "end": window.end}
        with duckdb.connect() as connection:
            expected = connection.execute(query, {**parameters, "lookback": examples.lookback_days}).df()
        found = oracle[(oracle["split"] == window.split) & (oracle["cutoff"] == window.cutoff)]
        assert 0 < expected["bought"].sum() < len(expected)
        pd.testing.assert_frame_equal(found[["user_id", "bought"]].reset_index(drop=True), expected)
        assert found["probability"][found["bought"]].mean() > 1.5 * found["probability"][~found["bought"]].mean()


def test_oracle_json_holds_the_scores_of_oracle_parquet(shop: Path) -> None:
    written = json.loads((shop / "oracle.json").read_text(encoding="utf-8"))
    oracle = pd.read_parquet(shop / "oracle.parquet")
    validation, test = (oracle[oracle["split"] == split] for split in ("validation", "test"))
    score = written["test"]
    assert score["examples"] == len(test)
    assert score["buyers"] == test["bought"].sum()
    assert score["average_precision"] == pytest.approx(average_precision_score(test["bought"], test["probability"]))
    assert score["log_loss"] == pytest.approx(log_loss(test["bought"], test["probability"]))
    assert score["f1"] == pytest.approx(f1_score(test["bought"], test["probability"] >= score["threshold"]))
    f1 = {t: f1_score(validation["bought"], validation["probability"] >= t) for t in validation["probability"]}
    assert f1[score["threshold"]] == pytest.approx(max(f1.values()))
    assert 0 < written["mean_standard_error"] < 0.05


def test_a_log_too_short_for_the_timeline_has_no_best_possible_scores(tmp_path: Path) -> None:
    config = SimulateConfig(shoppers=50, days=30, rollouts=10)
    made = make(tmp_path / "out", config, examples=ExamplesConfig(horizon_days=10))
    assert made.oracle["test"] is None
    assert json.loads((tmp_path / "out" / "oracle.json").read_text(encoding="utf-8")) == made.oracle
    oracle = pd.read_parquet(tmp_path / "out" / "oracle.parquet")
    assert list(oracle.columns) == ["user_id", "split", "cutoff", "probability", "bought"]
    assert oracle.empty


@pytest.mark.parametrize("products", [10, 12_000])
def test_every_product_has_its_own_id_however_many_there_are(tmp_path: Path, products: int) -> None:
    make(tmp_path / "out", SimulateConfig(shoppers=120, days=40, rollouts=10, products=products))
    events = read_valid(tmp_path / "out").dropna(subset=["product_id", "category"])
    assert events.groupby("product_id")["category"].nunique().max() == 1
    seen = events["product_id"].nunique()
    assert seen == 10 if products == 10 else seen > 1_000
    assert events["product_id"].str.len().nunique() == 1


def test_a_long_log_ends_where_the_default_one_does(tmp_path: Path) -> None:
    made = make(tmp_path / "out", SimulateConfig(shoppers=50, days=150, rollouts=10))
    assert made.first >= datetime(2025, 12, 6)
    assert made.last.date() == date(2026, 5, 4)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_however_few_the_shoppers_the_last_hour_is_reached_so_that_the_last_day_is_whole(
    tmp_path: Path, seed: int
) -> None:
    made = make(tmp_path / "out", SimulateConfig(shoppers=50, days=36, rollouts=10, seed=seed))
    assert datetime(2026, 2, 9, 23) <= made.last < datetime(2026, 2, 10)


def test_the_stage_writes_an_artifact_that_the_next_stage_can_read(tmp_path: Path) -> None:
    config = Config(simulate=SimulateConfig(shoppers=60, days=40, rollouts=10))

    def work(out: Path, key: str) -> object:
        home = Home(tmp_path)
        return simulate_stage(Job(config=config, inputs={}, out=out, key=key, home=home, today=date(2026, 11, 23)))

    (tmp_path / "artifacts").mkdir()
    store = ArtifactStore(tmp_path / "artifacts")
    manifest = store.build(stage="simulate", code="c", settings={}, inputs={}, work=work).artifact.manifest
    assert set(manifest.files) == {"events.csv", "oracle.parquet", "oracle.json"}
    assert (manifest.rows.unit_in, manifest.rows.unit_out) == ("shoppers", "rows")
    path = store.root / "simulate" / manifest.key / "events.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert (manifest.rows.rows_in, manifest.rows.rows_out) == (60, len(lines) - 1)
    assert manifest.content_hash == manifest.files["events.csv"].sha256
