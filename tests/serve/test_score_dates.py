"""Scores by date: the same again, blind to what comes later, and of everybody or nobody there is."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.config import changed
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.spark import stop_spark
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, hash_rows
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.score import SCHEMA, SCORES, ScoredBucket, score_at, shopper_scores_stage
from tests.serve.world import ServedShop
from tests.shop import run_until
from tests.verdict.world import write_bundle

Tables = list[pd.DataFrame]
Score = Callable[..., list[ScoredBucket]]
EARLIER = 20
"""Days before the log's end of the instants that are looked back at."""


@pytest.fixture(scope="module")
def tables(shop: ServedShop) -> Tables:
    """The clean events, bucket by bucket."""
    return [connect().execute(bucket.sql()).df() for bucket in shop.events]


@pytest.fixture
def score(shop: ServedShop, tmp_path: Path) -> Score:
    """Score with kept answers of its own; each call writes into a new folder."""

    def run(champion: Champion, events: Sequence[BucketEvents], moment: Moment, **place: object) -> list[ScoredBucket]:
        folder = tmp_path / f"scores-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        where = replace(shop.place, **{"home": Home(tmp_path / "home"), **place})
        return score_at(champion, events, moment, folder, place=where, data_hash="d")

    return run


def as_events(folder: Path, tables: Tables) -> list[BucketEvents]:
    """Tables of clean events as buckets."""
    folder.mkdir()
    columns = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS)
    for number, table in enumerate(tables):
        with connect() as connection:
            connection.register("made", table)
            connection.execute(f"COPY (SELECT {columns} FROM made) TO '{folder / str(number)}' (FORMAT parquet)")
    return [BucketEvents(files=(folder / str(number),)) for number in range(len(tables))]


def read(done: Sequence[ScoredBucket]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(bucket.file) for bucket in done], ignore_index=True)


def asked(done: Sequence[ScoredBucket]) -> int:
    return sum(bucket.asked for bucket in done)


def with_rows(table: pd.DataFrame, *, of: pd.DataFrame, **values: object) -> pd.DataFrame:
    """A table and some of its rows again with other values."""
    return pd.concat([table, of.assign(**values)], ignore_index=True)


@pytest.mark.parametrize("unit", ["shopper", pytest.param("shopper_product", marks=pytest.mark.slow)])
def test_the_same_date_again_asks_nothing_and_gives_the_same(shop: ServedShop, score: Score, unit: Unit) -> None:
    champion, moment = shop.champion(unit), shop.moment.earlier(EARLIER)
    first, again = (score(champion, shop.events, moment) for _ in range(2))
    assert 0 < asked(first) <= sum(bucket.rows for bucket in first)
    assert asked(again) == 0
    pd.testing.assert_frame_equal(read(again), read(first), check_exact=True)
    connection = connect()
    assert [hash_rows(connection, bucket.file) for bucket in again] == [hash_rows(connection, b.file) for b in first]
    shopper = read(first)["shopper"]
    assert shopper.is_unique == (unit == "shopper")


def test_neither_buckets_nor_threads_nor_kept_answers_change_a_score(
    shop: ServedShop, tables: Tables, score: Score, tmp_path: Path
) -> None:
    champion, moment = shop.champion("shopper"), shop.moment
    whole = as_events(tmp_path / "whole", [pd.concat(tables)])
    one = read(score(champion, whole, moment, home=Home(tmp_path / "one"), threads=2))
    many = [table[table["shopper"] == shopper] for table in tables for shopper in table["shopper"].unique()[:10]]
    few = read(score(champion, as_events(tmp_path / "few", [pd.concat(many)]), moment))
    two = read(score(champion, as_events(tmp_path / "two", tables), moment))
    order = two.sort_values("shopper", ignore_index=True)
    pd.testing.assert_frame_equal(one, order, check_exact=True)
    # What the other shoppers do is part of the market, so only their number is smaller here.
    assert set(few["shopper"]) < set(one["shopper"])


@pytest.mark.parametrize("unit", ["shopper", pytest.param("shopper_product", marks=pytest.mark.slow)])
def test_no_event_at_or_after_the_cutoff_plays_a_part(
    shop: ServedShop, tables: Tables, score: Score, tmp_path: Path, unit: Unit
) -> None:
    champion, moment = shop.champion(unit), shop.moment.earlier(EARLIER)
    past = [table[table["timestamp"] < moment.cutoff] for table in tables]
    expected = read(score(champion, as_events(tmp_path / "past", past), moment))
    canary = {"product_id": "canary", "action": "purchase", "amount": 9e5, "price": 9e5, "category": "canary"}
    planted, leaked = (
        as_events(
            tmp_path / str(at.microsecond),
            [
                with_rows(
                    with_rows(table, of=table.groupby("shopper").head(2), timestamp=at, **canary),
                    of=table.head(3),
                    timestamp=at,
                    shopper="newcomer",
                )
                for table in tables
            ],
        )
        for at in (moment.cutoff, moment.cutoff - timedelta(microseconds=1))
    )
    found = read(score(champion, planted, moment, home=Home(tmp_path / "other")))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    seen = read(score(champion, leaked, moment))
    assert "newcomer" in set(seen["shopper"])
    both = expected.merge(seen, on=["shopper", "product_id"])
    assert (both["probability_x"] != both["probability_y"]).mean() > 0.9, "a moment earlier it would be seen"


