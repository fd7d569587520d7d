"""Recommendations of a served shop: everybody gets a list, by the rules, whatever there is to choose from."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, Output
from behavior_tasks.base.config import changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect
from behavior_tasks.pipeline.stages import SERVING
from behavior_tasks.serve.demand import stock_identity
from behavior_tasks.serve.recommend import recommendations_stage
from behavior_tasks.serve.recommend_champion import find_reader, read_next, score_touched
from behavior_tasks.serve.recommend_log import Log, read_log
from behavior_tasks.serve.score import product_scores_stage
from behavior_tasks.text.next_words import open_texts
from tests.serve.world import ServedShop


@pytest.fixture(scope="module")
def product_scores(shop: ServedShop) -> Artifact:
    job = _job(shop, Path(), {})
    built = shop.run.store.build(
        stage="product_scores",
        code="",
        settings={},
        inputs={name: artifact.uri for name, artifact in job.inputs.items()},
        work=lambda out, key: product_scores_stage(replace(job, out=out)),
    )
    return built.artifact


def _job(shop: ServedShop, out: Path, settings: dict[str, object], *scores: Artifact) -> Job:
    config = changed(shop.config, settings)
    return Job(
        config=config,
        inputs={**shop.inputs, **{artifact.manifest.stage: artifact for artifact in scores}},
        out=out,
        key="key",
        home=shop.home,
        today=shop.run.record.day,
        outside=stock_identity(None, config, shop.home),
    )


def _recommend(
    shop: ServedShop, scores: Artifact, out: Path, settings: dict[str, object] | None = None
) -> tuple[Output, Mapping[str, Any], pd.DataFrame]:
    out.mkdir()
    output = recommendations_stage(_job(shop, out, settings or {}, scores))
    assert output.facts is not None
    return output, output.facts, pd.read_parquet(out / "served" / "recommendations.parquet")


def _log(shop: ServedShop) -> Log:
    days = shop.champion("shopper").examples
    return read_log(
        shop.events,
        shop.moment.cutoff,
        horizon=timedelta(days=days.horizon_days),
        lookback=timedelta(days=days.lookback_days),
        memory_mb=500,
    )


def test_everybody_active_gets_a_full_list_of_different_products_with_a_reason(
    shop: ServedShop, product_scores: Artifact, tmp_path: Path
) -> None:
    output, facts, lists = _recommend(shop, product_scores, tmp_path / "out")
    log = _log(shop)
    assert output.rows.balanced
    assert facts["rows"] == len(lists)
    assert set(lists["shopper"]) == set(log.shoppers[log.active])
    assert (lists.groupby("shopper").size() == 10).all()
    assert not lists.duplicated(["shopper", "product_id"]).any()
    assert lists.groupby("shopper")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 11))).all()
    assert (lists["reason"].str.len() > 5).all()
    assert set(lists["product_id"]) <= set(log.products)
    study = facts["study"]
    assert {row["method"] for row in study["reported"]["methods"]} >= {
        "item-kNN",
        "language model",
        "own products",
        "product scores",
    }
    assert study["chosen_on"]["as_of"] < study["reported"]["as_of"], "nothing is chosen on the days that are told"
    assert [row["method"] for row in study["reported"]["methods"] if row["served"]] == [facts["method"]]
    json.dumps(facts)
    told = pd.read_csv(tmp_path / "out" / "served" / "recommendations.csv")
    assert len(told) == len(lists)
    page = (tmp_path / "out" / "served" / "page.html").read_text(encoding="utf-8")
    assert facts["method"] in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_rules_hold_for_every_list(shop: ServedShop, product_scores: Artifact, tmp_path: Path) -> None:
    shop, log = _alone(shop), _log(shop)
    gone = log.products[np.argsort(-log.recent)[:3]]
    stock = tmp_path / "stock.csv"
    stock.write_text("product_id,stock\n" + "".join(f"{product},0\n" for product in gone) + "nobody-knows-it,4\n")
    rules = {"recommend.bought": "drop", "recommend.per_category": 2, "demand.stock_file": str(stock)}
    _, facts, lists = _recommend(shop, product_scores, tmp_path / "out", rules)
    category = dict(zip(log.products, log.category, strict=True))
    counts = lists.assign(category=lists["product_id"].map(category)).groupby(["shopper", "category"]).size()
    assert counts.max() == 2
    assert not set(lists["product_id"]) & set(gone)
    assert facts["out_of_stock"] == 3
    bought = log.times > 0
    pairs = set(zip(log.shoppers[log.who[bought]], log.products[log.product[bought]], strict=True))
    assert pairs
    assert not pairs & set(zip(lists["shopper"], lists["product_id"], strict=True))
    assert facts["study"]["reported"]["view"] == "unbought"
    new = pd.read_csv(tmp_path / "out" / "served" / "new_shoppers.csv")
    assert not set(new["product_id"]) & set(gone)
    stock.write_text("product_id,stock\nx,-1\n")
    with pytest.raises(UserError, match=r"stock\.csv"):
        _recommend(shop, product_scores, tmp_path / "wrong", rules)


def test_without_a_champion_a_simple_method_serves_and_the_page_says_so(
    shop: ServedShop, product_scores: Artifact, tmp_path: Path
) -> None:
    alone = _alone(shop)
    output, facts, lists = _recommend(alone, product_scores, tmp_path / "out")
    methods = {row["method"] for row in facts["study"]["reported"]["methods"]}
    assert not methods & {"language model", "product scores"}
    assert len(lists) == facts["rows"] > 0
    assert facts["banners"][0]["code"] == "no_product_champion"
    assert "behavior run" in (tmp_path / "out" / "served" / "page.html").read_text(encoding="utf-8")
    again, _, _ = _recommend(alone, product_scores, tmp_path / "again")
    assert again.content_hash == output.content_hash


def _alone(shop: ServedShop) -> ServedShop:
    """Return the shop without its champions."""

    def nobody(out: Path, key: str) -> Output:
        return Output(rows=shop.champions.manifest.rows, facts={"shopper": None, "shopper_product": None})

    built = shop.run.store.build(stage="champions", code="", settings={"units": []}, inputs={}, work=nobody)
    return replace(shop, champions=built.artifact)


def test_no_event_at_or_after_the_instant_enters(shop: ServedShop) -> None:
    whole, cutoff = _log(shop), shop.moment.cutoff - timedelta(days=9)
    days = timedelta(days=7)
    early = read_log(shop.events, cutoff, horizon=days, lookback=8 * days, memory_mb=500)
    until = int(np.datetime64(cutoff, "us").astype(np.int64))
    assert early.last.max() < until <= whole.last.max()
    with connect() as connection:
        connection.execute(f"CREATE TABLE past AS {_union(shop, cutoff)}")
        told = connection.execute(
            "SELECT count(*), count(DISTINCT (shopper, product_id)) FILTER (product_id <> '') FROM past"
        ).fetchone()
    assert told is not None
    assert len(early.who) == told[1]


def _union(shop: ServedShop, cutoff: datetime) -> str:
    return " UNION ALL ".join(f"SELECT * FROM ({e.sql()}) WHERE timestamp < '{cutoff}'" for e in shop.events)


def test_the_reading_is_a_distribution_that_names_what_the_text_names(shop: ServedShop) -> None:
    log, champion = _log(shop), shop.champion("shopper")
    found = find_reader([champion], shop.place)
    assert found is not None
    who = np.flatnonzero(log.active)[:40]
    told = read_next(champion, found[1], shop.events, log, who, memory_mb=500)
    total = np.asarray(told.sum(axis=1)).ravel()
    np.testing.assert_allclose(total[who], 1, atol=1e-4)
    assert total.sum() == pytest.approx(len(who), rel=1e-4), "nobody else is read"
    assert champion.text is not None
    named = np.isin(log.products, list(champion.text.products))
    assert named.any()
    assert (told[who].toarray()[:, named] > 0).all(), "a name may follow in every text"


def test_letters_stand_for_what_the_text_has_told_of(shop: ServedShop) -> None:
    log, text = _log(shop), shop.champion("shopper").text
    assert text is not None
    few = text.model_copy(update={"products": dict(list(text.products.items())[:15])})
    mine = [str(name) for name in log.shoppers[log.active & (log.bucket == 0)]][:20]
    (found,) = open_texts(mine, shop.events[0], log.cutoff, few)
    assert found.shoppers == sorted(mine)
    assert len(found.product)
    assert not set(found.product) & set(few.products)
    for row, letter, product in zip(found.row, found.letter, found.product, strict=True):
        assert found.letters[letter] in found.texts[row]
        assert letter < found.next_letter[row]
        who = int(np.searchsorted(log.shoppers, found.shoppers[row]))
        assert product in log.products[log.product[log.rows[who] : log.rows[who + 1]]]
    for row, text_of in enumerate(found.texts):
        assert found.letters[found.next_letter[row]] not in re.findall(r" [A-Z]+(?= |\[|$)", text_of)


def test_product_scores_of_touched_products_are_those_of_the_stage(shop: ServedShop, product_scores: Artifact) -> None:
    log, champion = _log(shop), shop.champion("shopper_product")
    who = np.flatnonzero(log.active)[:25]
    told = score_touched(champion, shop.events, shop.moment, log, who, place=shop.place)
    files = sorted((product_scores.path / "served" / "scores").glob("*.parquet"))
    table = pd.concat(map(pd.read_parquet, files))
    mine = table[table["shopper"].isin(log.shoppers[who])]
    assert told.nnz == len(mine) > 0
    places = {name: place for place, name in enumerate(log.products)}
    rows = np.searchsorted(log.shoppers, mine["shopper"].to_numpy(dtype=object))
    columns = [places[product] for product in mine["product_id"]]
    np.testing.assert_allclose(told[rows, columns], mine["probability"], rtol=1e-5)


def test_the_stage_is_in_the_table_with_its_stock_file() -> None:
    assert SERVING["recommendations"].outside == "serve.demand:stock_identity"
