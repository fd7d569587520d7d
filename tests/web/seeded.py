"""A state folder with something of everything that the engineer's page shows: two champions, gates, watched days."""

import json
import shutil
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from behavior_tasks.base.home import Home
from behavior_tasks.watch.alerts import Finding, keep_day
from behavior_tasks.watch.folders import day_folder

if TYPE_CHECKING:
    from tests.serve.world import ServedShop

TABLES = ("matured", "drift", "traffic", "categories", "handed_out")
LAST_DAY = date(2026, 11, 24)
FINDING = Finding(
    code="outage",
    about="search",
    level="severe",
    words="Searches fell to 3 on 2026-11-24, where 410 are usual, while the rest of the shop goes on.",
    next_step="look whether the shop still records searches, and do not train on these days",
)
HOSTILE = "<script>alert(1)</script>"
"""What a product, a column or a run may be called."""


def seed(home: Home, shop: "ServedShop") -> None:
    """Fill an empty state folder: the shop's runs and artifacts, versions 1 and 2 as champions, and watched days."""
    shutil.copytree(shop.home.root, home.root, dirs_exist_ok=True)
    crown_two(home, shop)
    watch_days(home)


def crown_two(home: Home, shop: "ServedShop") -> None:
    """Register two models under one name on a real store, and promote one after the other."""
    # What registers models takes seconds to import, and most tests here need none.
    from behavior_tasks.base.config import Config
    from behavior_tasks.registry import tracking, versions
    from tests.registry.crowned import keep_both, models
    from tests.registry.titles import WHEN

    keep_both(home, shop)
    config, before = Config(), None
    for number, (unit, model) in enumerate(sorted(models(home).items())):
        run_id = f"read-{unit}"
        tracking.start_tracking(home, config, run_id=run_id, name=run_id, tags={})
        version = versions.register(home, config, run_id=run_id, model=model, tags={}).version
        reason = f"promote: its F1 0.4{number} is better"
        verdict = {"decision": "promote", "reason": reason, "champion_version": before, "candidate": model.uri}
        told = {"version": version, "verdict": {**verdict, "test_hash": "abc"}, "run_id": run_id, "who": "nightly"}
        versions.promote(home, config, **told, when=WHEN + timedelta(days=number))
        before = version


def watch_days(home: Home, *, days: int = 12) -> None:
    """Write watched days: columns that drift, F1 that matured, one alert, and a column with a hostile name."""
    rng = np.random.default_rng(7)
    names = ["price_mean", "recency_days", "events_7d", "basket_value", "probability", HOSTILE]
    for number in range(days):
        day = LAST_DAY - timedelta(days=days - 1 - number)
        findings = [FINDING] if number == days - 1 else []
        standing = keep_day(home, findings, day)
        folder = day_folder(home, day)
        folder.mkdir(parents=True)
        excess = [max(0.0, 0.06 * number * (1 - 0.18 * place) + rng.normal(0, 0.02)) for place in range(len(names))]
        drift = pd.DataFrame({"unit": "shopper", "version": "2", "column": names, "day": day, "excess": excess})
        tables = {"drift": drift, "matured": matured(day, number + 1, rng)}
        for name in TABLES:
            tables.get(name, pd.DataFrame({"day": [day]})).to_parquet(folder / f"{name}.parquet", index=False)
        told = {"artifact": "artifact://watch/00000000000000000000", **standing.model_dump(mode="json")}
        (folder / "alerts.json").write_text(json.dumps(told), encoding="utf-8")
        (folder / "report.html").write_text(f"<!doctype html><title>{day}</title><p>watched</p>", encoding="utf-8")


def matured(day: date, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return judged days before a day, with the version's own test, and one day that waits."""
    days = [day - timedelta(days=7 + back) for back in reversed(range(count))]
    f1 = 0.41 + rng.normal(0, 0.02, count)
    judged = pd.DataFrame({"what": "day", "state": "judged", "as_of": days, "f1": f1, "examples": 900.0})
    judged = judged.assign(f1_lower=judged["f1"] - 0.05, f1_upper=judged["f1"] + 0.05)
    test = pd.DataFrame({"what": ["test"], "f1": [0.44]})
    waits = pd.DataFrame(
        {"what": ["day"], "state": ["not matured"], "as_of": [day], "until": [day + timedelta(days=7)]}
    )
    table = pd.concat([judged, waits, test], ignore_index=True).assign(unit="shopper", version="2")
    return table.assign(**{name: pd.to_datetime(table[name]) for name in ("as_of", "until")})