@pytest.mark.slow
def test_a_late_log_of_few_shoppers_asks_about_few(
    shop: ServedShop, tables: Tables, score: Score, tmp_path: Path
) -> None:
    champion, moment = shop.champion("shopper"), shop.moment
    before = score(champion, as_events(tmp_path / "before", tables), moment)
    late = tables[0].sort_values("timestamp").groupby("shopper").tail(1).head(3)
    timestamp = moment.cutoff - timedelta(hours=1)
    after = score(
        champion,
        as_events(
            tmp_path / "after",
            [with_rows(tables[0], of=late, timestamp=timestamp, action="favourite"), *tables[1:]],
        ),
        moment,
    )
    assert 1 <= asked(after) <= 3 < asked(before)
    told = read(before).merge(read(after), on="shopper")
    is_late = told["shopper"].isin(late["shopper"])
    assert (told["probability_x"] != told["probability_y"])[is_late].any()
    # Only what the whole shop has done, which the late events are part of, reaches the others.
    np.testing.assert_allclose(told["probability_x"][~is_late], told["probability_y"][~is_late], atol=0.05)


def test_a_new_calibration_needs_no_new_reading(shop: ServedShop, score: Score, tmp_path: Path) -> None:
    champion = shop.champion("shopper")
    first = score(champion, shop.events, shop.moment)
    other = replace(champion, model=Path(shutil.copytree(champion.model, tmp_path / "other")))
    Decision(threshold=0.2, calibration="platt", slope=0.5, intercept=-1.0).save(other.model)
    again = score(other, shop.events, shop.moment)
    assert (asked(first) > 0, asked(again)) == (True, 0)
    assert (read(again)["probability"] != read(first)["probability"]).all()
    assert read(again)["decision"].tolist() == (read(again)["probability"] >= 0.2).tolist()


def test_empty_buckets_and_a_lookback_without_anybody(
    shop: ServedShop, tables: Tables, score: Score, tmp_path: Path
) -> None:
    empty = tables[0].head(0)
    champion = shop.champion("shopper")
    done = score(champion, as_events(tmp_path / "holes", [empty, tables[0], empty]), shop.moment)
    assert [bucket.rows > 0 for bucket in done] == [False, True, False]
    nobody = score(champion, shop.events, shop.moment.earlier(-2 * champion.examples.lookback_days))
    assert [bucket.rows for bucket in nobody] == [0] * len(shop.events)
    for bucket in (*done, *nobody):
        table = pd.read_parquet(bucket.file)
        assert list(table.columns) == SCHEMA.names


def test_a_champion_without_amounts_tells_none(shop: ServedShop, score: Score, tmp_path: Path) -> None:
    encode, verbalize = shop.run.need("encode"), shop.run.need("verbalize")
    for numbers in (True, False):
        model = tmp_path / f"model-{numbers}"
        write_bundle(model, encode, verbalize, 9, amounts=False, numbers=numbers, architecture="gpt2")
        Decision(threshold=0.5).save(model)
        table = read(score(replace(shop.champion("shopper"), model=model), shop.events, shop.moment))
        assert table[["expected_amount", "log_mean", "log_std"]].isna().all(axis=None)
        assert table["probability"].nunique() > 10


def test_a_boosting_champion_scores_by_itself(shop: ServedShop, score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_HOME", str(shop.home.root))
    run = run_until("baselines", "boosted", overrides=shop_settings(shop), without=("report", "doctor"))
    model = run.need("baselines").path / "model"
    assert is_boosting(model)
    champion = replace(shop.champion("shopper"), model=model)
    first, again = (score(champion, shop.events, shop.moment) for _ in range(2))
    table = read(first)
    pd.testing.assert_frame_equal(read(again), table, check_exact=True)
    assert asked(first) == len(table) > 100
    assert table["expected_amount"].isna().all()
    assert table["probability"].between(0, 1).all()


def shop_settings(shop: ServedShop) -> dict[str, object]:
    return {"simulate.shoppers": 160, "model.max_tokens": 48}


@pytest.mark.slow
def test_the_stage_tells_what_was_asked_and_kept(shop: ServedShop, tmp_path: Path) -> None:
    told = []
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        job = Job(
            config=changed(shop.config, {}),
            inputs=shop.inputs,
            out=tmp_path / name,
            key=name,
            home=Home(tmp_path / "home"),
            today=shop.run.record.day,
        )
        told.append(shopper_scores_stage(job))
    first, again = told
    assert first.content_hash == again.content_hash
    assert first.facts["asked"] + first.facts["kept"] == first.rows.rows_out > 0
    assert (again.facts["asked"], again.facts["kept"]) == (0, first.rows.rows_out)
    assert first.facts["version"] == "1"
    files = sorted((tmp_path / "first" / SCORES).iterdir())
    assert len(files) == len(shop.events)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*<socket.socket fd:pytest.PytestUnraisableExceptionWarning")
def test_spark_writes_the_same_scores(shop: ServedShop, score: Score, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("there is no Java here")
    champion = shop.champion("shopper_product")
    local = score(champion, shop.events, shop.moment)
    engine = shop.config.engine.model_copy(update={"runner": "spark", "spark_master": "local[2]"})
    try:
        fresh = score(champion, shop.events, shop.moment, engine=engine, home=Home(tmp_path / "spark"))
        kept = score(champion, shop.events, shop.moment, engine=engine, home=Home(tmp_path / "spark"))
    finally:
        stop_spark()
    assert (asked(fresh), asked(kept)) == (asked(local), 0)
    connection = connect()
    hashes = [[hash_rows(connection, bucket.file) for bucket in done] for done in (local, fresh, kept)]
    assert hashes[0] == hashes[1] == hashes[2]
