"""The moment of a real log: which day it is, and what the log's own days say."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import connect
from behavior_tasks.model.event_folder import MARKET_FILES
from behavior_tasks.serve.banners import banners_of
from behavior_tasks.serve.log_days import count_days, unseen_products
from behavior_tasks.serve.moment import Moment, backtest_moment, moment_at
from tests.serve.world import ServedShop, look
from tests.shop import run_until


def every_event(shop: ServedShop) -> pd.DataFrame:
    with connect() as connection:
        return pd.concat([connection.execute(bucket.sql()).df() for bucket in shop.events])


def codes(looked: Mapping[str, Artifact]) -> dict[str, str]:
    return {banner.code: banner.level for banner in banners_of(looked["readiness"].facts)}


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_events_are_counted_by_local_day_before_the_instant(shop: ServedShop, timezone: str) -> None:
    moment = moment_at(shop.moment.as_of - timedelta(days=9), timezone)
    days = count_days(shop.clean, [], moment.cutoff, timezone)
    times = every_event(shop)["timestamp"]
    local = times[times < moment.cutoff].dt.tz_localize("UTC").dt.tz_convert(ZoneInfo(timezone))
    assert days.events == local.dt.date.value_counts().sort_index().to_dict()
    assert days.later == (times >= moment.cutoff).sum()
    assert days.last == moment.as_of - timedelta(days=1)


def test_without_a_day_it_is_the_day_after_the_last_event(shop: ServedShop) -> None:
    last = every_event(shop)["timestamp"].max()
    assert shop.moment.as_of == last.date() + timedelta(days=1)
    assert shop.moment.cutoff == datetime.combine(shop.moment.as_of, datetime.min.time())
    assert codes(shop.looked) == {"short_log": "notice"}, "a simulated shop is never late"


def test_a_day_that_was_asked_for_leaves_out_what_followed(shop: ServedShop) -> None:
    wanted = shop.moment.as_of - timedelta(days=20)
    made = look(shop.run, shop.champions, as_of=wanted)
    assert Moment.load(made["moment"]).as_of == wanted
    assert codes(made)["later_events"] == "notice"
    assert codes(made)["trained_on_later"] == "severe", "the champions were tested on the last seven days"


def test_a_backtest_needs_days_that_the_champion_was_not_trained_on(shop: ServedShop) -> None:
    champion = shop.champion("shopper")
    found = backtest_moment(shop.moment, champion)
    assert found is not None
    assert found.as_of == shop.moment.as_of - timedelta(days=champion.examples.horizon_days)
    assert found.cutoff == champion.tested_from
    assert backtest_moment(shop.moment.earlier(1), champion) is None


def stages(shop: ServedShop, log: Path, today: date, **settings: object) -> dict[str, Artifact]:
    """Moment and readiness of another log under the shop's champions, on the day `today`."""
    run = run_until("clean", log.stem, log=log)
    if not (place := run.store.root / "champions").exists():
        shutil.copytree(shop.home.artifacts / "champions", place)
    return look(run, shop.champions, today=today, **settings)


@pytest.fixture
def log(shop: ServedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The shop's raw log as a table, and a state folder of the test's own."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return pd.read_csv(shop.run.need("simulate").path / "events.csv", dtype=str)


def day_of(log: pd.DataFrame) -> pd.Series:
    seconds = pd.to_numeric(log["timestamp"], errors="coerce")
    return pd.to_datetime(seconds, unit="s").dt.date


def test_a_night_with_a_doubled_and_a_missing_day_and_other_products(
    shop: ServedShop, log: pd.DataFrame, tmp_path: Path
) -> None:
    day, end = day_of(log), shop.moment.as_of
    twice, gone, newest = (end - timedelta(days=n) for n in (3, 5, 1))
    log.loc[day == newest, "product_id"] = "new-" + log.loc[day == newest, "product_id"]
    broken = pd.concat([log[day != gone], log[day == twice]])
    broken.to_csv(tmp_path / "broken.csv", index=False)
    found = stages(shop, tmp_path / "broken.csv", end)
    expected = {"doubled_day": "warning", "missing_day": "warning", "unknown_products": "severe"}
    assert codes(found) == {**expected, "short_log": "notice"}
    words = {banner.code: banner.words for banner in banners_of(found["readiness"].facts)}
    assert str(twice) in words["doubled_day"]
    assert words["missing_day"].startswith(str(gone))
    assert words["unknown_products"].startswith("100%")

    in_time, late, later = (stages(shop, tmp_path / "broken.csv", end + timedelta(days=n)) for n in (1, 2, 3))
    assert in_time == found, "another day makes nothing anew before it changes a banner"
    assert codes(late) == {**codes(found), "late_log": "warning"}
    assert later["readiness"].key != late["readiness"].key, "one day later, and it says so"
    assert late["moment"] == later["moment"] == found["moment"], "so the scores are not asked again"
    unfinished = stages(shop, tmp_path / "broken.csv", newest)
    assert Moment.load(unfinished["moment"]).as_of == newest, "the day that the run is for is not over"


def test_a_log_without_prices_is_refused_or_served_with_a_banner(
    shop: ServedShop, log: pd.DataFrame, tmp_path: Path
) -> None:
    log.drop(columns=["price", "amount"]).to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(UserError, match="lacks columns that the champion behavior 1 reads") as caught:
        stages(shop, tmp_path / "bare.csv", shop.moment.as_of)
    assert "price" in str(caught.value.found)
    served = stages(shop, tmp_path / "bare.csv", shop.moment.as_of, **{"serve.missing_columns": "serve"})
    assert codes(served)["missing_columns"] == "severe"


def test_unseen_products_are_counted_between_two_instants(shop: ServedShop, tmp_path: Path) -> None:
    events, moment = every_event(shop).dropna(subset="product_id"), shop.moment
    events = events[events["product_id"] != ""]
    fair, forgetful = shop.champion("shopper"), replace(shop.champion("shopper"), events=tmp_path)
    known = pd.DataFrame({"product_id": events["product_id"].drop_duplicates().sort_values().iloc[::2]})
    known.to_parquet(tmp_path / MARKET_FILES[0])
    newest = (moment.earlier(1).cutoff, moment.cutoff)
    nights = (moment.earlier(9).cutoff + timedelta(minutes=7), moment.earlier(5).cutoff)
    (one,), two = unseen_products(shop.clean, [(fair, [newest]), (forgetful, [newest, nights])])
    for (begin, end), found in zip((newest, nights), two, strict=True):
        own = events[(events["timestamp"] >= begin) & (events["timestamp"] < end)]
        assert found == (len(own) - own["product_id"].isin(known["product_id"]).sum(), len(own))
    assert one.every == two[0].every
    assert one.unknown < 0.2 * one.every < two[0].unknown
    assert unseen_products(shop.clean, []) == []
