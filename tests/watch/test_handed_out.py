"""What was handed out, judged: hand-made outputs of a small shop, against figures worked out on paper."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.home import Home
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.demand_table import SCHEMA, write_table
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.recommend_lists import FEWER, FILE
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import FOLDER, publish
from behavior_tasks.watch.handed_out import look_back
from behavior_tasks.watch.kept import outputs_of
from behavior_tasks.watch.matured import Log
from tests.watch.events import write_events

ZONE, DAY, HORIZON = "Europe/Berlin", date(2026, 5, 8), 7
UNTIL = DAY + timedelta(days=HORIZON)
END = datetime(2026, 5, 14, 22)
"""Of the horizon: midnight in Berlin, as UTC."""
PROMISED = {"value": 0.4, "lower": 0.3, "upper": 0.5}


def event(shopper: str, instant: datetime, action: str, product: str, pieces: float = 1, amount: float = 0.0) -> Any:
    told = {"shopper": shopper, "timestamp": instant, "action": action, "product_id": product}
    return {**told, "quantity": pieces, "amount": amount, "category": "toys"}


BEFORE = [
    *(event("a", datetime(2026, 5, 1 + n), "browse", product) for n, product in enumerate(("p1", "p2"))),
    event("b", datetime(2026, 5, 2), "purchase", "p1"),
    event("c", datetime(2026, 5, 3), "click", "p3"),
    event("d", datetime(2026, 5, 3), "search", ""),
]
WITHIN = [
    event("a", datetime(2026, 5, 8), "purchase", "p1", pieces=2, amount=20),
    event("b", END - timedelta(minutes=1), "purchase", "p3", amount=5),
    event("e", datetime(2026, 5, 9), "purchase", "p4", pieces=3, amount=9),  # neither was known
]
LATE = [event(who, END + timedelta(minutes=1), "purchase", "p2", pieces=50, amount=500) for who in "ac"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Handed out for DAY: demand, recommendations and one audience."""
    home = Home(tmp_path / "home")
    hand_out(home, "demand", demand, {"returns": "gross", "interval": 0.8, "method": "naive", "figures": FIGURES})
    study = {"reported": {"methods": [{"served": False}, {"method": "x", "served": True, "hit": PROMISED}]}}
    told = {"lookback_days": 30, "bought": "keep", "per_category": 0, "method": "x", "study": study}
    hand_out(home, "recommendations", recommendations, told)
    hand_out(home, "audiences", audiences, {"method": "champion", "audiences": [AUDIENCE]})
    return home


FIGURES = [{"method": "naive", "level": "product", "wape": 1.2, "lower": 1.1, "upper": 1.3, "coverage": 0.75}]
AUDIENCE: dict[str, Any] = {
    "name": "likely",
    "contact": True,
    "contacts": 2,
    "control": 1,
    "buyers": {"expected": 1.0, "lower": 0.0, "upper": 2.0},
    "set_right": {"expected": 0.5, "lower": 0.0, "upper": 1.0},
    "amount": {"expected": 10.0, "lower": 1.0, "upper": 30.0},
    "costs": Costs().model_dump(),
}


def hand_out(home: Home, stage: str, write: Callable[[Path], object], facts: Mapping[str, Any]) -> None:
    def work(out: Path, key: str) -> Output:
        (out / FOLDER).mkdir()
        write(out / FOLDER)
        rows = Rows(unit_in="rows", unit_out="rows", rows_in=1, rows_out=1)
        return Output(rows=rows, facts={"horizon_days": HORIZON, "banners": [], **facts})

    built = ArtifactStore(home.artifacts).build(stage=stage, code="", settings=dict(facts), inputs={}, work=work)
    publish(home, built.artifact, DAY)


def demand(folder: Path) -> None:
    rows = [("p1", "1", 0.0, 3.0, 4.0), ("p2", "2", 1.0, 4.0, 0.0), ("p3", "0.5", 0.2, 0.9, 0.0)]
    told = [("product", *row) for row in rows] + [("total", None, "3.5", 1.0, 8.0, 4.0)]
    columns = ["level", "product_id", "expected", "lower", "upper", "last_horizon"]
    table = pd.DataFrame(told, columns=columns).reindex(columns=SCHEMA.names)
    table["expected"] = table["expected"].map(lambda value: Decimal(value).quantize(Decimal("0.001")))
    write_table(table, folder)


def recommendations(folder: Path) -> None:
    lists = {"a": ["p2", "p1"], "b": ["p1", "p2"], "c": ["p1"]}
    rows = [(who, rank, product) for who, mine in lists.items() for rank, product in enumerate(mine, start=1)]
    pd.DataFrame(rows, columns=["shopper", "rank", "product_id"]).to_parquet(folder / FILE)
    pd.DataFrame([("d", 0, "why")], columns=["shopper", "products", "why"]).to_csv(folder / FEWER, index=False)


def audiences(folder: Path) -> None:
    members = pd.DataFrame({"shopper": ["a", "b", "c"], "group": ["contact", "control", "contact"]})
    members.assign(audience="likely", probability=0.5).to_parquet(folder / MEMBERS)


def judged(home: Home, *, events: list[Any] | None = None, until: date = UNTIL) -> pd.DataFrame:
    """Return what is found when the log is known up to a day; the buckets are cut in the middle."""
    rows = sorted(BEFORE + WITHIN + LATE if events is None else events, key=lambda row: row["shopper"])
    folder = home.root.parent
    cut = [write_events(folder / f"{n}.parquet", part) for n, part in enumerate((rows[:4], rows[4:])) if part]
    today = moment_at(UNTIL + timedelta(days=1), ZONE)
    log = Log(events=cut, moment=today, first=datetime(2026, 5, 1), known_until=until)
    engine = EngineConfig(workers=1, buckets=2)
    return look_back(home, log, days=90, place=Place(home=home, engine=engine, device="cpu", threads=1))


