"""A shop's outputs as a night hands them out, made at once: scores drawn by luck, names that want to do harm."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.home import Home
from behavior_tasks.data.keys import fingerprint, identity_key
from behavior_tasks.pipeline.runs import RunRecord, keep_run
from behavior_tasks.serve.audiences_curve import write_curves
from behavior_tasks.serve.audiences_files import JOURNEY_COLUMNS, JOURNEYS, MEMBER_COLUMNS, MEMBERS, TABLE
from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.serve.audiences_pick import pick_all, with_ranks
from behavior_tasks.serve.audiences_rules import Audience, Audiences, Costs
from behavior_tasks.serve.audiences_tell import tell
from behavior_tasks.serve.served import FOLDER, Served, publish

DAY = date(2026, 3, 1)
NOW = datetime.now(UTC)
HARM = '<script>alert("x")</script>'
FORMULA = '=HYPERLINK("http://evil","x")'
HOLDOUT = 0.2
BANNERS = [
    {"code": "stale_champion", "level": "warning", "words": "It is stale: 99 days.", "next_step": "behavior run"},
    {"code": "not_in_any_catalogue", "level": "notice", "words": "Said as it stands.", "next_step": "nothing"},
]


def everybody(shoppers: int) -> pd.DataFrame:
    """Return the scores of everybody, with shoppers of equal probability among them."""
    random = np.random.default_rng(5)
    names = np.char.zfill(np.arange(shoppers).astype(str), 20)
    probability = np.round(random.beta(1, 6, shoppers), 3)
    scores = pd.DataFrame({"shopper": names.astype(object), "probability": probability})
    scores["decision"], scores["log_mean"], scores["log_std"] = probability > 0.3, random.normal(3, 1, shoppers), 0.5
    scores["expected_amount"] = probability * np.exp(scores["log_mean"] + 0.125)
    return with_ranks(scores, pd.DataFrame({"shopper": scores["shopper"], "past_spend": 1.0}))


def serve_audiences(home: Home, shoppers: int = 400, *, day: date = DAY) -> Served:
    """Hand out three lists: likely buyers, those to be left alone, and one that nobody is on."""
    table, key = everybody(shoppers), identity_key(home)
    rules = Audiences(
        audiences=[
            Audience(name="likely", title="Likely buyers", where={"probability_quantile": {"min": 0.7}}),
            Audience(name="alone", title=HARM, where={"probability_quantile": {"max": 0.2}}, contact=False),
            Audience(name="whales", about=HARM, where={"probability": {"min": 1}}),
        ]
    )

    def write(folder: Path) -> dict[str, Any]:
        picked = pick_all(rules, table, holdout=HOLDOUT, draw=Holdout(key).drawn)
        for one in picked:
            one.members["reason"] = "carts: 2 left in the cart (+3.2); visits: last seen 1.5 days ago (−0.4)"
        frames = [one.members.assign(audience=one.audience.name, campaign=one.audience.drawn_for) for one in picked]
        pd.concat(frames, ignore_index=True)[list(MEMBER_COLUMNS)].to_parquet(folder / MEMBERS)
        table.to_parquet(folder / TABLE)
        write_curves(folder, table, holdout=HOLDOUT, draw=Holdout(key).drawn)
        told = [tell(one, Costs(), None) for one in picked]
        first = [row["shopper"] for row in told[0]["first"][:3]]
        words = {"en": f"User A browsed {HARM}.", "zh": "用户A浏览了商品B。"}
        rows = [("likely", one, language, journey) for one in first for language, journey in words.items()]
        pd.DataFrame(rows, columns=list(JOURNEY_COLUMNS)).to_parquet(folder / JOURNEYS)
        end = datetime(day.year, day.month, day.day) + timedelta(days=7)
        return {
            **{
                "as_of": day.isoformat(),
                "cutoff": f"{day}T00:00:00",
                "end": end.isoformat(),
                "timezone": "Asia/Shanghai",
            },
            **{"horizon_days": 7, "method": "champion", "version": "3", "identity_key": fingerprint(key)},
            **{"holdout": HOLDOUT, "overlap": "first", "scored": shoppers, "on_lists": sum(map(len, frames))},
            **{"audiences": told, "compared": None, "compared_at": None, "in_words": None, "banners": BANNERS},
        }

    return _serve(home, "audiences", write, day)


def scored_once(home: Home, *, least: int = 1) -> None:
    """Leave a scoring behind, of a log that nobody kept; `least` is its `privacy.min_group`."""
    config = changed(Config(), {"source.timezone": "Asia/Shanghai", "privacy.min_group": least})
    fixed: dict[str, Any] = {"name": "", "day": DAY, "input": None, "preset": "canonical", "as_of": DAY}
    keep_run(home, RunRecord(run_id="score-1", trigger="scoring", config=config, **fixed))


def serve_products(home: Home) -> None:
    """Hand out recommendations, demand and risk, with products whose names want to do harm."""

    def recommend(folder: Path) -> dict[str, Any]:
        rows = [("p1", HARM, 90, 20), ("p2", "", 10, 0)]
        pd.DataFrame(rows, columns=["product_id", "product_name", "lists", "first"]).to_csv(
            folder / "products.csv", index=False
        )
        hit = {"value": 0.4, "lower": 0.3, "upper": 0.5}
        methods = [{"method": "product scores", "served": True, "hit": hit}]
        methods += [{"method": "item-kNN", "served": False, "hit": hit | {"value": 0.3}}]
        exam = {"as_of": "2026-02-22", "shoppers": 55, "methods": methods}
        told = {"top": 10, "shoppers": 100, "products": 2, "method": "product scores", "why": "it is best"}
        return {**told, "study": {"reported": exam}, "banners": []}

    def demand(folder: Path) -> dict[str, Any]:
        rows: dict[str, list[Any]] = {
            "level": ["product", "product", "category", "total"],
            "product_id": ["p1", "p2", None, None],
            "product_name": [HARM, None, None, None],
            "category": ["toys", "toys", "toys", None],
            "expected": [12.5, 3.0, 15.5, 15.5],
            "lower": [8.0, 0.0, 9.0, 9.0],
            "upper": [20.0, 5.0, 22.0, 22.0],
            "last_horizon": [11.0, 2.0, 13.0, 13.0],
            "expected_amount": [100.0, 9.0, 109.0, 109.0],
            "note": ["", "no sale in 4 horizons", "", ""],
            "days_left": [3.0, None, None, None],
            "order": [30.0, 0.0, None, None],
        }
        pd.DataFrame(rows).to_parquet(folder / "demand.parquet")
        columns = "product_id,product_name,category,order,stock,days_left"
        (folder / "reorder.csv").write_text(f'{columns}\np1,"<script>",toys,30,5,3.1\n', encoding="utf-8")
        told = {"unit": "pieces", "method": "fading average", "horizon_days": 7, "interval": 0.8}
        return {**told, "as_of": DAY.isoformat(), "banners": []}

    def risk(folder: Path) -> dict[str, Any]:
        lines = ["rank,shopper,score,rules,phrases,at_stake"]
        lines += [f'1,{"a" * 20},18.3,spent 183 times what is usual for this shopper,"bought <b>B</b>",13904.7']
        lines += [f"2,{'b' * 20},4.9,3 returns,,"]
        (folder / "risk.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        outcomes = {"listed": 2, "listed before": 0, "more than risk.alerts": 0, "usual": 98}
        return {"method": "velocity", "rows": 2, "outcomes": outcomes, "days": 7, "banners": []}

    for name, write in (("recommendations", recommend), ("demand", demand), ("risk", risk)):
        _serve(home, name, write, DAY)


def _serve(home: Home, stage: str, write: Callable[[Path], dict[str, Any]], day: date) -> Served:
    def work(out: Path, key: str) -> Output:
        (out / FOLDER).mkdir()
        facts = write(out / FOLDER)
        return Output(rows=Rows(unit_in="rows", unit_out="rows", rows_in=1, rows_out=1), facts=facts)

    settings = {"day": day.isoformat()}
    made = ArtifactStore(home.artifacts).build(stage=stage, code="", settings=settings, inputs={}, work=work)
    return publish(home, made.artifact, day)
