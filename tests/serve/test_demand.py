"""The stage `demand` on a served shop: what is handed out, with and without a champion, and the command."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.stage import Job
from behavior_tasks.serve.demand import demand_stage, stock_identity
from behavior_tasks.serve.demand_table import SCHEMA, read_table
from behavior_tasks.serve.score import product_scores_stage
from behavior_tasks.serve.served import FOLDER, publish
from tests.cli.typing_in import exit_code
from tests.serve.world import ServedShop

SETTINGS = {"demand.model_horizons": 1, "train.device": "cpu", "train.threads": 1}


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A shop, its champions and scores, from which demand can be made again."""

    shop: ServedShop
    champions: Artifact
    scores: Artifact
    home: Home

    def demand(self, **settings: object) -> Artifact:
        config = {**SETTINGS, **{f"demand.{name}": value for name, value in settings.items()}}
        inputs = {**self.shop.inputs, "champions": self.champions}
        return run_stage(
            "demand", demand_stage, self.shop, {**inputs, "product_scores": self.scores}, self.home, config
        )


def run_stage(
    name: str,
    work: Callable[[Job], Output],
    shop: ServedShop,
    inputs: Mapping[str, Artifact],
    home: Home,
    settings: Mapping[str, object],
) -> Artifact:
    config = changed(shop.config, settings)
    outside = stock_identity(None, config, home) if name == "demand" else {}

    def do(out: Path, key: str) -> Output:
        day = shop.run.record.day
        return work(Job(config=config, inputs=inputs, out=out, key=key, home=home, today=day, outside=outside))

    home.artifacts.mkdir(parents=True, exist_ok=True)
    uris = {each: artifact.uri for each, artifact in inputs.items()}
    store = ArtifactStore(home.artifacts)
    return store.build(
        stage=name, code="", settings=config.model_dump(mode="json"), inputs={**uris, **outside}, work=do
    ).artifact


