"""The stage of risk on a served shop: what is handed out, day after day, with and without a language model."""

import json
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import changed
from behavior_tasks.base.home import HOME_VARIABLE, Home, current_home
from behavior_tasks.base.stage import Job
from behavior_tasks.pipeline.export import read_exports
from behavior_tasks.serve.banners import banners_of
from behavior_tasks.serve.risk import risk_stage
from behavior_tasks.serve.risk_list import LISTED, REPEATED, earlier_lists
from behavior_tasks.serve.score import shopper_scores_stage
from behavior_tasks.serve.served import FOLDER, publish
from tests.cli.typing_in import exit_code
from tests.serve.world import ServedShop, look

SETTINGS = {"risk.unusual": 0.8, "risk.alerts": 10}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _build(shop: ServedShop, home: Home, stage: str, inputs: dict[str, Artifact], **settings: object) -> Artifact:
    config = changed(shop.config, {**SETTINGS, "train.threads": 1, "train.device": "cpu", **settings})
    work = {"risk": risk_stage, "shopper_scores": shopper_scores_stage}[stage]

    def do(out: Path, key: str) -> Output:
        day = date(2026, 11, 27)
        return work(Job(config=config, inputs=inputs, out=out, key=key, home=home, today=day))

    named = {name: artifact.uri for name, artifact in inputs.items()}
    if stage == "risk":
        named |= earlier_lists(home, inputs)
    return (
        ArtifactStore(home.artifacts)
        .build(stage=stage, code="", settings=config.risk.model_dump(mode="json"), inputs=named, work=do)
        .artifact
    )


def _risk(shop: ServedShop, home: Home, looked: Mapping[str, Artifact] | None = None, **settings: object) -> Artifact:
    inputs = {**shop.inputs, **(looked or {})}
    scores = _build(shop, home, "shopper_scores", inputs)
    return _build(shop, home, "risk", {**inputs, "shopper_scores": scores}, **settings)


def _without_champions(shop: ServedShop) -> ServedShop:
    def none(out: Path, key: str) -> Output:
        rows = Rows(unit_in="champions", unit_out="champions", rows_in=0, rows_out=0)
        return Output(rows=rows, facts={"shopper": None, "shopper_product": None})

    made = shop.run.store.build(stage="champions", code="", settings={"none": True}, inputs={}, work=none)
    return replace(shop, champions=made.artifact)


@pytest.fixture
def served(shop: ServedShop, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Artifact]:
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    made = _risk(shop, home)
    publish(home, made, shop.moment.as_of)
    yield made
    shutil.rmtree(home.root)


