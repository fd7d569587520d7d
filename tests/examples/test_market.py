from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.market import Market, count_market
from tests.examples.little import Event, clean_log, event

EARLY, LATE = datetime(2026, 1, 31), datetime(2026, 3, 2)
MICROSECOND = timedelta(microseconds=1)
BOOKS = {"category": "books"}
EVENTS: list[Event] = [
    event("s", EARLY - timedelta(days=60), "browse", "old", price=1.0, **BOOKS),
    event("s", EARLY - MICROSECOND, "browse", "a", price=2.0, **BOOKS),
    event("t", EARLY, "purchase", "a", price=4.0, **BOOKS),
    event("t", LATE - timedelta(days=30), "browse", "b", price=5.5, category="toys"),
    event("t", LATE - timedelta(days=30) - MICROSECOND, "browse", "c", price=None, category="toys"),
    event("u", LATE - MICROSECOND, "click", "b", price=0.0001, category="unknown"),
    event("u", LATE - MICROSECOND, "search", None),
]


def count(folder: Path, events: Sequence[Event], *, buckets: int = 2, lookback_days: int = 365) -> Market:
    log = clean_log(folder / "log", events, buckets=buckets)
    out = folder / "market"
    out.mkdir()
    return count_market(
        open_events(log), [LATE, EARLY, LATE], out, lookback_days=lookback_days, engine=EngineConfig(workers=1)
    )


def rows(market: Market, what: str, cutoff: datetime) -> list[tuple[object, ...]]:
    connection = connect()
    market.create_views(connection, [cutoff])
    return connection.execute(f"SELECT * EXCLUDE (cutoff) FROM market_{what} ORDER BY ALL").fetchall()


def test_popularity_is_counted_in_the_days_before_each_cutoff(tmp_path: Path) -> None:
    market = count(tmp_path, EVENTS)
    # product, events, lines of purchases, place, products, events on all products
    assert rows(market, "products", EARLY) == [("a", 1, 0, 1, 2, 2), ("c", 1, 0, 1, 2, 2)]
    # A moment before the 30 days, c is none of the products that they know.
    assert rows(market, "products", LATE) == [("a", 1, 1, 2, 2, 3), ("b", 2, 0, 1, 2, 3)]


def test_mean_prices_of_categories_reach_back_as_far_as_the_lookback(tmp_path: Path) -> None:
    market = count(tmp_path / "long", EVENTS)
    assert rows(market, "categories", EARLY) == [("books", 15_000)]
    # (1 + 2 + 4) / 3 = 2.33333…, in whole ten-thousandths.
    assert rows(market, "categories", LATE) == [("books", 23_333), ("toys", 55_000)]
    short = count(tmp_path / "short", EVENTS, lookback_days=40)
    assert rows(short, "categories", LATE) == [("books", 30_000), ("toys", 55_000)]


def test_neither_buckets_nor_what_comes_at_or_after_a_cutoff_plays_a_part(tmp_path: Path) -> None:
    future = [
        event(shopper, LATE + later, "purchase", product, price=999.0, category=category)
        for shopper in ("s", "new")
        for later in (timedelta(0), timedelta(days=3))
        for product, category in (("a", "books"), ("b", "toys"), ("canary", "canary"))
    ]
    before = count(tmp_path / "a", EVENTS)
    after = count(tmp_path / "b", [*EVENTS, *future], buckets=1)
    for what in ("products", "categories"):
        for cutoff in (EARLY, LATE):
            assert rows(before, what, cutoff) == rows(after, what, cutoff)


def test_the_counts_of_the_buckets_are_put_away(tmp_path: Path) -> None:
    market = count(tmp_path, EVENTS)
    assert sorted(path.name.split("-")[0] for path in market.folder.iterdir()) == ["categories"] * 2 + ["products"] * 2
