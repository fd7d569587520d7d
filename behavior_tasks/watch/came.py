"""What came: one output that was handed out, and today's log, in; its figures beside what it promised out.

Each application is measured by its own functions, as its backtest was. The one thing to know: only what came within the
horizon counts, and where the log no longer holds many of the shoppers or products that were told of, nothing is said.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.serve.audiences_facts import outcomes_at, with_outcomes
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_lift import measure_lift, wilson
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.demand import served_figure
from behavior_tasks.serve.demand_backtest import held, wape_of
from behavior_tasks.serve.demand_intervals import counts
from behavior_tasks.serve.demand_log import read_history
from behavior_tasks.serve.demand_table import read_table
from behavior_tasks.serve.demand_windows import Past
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.recommend_lists import FEWER, FILE
from behavior_tasks.serve.recommend_measure import AT, FIGURES, NOBODY, intervals, measure_lists
from behavior_tasks.serve.recommend_study import DRAWING, Rules
from behavior_tasks.serve.recommend_world import Bought, Sources
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import Served
from behavior_tasks.watch.matured import Log

Row = dict[str, Any]
"""Of `watch.handed_out.COLUMNS`, those that are known; one row a figure."""
MOST_GONE = 0.05
"""Share of the shoppers, or products, of an output that may have left the log since."""
JUDGED, GONE, NOTHING = "judged", "log changed", "nothing came"


def demand_came(served: Served, log: Log, place: Place) -> list[Row]:
    """Return how a forecast of demand did: `wape` and `inside` of its products, `pieces` and `shop_wape` of the shop.

    A product that nobody knew then was expected to sell nothing, by every method. The naive forecast, which stands
    in the table as `last_horizon`, is the rival.
    """
    table, facts = read_table(served.folder), served.facts
    horizon_days = int(facts["horizon_days"])
    horizon = Past(
        moment=moment_at(served.as_of + timedelta(days=horizon_days), log.moment.timezone),
        first=log.first,
        horizon_days=horizon_days,
        most=1,
        examples=None,
        net=facts["returns"] == "net",
    )
    with temporary_folder(place.home, "came") as scratch:
        history = read_history(log.events, horizon, scratch / "sales", engine=place.engine)
    actual = pd.Series(history.units[:, -1], index=history.products["product_id"], name="actual")
    told = table[table["level"] == "product"].set_index("product_id")
    if _gone(told.index, actual.index):
        return [{"state": GONE}]
    if not actual.any():
        return [{"state": NOTHING}]
    columns = told[["expected", "lower", "upper", "last_horizon"]].astype(float)
    total = table[table["level"] == "total"].iloc[0]
    of_products = _demand_of_products(facts, columns.join(actual, how="outer").fillna(0.0))
    return [*of_products, *_demand_of_shop(total, float(actual.sum()), facts["method"])]


def _demand_of_products(facts: Mapping[str, Any], table: pd.DataFrame) -> list[Row]:
    expected, sold = table["expected"].to_numpy(), table["actual"].to_numpy()
    promises = pd.DataFrame(facts["figures"])
    promised = {name: served_figure(promises, facts["method"], name) for name in ("wape", "lower", "upper", "coverage")}
    row: Row = {"state": JUDGED, "method": facts["method"], "count": int(counts(expected).sum())}
    rows = [
        {
            **row,
            **_with_interval("wape", *wape_of(np.abs(expected - sold), sold)),
            "promised": promised["wape"],
            "promised_lower": promised["lower"],
            "promised_upper": promised["upper"],
            "rival": wape_of(np.abs(table["last_horizon"].to_numpy() - sold), sold)[0],
        }
    ]
    inside = held(table["lower"].to_numpy(), table["upper"].to_numpy(), expected, sold)
    if len(inside):
        share = _with_interval("inside", float(inside.mean()), *wilson(int(inside.sum()), len(inside)))
        rows.append({**row, **share, "promised": promised["coverage"], "asked": float(facts["interval"])})
    return rows


def _demand_of_shop(total: pd.Series, came: float, method: str) -> list[Row]:
    row: Row = {"state": JUDGED, "method": method, "count": 1}
    hoped, before = float(total["expected"]), float(total["last_horizon"])
    interval = {"promised_lower": float(total["lower"]), "promised_upper": float(total["upper"])}
    return [
        {**row, "figure": "pieces", "value": came, "promised": hoped, **interval, "rival": before},
        {**row, "figure": "shop_wape", "value": abs(hoped - came) / came, "rival": abs(before - came) / came},
    ]


def recommendations_came(served: Served, log: Log, place: Place) -> list[Row]:
    """Return how lists of products did among the shoppers who had one and bought: FIGURES, `count` shoppers."""
    facts = served.facts
    sources = Sources(
        events=log.events,
        place=place,
        horizon_days=int(facts["horizon_days"]),
        lookback_days=int(facts["lookback_days"]),
        reading=None,
        products=None,
    )
    then = sources.read(moment_at(served.as_of, log.moment.timezone))
    told = pd.read_parquet(served.folder / FILE, columns=["shopper", "rank", "product_id"])
    # Some got no product at all: their lists are empty, and count.
    fewer = pd.read_csv(served.folder / FEWER, dtype={"shopper": str})["shopper"]
    asked = pd.Index(told["shopper"]).union(pd.Index(fewer.astype(str))).unique()
    people = pd.Index(then.shoppers)
    if _gone(asked, people) or _gone(pd.Index(told["product_id"].unique()), pd.Index(then.products)):
        return [{"state": GONE}]
    view = Rules(bought=facts["bought"], per_category=facts["per_category"]).view
    who, targets = Bought.after(sources, then).of(then, view).by_shopper()
    mine = np.isin(who, people.get_indexer(asked))
    who, targets = who[mine], [target for target, kept in zip(targets, mine, strict=True) if kept]
    if not len(who):
        return [{"state": NOTHING}]
    row = pd.Index(who).get_indexer(people.get_indexer(told["shopper"]))
    first = (row >= 0) & (told["rank"] <= AT).to_numpy()
    # A product that has left the log is nobody's purchase: the index gives -1, which is NOBODY.
    products = pd.Index(then.products).get_indexer(told["product_id"][first])
    lists = np.full((len(who), AT), NOBODY)
    lists[row[first], told["rank"].to_numpy()[first] - 1] = products
    reach = then.count_shoppers(np.ones(len(then.who), dtype=bool)) / max(1, len(then.shoppers))
    measured = measure_lists(lists, targets, reach, then.recent > 0)
    bounds = intervals({"served": measured}, DRAWING)["served"]
    promised = _promised_lists(facts)
    return [
        {
            "state": JUDGED,
            "method": facts["method"],
            "count": len(who),
            **_with_interval(figure, measured.mean(figure), *bounds[figure]),
            **promised.get(figure, {}),
        }
        for figure in FIGURES
    ]


def _promised_lists(facts: Mapping[str, Any]) -> dict[str, Row]:
    """Return what the study promised of the method that serves; it may be nothing."""
    exam = facts["study"]["reported"]
    found: Mapping[str, Any] = next((one for one in exam["methods"] if one["served"]), {}) if exam is not None else {}
    return {
        figure: {"promised": told["value"], "promised_lower": told["lower"], "promised_upper": told["upper"]}
        for figure, told in found.items()
        if figure in FIGURES
    }


def audiences_came(served: Served, log: Log, place: Place) -> list[Row]:
    """Return how each list did: `buyers`, `buyers_set_right` and `amount` of those contacted, and its `lift`.

    `buyers_set_right` has the interval that the last horizon had set right. The lift is extra buyers, or a note on why
    nothing can be said yet.
    """
    horizon_days = int(served.facts["horizon_days"])
    begin, end = (moment_at(served.as_of + timedelta(days=n), log.moment.timezone) for n in (0, horizon_days))
    members = pd.read_parquet(served.folder / MEMBERS)
    if _gone(pd.Index(members["shopper"].unique()), pd.Index(list(log.shoppers))):
        return [{"state": GONE}]
    bought = outcomes_at(log.events, begin.cutoff, end.cutoff, memory_mb=place.engine.memory_mb)
    came = with_outcomes(members, bought)
    rows = []
    for told in served.facts["audiences"]:
        mine = came[came["audience"] == told["name"]]
        if told["contacts"]:
            rows += _audience_rows(served, told, mine)
    return rows or [{"state": NOTHING}]


def _audience_rows(served: Served, told: Mapping[str, Any], members: pd.DataFrame) -> list[Row]:
    contacted = members[members["group"] != "control"]
    row: Row = {"state": JUDGED, "about": told["name"], "method": served.facts["method"], "count": len(contacted)}
    real = {
        "buyers": (float(contacted["bought"].sum()), told["buyers"]),
        "buyers_set_right": (float(contacted["bought"].sum()), told["set_right"]),
        "amount": (float(contacted["amount"].sum()), told["amount"]),
    }
    rows = [
        {
            **row,
            "figure": figure,
            "value": value,
            "promised": estimate["expected"],
            "promised_lower": estimate["lower"],
            "promised_upper": estimate["upper"],
        }
        for figure, (value, estimate) in real.items()
        if estimate is not None
    ]
    if told["contact"] and told["control"]:
        has_amounts = told["amount"] is not None
        lift = measure_lift(members, Costs.model_validate(told["costs"]), has_amounts=has_amounts)
        if lift["enough"]:
            more = lift["more"]["buyers"]
            rows.append({**row, **_with_interval("lift", more["found"], more["lower"], more["upper"])})
        else:
            rows.append({**row, "figure": "lift", "note": f"not enough data yet: {lift['why']}"})
    return rows


MEASURED: Mapping[str, Callable[[Served, Log, Place], list[Row]]] = {
    "demand": demand_came,
    "recommendations": recommendations_came,
    "audiences": audiences_came,
}
"""Application → how what it handed out is measured; risk has no labels."""


def _gone(told: pd.Index, there: pd.Index) -> bool:
    """Whether more of what was told of has left the log than a figure bears."""
    return bool(len(told)) and float((~told.isin(there)).mean()) > MOST_GONE


def _with_interval(figure: str, value: float, lower: float, upper: float) -> Row:
    return {"figure": figure, "value": value, "lower": lower, "upper": upper}
