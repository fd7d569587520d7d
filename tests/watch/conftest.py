"""A watched day of a shop of which nothing was served and nobody serves, made by hand."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import pandas as pd
import pytest

from behavior_tasks.serve.moment import moment_at
from behavior_tasks.watch import drift, handed_out, matured, traffic
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.day import Watched


@pytest.fixture(scope="session")
def bare_day() -> Callable[[Sequence[Finding]], Watched]:
    """Return a function that makes the day with some findings."""

    def make(findings: Sequence[Finding]) -> Watched:
        day = date(2026, 5, 5)
        index = pd.Index([day - timedelta(days=n) for n in (3, 2, 1)], name="day")
        came = traffic.Traffic(
            days=pd.DataFrame(7, index=index, columns=list(traffic.COLUMNS)),
            categories=pd.DataFrame({"toys": [1, 2, 3]}, index=index),
            moved=pd.DataFrame(columns=["category", "products", "dearer", "cheaper"]),
        )
        return Watched(
            moment=moment_at(day, "UTC"),
            matured=pd.DataFrame(columns=list(matured.COLUMNS)),
            handed_out=handed_out.table_of([]),
            drift=pd.DataFrame(columns=list(drift.COLUMNS)),
            traffic=came,
            findings=list(findings),
            champions={"shopper": None, "shopper_product": None},
        )

    return make
