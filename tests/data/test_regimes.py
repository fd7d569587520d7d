"""Regime changes of a simulated log: what each one does, what it leaves alone, and what the pipeline makes of it."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from behavior_tasks.base.config import ExamplesConfig, SimulateConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.regimes import (
    TRUTH_COLUMNS,
    Change,
    DoubledDay,
    MillisecondClient,
    NewSeason,
    Outage,
    PriceShock,
    RenamedProducts,
    change_log,
    local_days,
    read_log,
    reality,
    write_log,
)
from behavior_tasks.data.simulate import simulate_shop
from tests.shop import run_until

FIRST, LAST = date(2026, 2, 1), date(2026, 2, 3)
EVERY: tuple[Change, ...] = (
    NewSeason(first=FIRST),
    PriceShock(first=FIRST, categories=("shoes", "books")),
    RenamedProducts(first=FIRST),
    Outage(first=FIRST, last=LAST, action="add_to_cart"),
    Outage(first=FIRST, last=LAST),
    MillisecondClient(first=FIRST, last=LAST),
    DoubledDay(first=FIRST, last=FIRST),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop")
    config = SimulateConfig(shoppers=150, days=45, products=60, rollouts=10)
    simulate_shop(config, out, examples=ExamplesConfig(train_cutoffs=2))
    return out / "events.csv"


@pytest.fixture(scope="module")
def log(shop: Path) -> pd.DataFrame:
    return read_log(shop)


def active(log: pd.DataFrame, change: Change) -> pd.Series:
    days = local_days(log)
    return (days >= change.first) & (days <= (change.last or days.max()))


def test_a_log_that_is_read_and_written_is_the_same_bytes(shop: Path, log: pd.DataFrame, tmp_path: Path) -> None:
    write_log(log, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == shop.read_bytes()
    same, truth = change_log(log, [])
    pd.testing.assert_frame_equal(same, log)
    assert list(truth.columns) == list(TRUTH_COLUMNS)


@pytest.mark.parametrize("change", EVERY, ids=lambda change: f"{change.kind}-{getattr(change, 'action', '')}")
def test_a_change_keeps_to_its_days_follows_its_seed_and_counts_its_rows(log: pd.DataFrame, change: Change) -> None:
    before = log.copy()
    changed, truth = change_log(log, [change])
    pd.testing.assert_frame_equal(log, before)
    pd.testing.assert_frame_equal(change_log(log, [change])[0], changed)
    untouched = log[~active(log, change)].reset_index(drop=True)
    pd.testing.assert_frame_equal(changed[~active(changed, change)].reset_index(drop=True), untouched)
    fact = truth.iloc[0]
    assert (fact["kind"], fact["first"]) == (change.kind, change.first)
    assert fact["last"] == (change.last or local_days(log).max())
    gone = pd.concat([log.drop_duplicates(), changed.drop_duplicates()]).drop_duplicates(keep=False)
    assert len(changed) != len(log) or len(gone)
    assert 0 < fact["rows"] <= active(log, change).sum()


@pytest.mark.parametrize("make", [NewSeason, RenamedProducts, MillisecondClient])
def test_another_seed_draws_others(log: pd.DataFrame, make: Callable[..., Change]) -> None:
    change = make(first=FIRST)
    assert not change_log(log, [change])[0].equals(change_log(log, [change], seed=8)[0])


def test_a_new_season_changes_categories_and_favourites_and_keeps_prices_those_of_the_products(
    log: pd.DataFrame,
) -> None:
    change = NewSeason(first=FIRST, share=1.0)
    changed, _ = change_log(log, [change])
    followed = active(log, change) & (log["user_id"] != "")
    rows = followed & (log["product_id"] != "")
    assert len(changed) == len(log)
    assert (changed["product_id"] != log["product_id"])[rows].mean() > 0.9
    home = log[log["category"] != ""].groupby("product_id")["category"].first()
    known = rows & (changed["category"] != "")
    assert (changed["product_id"].map(home) == changed["category"])[known].all()
    for column in ("user_id", "action", "timestamp", "quantity", "age", "gender"):
        assert (changed[column] == log[column]).all()
    mix = [table[known]["category"].value_counts(normalize=True) for table in (log, changed)]
    gone = set(mix[0].index) - set(mix[1].index)
    assert len(gone) == len(mix[0]) // 2, "half of the categories are out of season"
    grown = mix[1].sub(mix[0]).dropna().nlargest(len(mix[0]) // 4)
    assert grown.sum() == pytest.approx(mix[0][list(gone)].sum(), abs=0.01), "the season has what the others had"
    queries = changed.loc[followed, "query"]
    assert not any(category in query for category in gone for query in queries.unique())
    dearest = pd.to_numeric(log["price"]).groupby(log["product_id"]).max()
    asked = pd.to_numeric(changed["price"])[rows]
    # Rounding to cents, of a price that was itself rounded to cents.
    assert (asked <= changed["product_id"][rows].map(dearest) * 1.005 + 0.01).all()


def test_a_price_shock_raises_prices_and_amounts_alike_and_loses_sales(log: pd.DataFrame) -> None:
    change = PriceShock(first=FIRST, categories=("shoes",), lost_sales=0.0)
    changed, _ = change_log(log, [change])
    home = log[log["category"] != ""].groupby("product_id")["category"].first()
    rows = active(log, change) & (log["product_id"].map(home) == "shoes")
    for column in ("price", "amount"):
        old, new = (pd.to_numeric(table.loc[rows, column]) for table in (log, changed))
        paid = old > 0
        assert paid.any()
        assert (new[paid] / old[paid]).between(1.4 - 1e-3, 1.4 + 1e-3).all()
        assert (new[~paid & old.notna()] == old[~paid & old.notna()]).all()
    pd.testing.assert_frame_equal(changed[~rows], log[~rows])
    fewer, _ = change_log(log, [PriceShock(first=FIRST, categories=("shoes", "books", "groceries"), lost_sales=0.5)])
    purchases = [(table["action"] == "purchase").sum() for table in (log, fewer)]
    assert purchases[1] < purchases[0]
    assert ((log["action"] != "purchase").sum()) == (fewer["action"] != "purchase").sum()


def test_milliseconds_are_the_same_instants_of_whole_shoppers(log: pd.DataFrame) -> None:
    change = MillisecondClient(first=FIRST, last=LAST, share=0.3)
    changed, truth = change_log(log, [change])
    other = changed["timestamp"] != log["timestamp"]
    assert other.any()
    assert list(truth["rows"]) == [other.sum()]
    assert (changed["timestamp"].str[:-3] == log["timestamp"])[other].all()
    assert set(changed["timestamp"].str.len()[other]) == {13}
    assert (local_days(changed) == local_days(log)).all()
    inside = active(log, change) & log["timestamp"].str.isdigit() & (log["user_id"] != "")
    assert not set(log["user_id"][other]) & set(log["user_id"][inside & ~other])


def test_changes_follow_one_another_and_faults_are_no_reality(log: pd.DataFrame) -> None:
    changed, truth = change_log(log, EVERY)
    assert list(truth["kind"]) == [change.kind for change in EVERY]
    really, told = change_log(log, reality(EVERY))
    assert list(told["kind"]) == ["new_season", "price_shock", "renamed_products"]
    assert not told["fault"].any()
    assert (really["timestamp"].str.len() <= 19).all()
    later = local_days(changed) > LAST
    pd.testing.assert_frame_equal(
        changed[later].reset_index(drop=True), really[local_days(really) > LAST].reset_index(drop=True)
    )


def test_local_days_follow_the_zone_and_broken_times_the_row_before() -> None:
    instant = int(datetime(2026, 2, 1, 0, 30, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp())
    times = pd.DataFrame({"timestamp": [str(instant), "n/a", f"{instant + 86_400}123", ""]})
    days = local_days(times, "Asia/Shanghai").tolist()
    assert days == [date(2026, 2, 1), date(2026, 2, 1), date(2026, 2, 2), date(2026, 2, 2)]
    assert local_days(times).tolist() == [date(2026, 1, 31), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 1)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Outage(first=LAST, last=FIRST), "before it begins"),
        (Outage(first=FIRST, action="wishlist"), "names the action wishlist"),
        (PriceShock(first=FIRST, categories=("ships",)), r"names the categories \['ships'\]"),
    ],
)
def test_what_the_log_does_not_have_is_refused(log: pd.DataFrame, change: Change, words: str) -> None:
    with pytest.raises(UserError, match=words):
        change_log(log, [change])


def test_another_log_is_refused(log: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not a log of the simulated shop"):
        read_log(tmp_path / "other.csv")
    with pytest.raises(UserError, match="is not a log of the simulated shop"):
        change_log(log.drop(columns="query"), [])


@pytest.mark.slow
def test_ingest_sets_milliseconds_aside_and_clean_takes_a_doubled_day_once(
    log: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_HOME", str(tmp_path / "home"))
    logs = {
        "plain": log,
        "doubled": change_log(log, [DoubledDay(first=FIRST, last=FIRST)])[0],
        "milliseconds": change_log(log, [MillisecondClient(first=FIRST, last=LAST)])[0],
    }
    runs = {}
    for name, table in logs.items():
        write_log(table, tmp_path / f"{name}.csv")
        runs[name] = run_until("clean", name, log=tmp_path / f"{name}.csv")
    clean = {name: run.artifact("clean") for name, run in runs.items()}
    ingest = runs["milliseconds"].artifact("ingest")
    assert clean["plain"] is not None
    assert clean["doubled"] is not None
    assert ingest is not None
    assert clean["doubled"].manifest.content_hash == clean["plain"].manifest.content_hash
    assert ingest.manifest.rows.removed["milliseconds_for_seconds"] == _written_in_milliseconds(logs["milliseconds"])


def _written_in_milliseconds(log: pd.DataFrame) -> int:
    long = log["timestamp"].str.fullmatch(r"\d{13}")
    valid = (log["user_id"] != "") & (log["action"] != "wishlist")
    return int((long & valid).sum())