@pytest.fixture(scope="module")
def with_model(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    home = Home(tmp_path_factory.mktemp("demand"))
    scores = run_stage("product_scores", product_scores_stage, shop, shop.inputs, home, SETTINGS)
    return Forecast(shop=shop, champions=shop.champions, scores=scores, home=home)


@pytest.fixture(scope="module")
def without_model(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    """The same shop with a champion of the unit shopper alone."""
    home = Home(tmp_path_factory.mktemp("demand-alone"))

    def champions(out: Path, key: str) -> Output:
        shutil.copytree(shop.champions.path / "shopper", out / "shopper")
        rows = Rows(unit_in="champions", unit_out="champions", rows_in=1, rows_out=1)
        return Output(rows=rows, facts={**shop.champions.facts, "shopper_product": None})

    home.artifacts.mkdir(parents=True)
    store = ArtifactStore(home.artifacts)
    made = store.build(stage="champions", code="", settings={}, inputs={}, work=champions).artifact
    inputs = {**shop.inputs, "champions": made}
    scores = run_stage("product_scores", product_scores_stage, shop, inputs, home, SETTINGS)
    return Forecast(shop=shop, champions=made, scores=scores, home=home)


def test_with_a_model_that_one_horizon_could_try_the_simple_method_is_served(with_model: Forecast) -> None:
    made = with_model.demand()
    facts, folder = made.facts, made.path / FOLDER
    assert facts["method"] == facts["simple"]
    assert "one horizon that it was not trained on" in facts["why"]
    assert facts["banners"][0]["code"] == "simple_demand"
    assert {row["method"] for row in facts["figures"]} >= {"naive", "moving average", "language model"}
    assert sorted(file.name for file in folder.iterdir()) == [
        "demand.csv",
        "demand.parquet",
        "methods.csv",
        "page.html",
    ]
    assert pq.read_schema(folder / "demand.parquet").equals(SCHEMA)
    table, csv = read_table(folder), pd.read_csv(folder / "demand.csv")
    assert len(csv) == len(table) == facts["rows"]
    by_level = table.groupby("level")["expected"].sum()
    assert by_level["product"] == by_level["category"] == by_level["total"] > 0
    assert (table["lower"] <= table["expected"].astype(float) + 1e-3).all()
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert facts["why"] in page
    assert not re.search(r'(src|href)="(?!data:)', page), "it opens without a network"
    assert str(with_model.home.root) not in page


def test_without_a_champion_of_products_a_simple_method_is_served_and_says_what_to_type(
    without_model: Forecast, tmp_path: Path
) -> None:
    made = without_model.demand()
    banner = made.facts["banners"][0]
    assert banner["code"] == "simple_demand"
    assert "no champion for products" in banner["words"]
    assert "examples.unit=shopper_product" in banner["next_step"]
    assert "language model" not in {row["method"] for row in made.facts["figures"]}
    again = Forecast(**{**vars(without_model), "home": Home(tmp_path)}).demand()
    assert again.manifest.content_hash == made.manifest.content_hash
    assert (again.path / FOLDER / "page.html").read_bytes() == (made.path / FOLDER / "page.html").read_bytes()


def test_a_stock_file_gives_an_order_and_its_content_is_part_of_the_key(
    without_model: Forecast, tmp_path: Path
) -> None:
    products = read_table(without_model.demand().path / FOLDER)["product_id"].dropna().tolist()
    stock = tmp_path / "stock.csv"
    stock.write_text("product_id,stock\n" + "".join(f"{p},{0 if n % 2 else 9999}\n" for n, p in enumerate(products)))
    with stock.open("a") as stream:
        stream.write("<b>nobody</b>,4\n")
    made = without_model.demand(stock_file=str(stock))
    table = read_table(made.path / FOLDER).query("level == 'product'")
    order = pd.read_csv(made.path / FOLDER / "reorder.csv")
    assert set(order["product_id"]) == set(table.loc[table["order"] > 0, "product_id"])
    assert len(order) > 5
    assert (order["stock"] == 0).all(), "who has ten thousand orders nothing"
    assert table["stock"].notna().all()
    assert made.facts["unknown_stock"] == 1
    assert "unknown_stock" in [banner["code"] for banner in made.facts["banners"]]
    assert "<b>nobody" in (made.path / FOLDER / "stock_unknown.csv").read_text()
    assert "To order" in (made.path / FOLDER / "page.html").read_text(encoding="utf-8")
    stock.write_text(f"product_id,stock\n{products[0]},1\n")
    other = without_model.demand(stock_file=str(stock))
    assert other.manifest.key != made.manifest.key
    stock.write_text(f"product_id,stock\n{products[0]},-1\n")
    with pytest.raises(UserError, match="1 wrong line of 1"):
        without_model.demand(stock_file=str(stock))
    with pytest.raises(UserError, match="no stock file"):
        without_model.demand(stock_file=str(tmp_path / "none.csv"))


def test_the_command_shows_what_was_handed_out_and_what_to_order(
    without_model: Forecast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert exit_code("demand") == 2
    assert "behavior score" in capsys.readouterr().err
    made = without_model.demand()
    publish(Home(tmp_path / "home"), made, without_model.shop.moment.as_of)
    table = read_table(made.path / FOLDER)
    first = table.loc[0, "product_id"]
    category = table.loc[0, "category"]
    (tmp_path / "stock.csv").write_text(f"product_id,stock\n{first},0\nnobody,1\n")

    assert exit_code("demand", "--category", category, "--out", "all.csv") == 0
    shown = capsys.readouterr().out
    assert category in shown
    assert "no champion for products" in " ".join(shown.split())
    assert set(pd.read_csv("all.csv")["category"]) == {category}
    assert exit_code("demand", "--stock", "stock.csv", "--out", "order.csv") == 0
    assert "1 rows name products that the log does not know" in " ".join(capsys.readouterr().out.split())
    assert pd.read_csv("order.csv")["product_id"].tolist() == [first]
    assert "nobody" in (tmp_path / "stock_unknown.csv").read_text()
    assert exit_code("demand", "--category", category[:-1]) == 2
    assert f"--category {category}" in capsys.readouterr().err
    assert exit_code("demand", "--stock", "none.csv") == 2
