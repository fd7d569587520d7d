"""Sales by product and past horizon, read from little logs whose truth is known."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.serve.demand_log import History
from behavior_tasks.serve.demand_windows import YEAR_DAYS
from tests.examples.little import event
from tests.serve.demands import day, read, sale


def of(history: History, product: str, values: np.ndarray) -> list[float]:
    return values[history.products["product_id"].tolist().index(product)].tolist()


def test_pieces_lie_in_their_windows_and_nothing_after_the_moment_counts(tmp_path: Path) -> None:
    sales = [sale("mug", 0.5, 2), sale("mug", 7, 3, "b"), sale("mug", 13.99, 0.25), sale("mug", 14, 500)]
    later = [sale("late", 14), event("a", day(20), "browse", "canary", category="future")]
    history = read(tmp_path, [*sales, *later], 14)
    assert of(history, "mug", history.units) == [2, 3.25]
    assert of(history, "mug", history.buyers) == [1, 2]
    assert of(history, "mug", history.squares) == pytest.approx([4, 9.0625], abs=0.001)
    assert history.products["product_id"].tolist() == ["first", "mug"]


def test_without_quantities_a_purchase_is_a_piece_and_other_actions_are_none(tmp_path: Path) -> None:
    events = [event("a", day(1), action, "mug") for action in ("purchase", "browse", "add_to_cart", "return")]
    history = read(tmp_path, events, 7)
    assert of(history, "mug", history.units) == [1]


def test_net_takes_off_what_the_same_shopper_gives_back_in_the_same_window(tmp_path: Path) -> None:
    events = [sale("mug", 1, 10), event("a", day(2), "return", "mug", quantity=4), sale("mug", 3, 5, "b")]
    events += [event("c", day(3), "return", "mug", quantity=3), event("b", day(9), "return", "mug", quantity=5)]
    events += [sale("cup", 1, 2), event("a", day(1), "return", "cup", quantity=9)]
    gross = read(tmp_path / "gross", events, 14)
    net = read(tmp_path / "net", events, 14, net=True)
    assert of(gross, "mug", gross.units) == [15, 0]
    assert of(net, "mug", net.units) == [11, 0], "who bought nothing gives nothing back of this window"
    assert of(net, "cup", net.units) == [0, 0], "no fewer than none"


def test_unseen_is_what_people_buy_who_had_not_touched_it_in_the_lookback(tmp_path: Path) -> None:
    examples = ExamplesConfig(unit="shopper_product", lookback_days=7, candidates=1)
    known = [event("a", day(6), "browse", "mug"), sale("mug", 8, 2, "a")]
    stranger = [sale("mug", 8, 5, "b")]
    long_ago = [event("c", day(1), "browse", "mug"), sale("mug", 15, 3, "c")]
    pushed_out = [event("d", day(4), "browse", "mug"), event("d", day(5), "browse", "cup"), sale("mug", 9, 7, "d")]
    history = read(tmp_path, [*known, *stranger, *long_ago, *pushed_out], 21, examples=examples)
    assert history.unseen is not None
    assert of(history, "mug", history.unseen.units) == [0, 5 + 7, 3]
    assert of(history, "mug", history.unseen.buyers) == [0, 2, 1]
    assert of(history, "mug", history.unseen.squares) == [0, 25 + 49, 9]
    assert of(history, "mug", history.units) == [0, 14, 3]


def test_neither_buckets_nor_the_order_of_rows_matter(tmp_path: Path) -> None:
    names = [{"product_name": name, "category": name, "price": float(n)} for n, name in enumerate("abc")]
    events = [sale("mug", 1 + n / 10, 0.1 * n, f"s{n % 4}", **names[n % 3]) for n in range(12)]
    examples = ExamplesConfig(unit="shopper_product", lookback_days=7)
    one = read(tmp_path / "one", events, 7, buckets=1, examples=examples)
    other = read(tmp_path / "other", events, 7, buckets=3, shuffle=5, examples=examples)
    pd.testing.assert_frame_equal(one.products, other.products)
    assert one.products.loc[1, "category"] == "c", "the newest"
    assert (one.units == other.units).all()
    assert (one.squares == other.squares).all()


def test_windows_reach_back_as_far_as_the_log_and_seasons_too(tmp_path: Path) -> None:
    history = read(tmp_path / "short", [sale("mug", 1, 4), sale("mug", 30, 1)], 36)
    assert history.windows == 5
    assert [start.as_of.day for start in history.starts[:2]] == [2, 9]
    assert history.season_days == 28
    seasonal = of(history, "mug", history.seasonal)
    assert np.isnan(seasonal[:4]).all(), "the log begins 28 days before the fifth window"
    assert seasonal[4:] == [4, 0]
    long = read(tmp_path / "long", [sale("mug", 8, 4), sale("mug", 370, 1)], YEAR_DAYS + 14)
    assert long.season_days == YEAR_DAYS
    assert of(long, "mug", long.seasonal)[-2:] == [4, 0]


def test_a_log_shorter_than_a_horizon_still_has_one_window(tmp_path: Path) -> None:
    history = read(tmp_path, [sale("mug", 1, 4)], 3)
    assert history.windows == 1
    assert of(history, "mug", history.units) == [4]


def test_a_product_is_there_from_its_first_event_on(tmp_path: Path) -> None:
    events = [event("a", day(10.5), "browse", "new"), event("a", day(0.5), "browse", "old")]
    history = read(tmp_path, events, 14)
    assert of(history, "new", history.exposure) == [0, 0.5]
    assert of(history, "old", history.exposure) == [1, 1], "what came with the log was there before"


def test_midnight_is_the_shops(tmp_path: Path) -> None:
    history = read(tmp_path, [], 7)
    assert history.starts[-1].cutoff == datetime(2026, 1, 8)
