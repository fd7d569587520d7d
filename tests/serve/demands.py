"""Histories of sales for the tests of demand: made of numbers, or read from little logs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.config import EngineConfig, ExamplesConfig
from behavior_tasks.data.events import open_events
from behavior_tasks.serve.demand_log import History, Unseen, read_history
from behavior_tasks.serve.demand_windows import Past
from behavior_tasks.serve.moment import moment_at
from tests.examples.little import START, Event, clean_log, event

HORIZON = 7


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def sale(product: str, at: float, pieces: float = 1, shopper: str = "a", **more: object) -> Event:
    return event(shopper, day(at), "purchase", product, quantity=pieces, **more)


def read(
    folder: Path,
    events: Sequence[Event],
    days: int,
    *,
    examples: ExamplesConfig | None = None,
    net: bool = False,
    buckets: int = 2,
    shuffle: int | None = None,
    past: int = 26,
) -> History:
    """Read a log that begins with START, as it is so many days later."""
    whole = [event("z", START, "browse", "first"), *events]
    log = clean_log(folder / "store", whole, buckets=buckets, shuffle=shuffle)
    asked = Past(
        moment=moment_at(day(days).date(), "UTC"),
        first=START,
        horizon_days=HORIZON,
        most=past,
        examples=examples,
        net=net,
    )
    return read_history(open_events(log), asked, folder / "scratch", engine=EngineConfig(workers=1))


def made(units: np.ndarray, *, categories: Sequence[str] | None = None, unseen: float = 0.0) -> History:
    """Return a history of sales (P, B), one piece a buyer, of products that were always there."""
    products, windows = units.shape
    end = day(HORIZON * windows).date()
    starts = tuple(moment_at(end, "UTC").earlier(HORIZON * (windows - n)) for n in range(windows + 1))
    return History(
        products=pd.DataFrame(
            {
                "product_id": [f"p{number:04d}" for number in range(products)],
                "category": list(categories) if categories else ["things"] * products,
                "product_name": None,
                "price": 2.0,
                "first": START,
            }
        ),
        starts=starts,
        horizon_days=HORIZON,
        units=units.astype(float),
        buyers=units.astype(float),
        squares=units.astype(float),
        unseen=Unseen(units=unseen * units, buyers=unseen * units, squares=unseen * units),
        exposure=np.ones(units.shape),
        seasonal=np.full((products, windows + 1), np.nan),
        season_days=28,
    )