def figures(table: pd.DataFrame, application: str) -> dict[str, dict[str, Any]]:
    rows = table[table["application"] == application].to_dict("records")
    return {row["figure"]: {str(name): value for name, value in row.items()} for row in rows}


def test_every_application_is_judged_by_what_came_within_its_horizon_alone(home: Home) -> None:
    table = judged(home)
    assert set(table["state"]) == {"judged"}
    assert set(table["as_of"]) == {DAY}
    forecast = figures(table, "demand")
    wape = forecast["wape"]
    # Sold: p1 2, p3 1, p4, which nobody knew, 3. Told were 1, 2 (of p2) and a half.
    assert (wape["value"], wape["rival"]) == pytest.approx(((1 + 2 + 0.5 + 3) / 6, (2 + 0 + 1 + 3) / 6))
    assert [wape[f"promised{end}"] for end in ("", "_lower", "_upper")] == [1.2, 1.1, 1.3]
    assert wape["lower"] <= wape["value"] <= wape["upper"]
    inside = forecast["inside"]
    assert [inside[name] for name in ("value", "count", "asked", "promised")] == pytest.approx([1 / 3, 3, 0.8, 0.75])
    assert [forecast["pieces"][name] for name in ("value", "promised", "rival")] == [6, 3.5, 4]
    shop = forecast["shop_wape"]
    assert (shop["value"], shop["rival"]) == pytest.approx((2.5 / 6, 2 / 6))

    lists = figures(table, "recommendations")
    # Of those with a list a found p1 in the second place, and b did not find p3; c bought too late.
    assert [lists[name]["value"] for name in ("hit", "recall", "mrr")] == [0.5, 0.5, 0.25]
    assert lists["ndcg"]["value"] == pytest.approx(1 / math.log2(3) / 2)
    assert {row["count"] for row in lists.values()} == {2}
    assert [lists["hit"][f"promised{end}"] for end in ("", "_lower", "_upper")] == [0.4, 0.3, 0.5]
    assert np.isnan(lists["mrr"]["promised"])

    audience = figures(table, "audiences")
    assert [audience[name]["value"] for name in ("buyers", "buyers_set_right", "amount")] == [1, 1, 20]
    assert [audience[name]["promised_upper"] for name in ("buyers", "buyers_set_right", "amount")] == [2, 1, 30]
    assert (audience["lift"]["note"][:19], audience["buyers"]["about"]) == ("not enough data yet", "likely")
    assert np.isnan(audience["lift"]["value"])


def test_until_the_horizon_is_over_it_is_said_when_it_will_be(home: Home) -> None:
    waiting = judged(home, until=UNTIL - timedelta(days=1))
    assert set(waiting["state"]) == {"not matured"}
    assert set(waiting["until"]) == {UNTIL}
    assert len(waiting) == 3


def test_a_figure_is_made_again_only_when_an_event_that_it_stands_on_has_changed(home: Home) -> None:
    judged(home)
    for file in (home.cache / "watch" / "handed_out").iterdir():
        rows = [{**row, "count": -1} for row in json.loads(file.read_bytes())]
        file.write_text(json.dumps(rows))

    def kept(events: list[Any]) -> set[str]:
        table = judged(home, events=events)
        return set(table[table["count"] == -1]["application"])

    everything = {"demand", "recommendations", "audiences"}
    assert kept([*LATE, *WITHIN, *BEFORE]) == everything
    assert kept([*BEFORE, *WITHIN]) == everything, "what comes after the horizon is none of its business"
    older = event("a", datetime(2026, 5, 2), "purchase", "p1")
    assert kept([older, *BEFORE, *WITHIN]) == {"demand", "audiences"}, "what somebody had bought before counts there"
    dearer = [{**row, "amount": row["amount"] + 1} for row in WITHIN]
    assert kept([*BEFORE, *dearer]) == {"demand", "recommendations"}, "what it cost is nothing to pieces and lists"
    assert kept([*BEFORE, *WITHIN, event("c", datetime(2026, 5, 9), "purchase", "p1")]) == set()


def test_where_the_log_no_longer_holds_whom_it_was_told_of_nothing_is_said(home: Home) -> None:
    table = judged(home, events=[row for row in BEFORE + WITHIN if row["shopper"] != "a"])
    assert set(table[table["application"] == "audiences"]["state"]) == {"log changed"}
    assert set(table[table["application"] == "recommendations"]["state"]) == {"log changed"}
    no_product = judged(home, events=[row for row in BEFORE + WITHIN if row["product_id"] != "p2"])
    assert set(no_product[no_product["application"] == "demand"]["state"]) == {"log changed"}


def test_nothing_bought_and_a_damaged_output_stop_nothing(home: Home) -> None:
    (home.served / "demand" / f"date={DAY}" / "demand.csv").unlink()
    table = judged(home, events=BEFORE)
    states = table.groupby("application")["state"].agg(set).to_dict()
    assert states == {"demand": {"damaged"}, "recommendations": {"nothing came"}, "audiences": {"judged"}}
    assert figures(table, "audiences")["buyers"]["value"] == 0
    told = outputs_of(table.assign(as_of=pd.to_datetime(table["as_of"]), until=pd.to_datetime(table["until"])))
    assert [one["state"] for one in told["demand"]] == ["damaged"]
    assert told["audiences"][0]["parts"]["likely"]["buyers"]["promised"] == 1


def test_a_shop_that_handed_nothing_out_has_an_empty_table(tmp_path: Path) -> None:
    table = judged(Home(tmp_path / "none"))
    assert (len(table), outputs_of(table)) == (0, {})