def test_everybody_is_ranked_and_a_list_is_handed_out_with_reasons(
    shop: ServedShop, served: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = served.path / FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["page.html", "risk.csv", "risk.parquet"]
    table, chosen = pd.read_parquet(folder / "risk.parquet"), pd.read_csv(folder / "risk.csv")
    since = shop.moment.cutoff - timedelta(days=7)
    active = {shopper for bucket in shop.events for shopper in _active(bucket, since, shop.moment.cutoff)}
    assert set(table["shopper"]) == active
    assert served.manifest.rows.rows_out == len(table)
    assert served.facts["outcomes"] == {
        **dict.fromkeys(served.facts["outcomes"], 0),
        **table["outcome"].value_counts().to_dict(),
    }
    assert served.facts["method"] == "combined"
    assert 0 < len(chosen) == served.facts["rows"] <= 10
    assert (table["score"].diff().dropna() <= 0).all()
    assert (chosen["score"] > served.facts["bar"]).all()
    paid = table[table["spent"].notna()]
    assert (paid["at_stake"] == paid["spent"] + paid["expected_amount"]).all()
    told = chosen["phrases"].dropna()
    assert len(told)
    assert told.str.contains("browsed|clicked|purchased|added|searched|favoured|returned").all()
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "Nothing is blocked by it" in page
    assert all(shopper in page for shopper in chosen["shopper"])

    top = chosen["shopper"].iloc[0]
    assert exit_code("risk", "--out", str(served.path.parents[2] / "list.csv")) == 0
    told = capsys.readouterr().out
    assert top in told
    assert "notice: The log begins" in told
    assert "next: read an older log too" in told
    written = served.path.parents[2] / "list.csv"
    assert written.read_bytes() == (folder / "risk.csv").read_bytes()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    line = read_exports(current_home())[-1]
    assert (line["shoppers"], line["risk"], top in str(line)) == (served.facts["rows"], served.uri, False)
    assert exit_code("risk", "--shopper", top) == 0
    assert "rank 1 of" in " ".join(capsys.readouterr().out.split())
    assert exit_code("risk", "--shopper", "nobody") == 2
    assert exit_code("risk", "--as-of", "2020-01-01") == 2


def _active(bucket: object, since: object, cutoff: object) -> list[str]:
    from behavior_tasks.base.tables import connect
    from behavior_tasks.data.events import BucketEvents

    assert isinstance(bucket, BucketEvents)
    with connect() as connection:
        bucket.create_view(connection)
        within = f"timestamp >= TIMESTAMP '{since}' AND timestamp < TIMESTAMP '{cutoff}'"
        found = connection.execute(f"SELECT DISTINCT shopper FROM events WHERE {within}").fetchall()
    return [shopper for (shopper,) in found]


@pytest.mark.slow
def test_the_next_days_list_leaves_out_who_was_listed_and_the_same_day_again_is_found_finished(
    shop: ServedShop, home: Home, served: Artifact
) -> None:
    nights = {days: look(shop.run, shop.champions, shop.moment.as_of + timedelta(days=days)) for days in (0, 1)}
    again = earlier_lists(home, nights[0])
    assert again == {}
    assert list(earlier_lists(home, nights[1])) == [f"list of {shop.moment.as_of}"]
    today = pd.read_parquet(served.path / FOLDER / "risk.parquet").set_index("shopper")
    made = _risk(shop, home, nights[1])
    table = pd.read_parquet(made.path / FOLDER / "risk.parquet").set_index("shopper")
    before = today.index[today["outcome"] == LISTED]
    both = table.loc[table.index.intersection(before)]
    assert (
        both.loc[both["outcome"] == REPEATED, "score"]
        <= 1.2 * today["score"].reindex(both.index)[both["outcome"] == REPEATED]
    ).all()
    assert (both["outcome"] == REPEATED).any()
    worse = both.index[both["outcome"] == LISTED]
    assert (table.loc[worse, "score"] > 1.2 * today.loc[worse, "score"]).all()


def test_without_a_language_model_rules_are_served_and_a_banner_says_so(shop: ServedShop, home: Home) -> None:
    made = _risk(_without_champions(shop), home)
    assert made.facts["method"] == "velocity"
    assert banners_of(made.facts)[0].code == "no_causal_model"
    table = pd.read_parquet(made.path / FOLDER / "risk.parquet")
    assert (table["phrases"] == "").all()
    assert table["expected_amount"].isna().all()
    forest = _risk(_without_champions(shop), home, **{"risk.method": "forest"})
    assert forest.facts["method"] == "forest"
    assert "no_causal_model" not in {banner.code for banner in banners_of(forest.facts)}


def test_a_week_in_which_nobody_was_there_gives_an_empty_list(shop: ServedShop, home: Home) -> None:
    later = look(shop.run, shop.champions, shop.moment.as_of + timedelta(days=60))
    made = _risk(shop, home, later)
    assert made.facts["rows"] == made.manifest.rows.rows_out == 0
    assert "no_earlier_reference" in {banner.code for banner in banners_of(made.facts)}
    assert "Nobody today" in (made.path / FOLDER / "page.html").read_text(encoding="utf-8")
    assert json.dumps(made.facts)
    assert shop.run.need("clean").facts["last"] is not None
