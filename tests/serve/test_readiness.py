"""Readiness: each thing that spoils a night has its banner with its figures, and a good night has none."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.serve import readiness
from behavior_tasks.serve.banners import Banner, needs_a_look
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.log_days import LogDays, Unseen
from tests.serve.world import ServedShop

AS_OF = date(2026, 3, 30)  # a Monday
CONFIG = Config()


def log(*, without: tuple[date, ...] = (), doubled: dict[date, int] | None = None, **events: int) -> LogDays:
    """Ninety days with a hundred events each, none on Sundays, but for those that are named (`d0329=5`)."""
    days = [AS_OF - timedelta(days=n) for n in range(90, 0, -1)]
    counts = {day: 100 for day in days if day.weekday() != 6 and day not in without}
    counts |= {date(2026, int(name[1:3]), int(name[3:])): count for name, count in events.items()}
    return LogDays(events={d: n for d, n in counts.items() if n}, doubled=doubled or {}, later=0)


def about(days: LogDays, *, lookback_days: int = 60, as_of: date = AS_OF) -> dict[str, Banner]:
    return {b.code: b for b in readiness.about_days(days, as_of, CONFIG, lookback_days=lookback_days)}


def test_a_good_log_of_a_shop_that_rests_on_sundays_has_no_banner() -> None:
    assert about(log()) == {}
    assert about(log(), as_of=AS_OF - timedelta(days=3)) == {}


def test_an_empty_newest_day_is_severe_and_a_thin_one_a_warning() -> None:
    tuesday = AS_OF + timedelta(days=1)
    empty = about(log(), as_of=tuesday)["empty_day"]
    assert empty.level == "severe"
    assert "2026-03-30" in empty.words
    assert "100 events" in empty.words
    thin = about(log(d0330=19), as_of=tuesday)["thin_day"]
    assert thin.level == "warning"
    assert "19 events" in thin.words
    assert about(log(d0330=20), as_of=tuesday) == {}


def test_a_missing_day_warns_for_a_week_and_is_then_a_notice() -> None:
    new, old = date(2026, 3, 24), date(2026, 3, 10)
    assert about(log(without=(new,)))["missing_day"].level == "warning"
    found = about(log(without=(old,)))["missing_day"]
    assert found.level == "notice"
    assert found.words.startswith("2026-03-10 without an event; usually there are 100")
    both = about(log(without=(old, new, date(2026, 3, 11), date(2026, 3, 12))))["missing_day"]
    assert "2026-03-10, 2026-03-11, 2026-03-12 and 1 more day without" in both.words
    assert both.level == "warning"
    assert about(log(without=(date(2026, 1, 13),)), lookback_days=60) == {}, "before the lookback"


def test_a_day_that_came_twice_is_told_with_its_rows() -> None:
    new, old = date(2026, 3, 27), date(2026, 3, 5)
    found = about(log(doubled={new: 100}))["doubled_day"]
    assert found.level == "warning"
    assert "100 rows" in found.words
    assert about(log(doubled={old: 50}))["doubled_day"].level == "notice"
    assert about(log(doubled={new: 49})) == {}, "double clicks and the like"
    assert about(log(d0327=20, doubled={new: 20})) == {}, "too few to say anything"


def test_later_events_and_a_short_log_are_noticed_with_their_figures() -> None:
    found = about(replace(log(), later=1234), lookback_days=91)
    assert {code: banner.level for code, banner in found.items()} == {"later_events": "notice", "short_log": "notice"}
    assert "1,234 events" in found["later_events"].words
    assert "90 days" in found["short_log"].words
    assert not needs_a_look(found.values())


def test_a_late_log_is_late_from_the_third_day_on() -> None:
    last = log().last
    assert readiness.about_lateness(log(), last + timedelta(days=2), CONFIG) == []
    (banner,) = readiness.about_lateness(log(), last + timedelta(days=3), CONFIG)
    assert (banner.code, banner.level) == ("late_log", "warning")
    assert "3 days before" in banner.words


def aged(champion: Champion, tested: datetime) -> Champion:
    return replace(champion, settings=champion.settings.model_copy(update={"market": tested}))


def codes(champion: Champion, config: Config = CONFIG) -> dict[str, str]:
    cutoff = datetime.combine(AS_OF, datetime.min.time())
    return {b.code: b.level for b in readiness.about_champion(champion, AS_OF, cutoff, config)}


def test_a_champion_is_stale_after_its_days_and_dishonest_before_its_test(shop: ServedShop) -> None:
    champion, cutoff = shop.champion("shopper"), datetime(2026, 3, 30)
    assert codes(aged(champion, cutoff)) == {}
    assert codes(aged(champion, cutoff - champion.horizon - timedelta(days=30))) == {}
    assert codes(aged(champion, cutoff - champion.horizon - timedelta(days=31))) == {"stale_champion": "warning"}
    assert codes(aged(champion, cutoff + timedelta(days=1))) == {"trained_on_later": "severe"}


def test_other_settings_than_the_champions_are_told(shop: ServedShop) -> None:
    champion = aged(shop.champion("shopper"), datetime(2026, 3, 30))
    other = {"examples": {"horizon_days": 14, "lookback_days": 90}, "source": {"timezone": "Asia/Shanghai"}}
    assert codes(champion, Config.model_validate(other)) == {
        "other_horizon_days": "notice",
        "other_lookback_days": "notice",
        "other_timezone": "warning",
    }


def test_a_column_that_is_gone_refuses_or_is_severe(shop: ServedShop) -> None:
    champion = shop.champion("shopper")
    present = champion.settings.reader.present
    assert readiness.about_columns(champion, [*present, "brand"], "refuse") == []
    left = [column for column in present if column != "price"]
    with pytest.raises(UserError, match="lacks columns that the champion behavior 1 reads") as caught:
        readiness.about_columns(champion, left, "refuse")
    assert caught.value.found == "no value in price"
    (banner,) = readiness.about_columns(champion, left, "serve")
    assert (banner.code, banner.level) == ("missing_columns", "severe")


def test_unknown_products_are_severe_above_half_of_what_should_be_known(shop: ServedShop) -> None:
    def about(unknown: int, every: int, tested: float = 0.0) -> list[Banner]:
        units: tuple[Unit, ...] = ("shopper", "shopper_product")
        found = [
            readiness.NewProducts(
                champion=shop.champion(unit), newest=Unseen(unknown, every), tested=Unseen(round(1000 * tested), 1000)
            )
            for unit in units
        ]
        return readiness.about_products(found, AS_OF, CONFIG)

    assert about(50, 100) == []
    assert about(29, 29) == []
    (banner,) = about(51, 100)
    assert (banner.code, banner.level) == ("unknown_products", "severe")
    assert "51% of the 100 events" in banner.words
    assert "have never seen" in banner.words
    # Where two thirds are new on any day, two thirds are no news.
    assert about(83, 100, tested=0.66) == []
    assert len(about(84, 100, tested=0.66)) == 1


def test_a_unit_without_champion_is_noticed(shop: ServedShop) -> None:
    assert [b.code for b in readiness.about_units([shop.champion("shopper")])] == ["no_champion_shopper_product"]
    assert readiness.about_units([shop.champion("shopper"), shop.champion("shopper_product")]) == []


def test_nobody_to_score_is_refused_with_a_day_to_ask_for(shop: ServedShop) -> None:
    champion = shop.champion("shopper")
    readiness.need_events(log(), AS_OF, [champion])
    far = log().last + timedelta(days=champion.examples.lookback_days)
    readiness.need_events(log(), far, [champion])
    with pytest.raises(UserError, match="nobody to score") as caught:
        readiness.need_events(log(), far + timedelta(days=1), [champion])
    assert caught.value.next_step == "behavior score --as-of 2026-03-29"
    with pytest.raises(UserError, match="nobody to score"):
        readiness.need_events(LogDays(events={}, doubled={}, later=7), AS_OF, [champion])
