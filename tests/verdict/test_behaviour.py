"""Behavioural tests: real features and texts of changed histories, and models whose answers are known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, Output
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.cutoffs import cutoffs_stage
from behavior_tasks.examples.features import features_stage
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.predict import Predictions, Scorer
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import verbalize_stage
from behavior_tasks.verdict import behaviour
from behavior_tasks.verdict.behaviour import make_pairs
from behavior_tasks.verdict.probes import Plain, choose_sample, make_probes
from tests.verdict.world import CONFIG, World

Rule = Callable[[list[str], pd.DataFrame], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A model that answers by a rule of the text and the features."""

    folder: Path
    rule: Rule

    @property
    def decision(self) -> Decision:
        return Decision(threshold=0.5)

    def score_parts(self, parts: list[list[str]], table: pd.DataFrame) -> Predictions:
        probability = self.rule(["".join(some) for some in parts], table).astype(float)
        return Predictions(probability=probability, logit=probability, log_mean=None, log_std=None)


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    """The same shoppers, whose clicks are carts."""

    def with_carts(job: Job) -> Output:
        clean = job.inputs["clean"]
        (job.out / "events").mkdir()
        for number, bucket in enumerate(open_events(clean)):
            with connect() as connection:
                cart = "CASE WHEN action = 'click' THEN 'add_to_cart' ELSE action END AS action"
                query = f"SELECT * REPLACE ({cart}) FROM ({bucket.sql()}) ORDER BY ALL"
                write_parquet(connection, query, bucket_file(job.out / "events", number))
        actions = dict(clean.facts["actions"])
        actions["add_to_cart"] = actions.pop("click")
        return Output(rows=clean.manifest.rows, facts={**clean.facts, "actions": actions})

    return remade(world, world.build("clean", with_carts, world.artifacts["clean"], name="carts"))


def remade(world: World, clean: Artifact, **examples: object) -> World:
    """The world with other events."""
    config = CONFIG.model_copy(update={"examples": CONFIG.examples.model_copy(update=examples)})
    cutoffs = world.build("cutoffs", cutoffs_stage, clean, config=config)
    features = world.build("features", features_stage, cutoffs, clean, config=config)
    verbalize = world.build("verbalize", verbalize_stage, features, clean, config=config)
    made = (clean, cutoffs, features, verbalize)
    return World(home=world.home, store=world.store, artifacts={a.manifest.stage: a for a in made})


def job_of(shop: World, out: Path) -> Job:
    return Job(config=CONFIG, inputs=shop.artifacts, out=out, key="k", home=shop.home, today=date(2026, 3, 1))


def on_test(shop: World) -> pd.DataFrame:
    table = pd.read_parquet(shop.artifacts["features"].path / "examples")
    return table[table["split"] == "test"].set_index("example")


def outcome(shop: World, out: Path, rule: Rule) -> dict[str, Any]:
    known = Known(folder=shop.artifacts["verbalize"].path, rule=rule)
    return behaviour.test_model(job_of(shop, out), known, list(on_test(shop).index))


def test_a_probe_left_as_it_is_reads_what_the_run_reads(shop: World, tmp_path: Path) -> None:
    examples = on_test(shop)
    texts = pd.read_parquet(shop.artifacts["verbalize"].path / "texts").set_index("example")["parts"].map(list)
    settings = TextSettings.load(shop.artifacts["verbalize"].path / "text.json")
    probes = make_probes(job_of(shop, tmp_path), list(examples.index), settings, [])
    assert set(probes.sample.index) == set(examples.index)
    made = probes.sample.loc[examples.index]
    pd.testing.assert_frame_equal(made.drop(columns="parts"), examples[made.columns.drop("parts")], check_names=False)
    assert made["parts"].tolist() == texts.loc[examples.index].tolist()
    assert list(shop.home.work.iterdir()) == []


def test_one_more_cart_is_one_more_cart_and_the_last_thing_told(shop: World, tmp_path: Path) -> None:
    examples = on_test(shop)
    settings = TextSettings.load(shop.artifacts["verbalize"].path / "text.json")
    probes = make_probes(job_of(shop, tmp_path), list(examples.index), settings, [])
    before, after = probes.sample.loc[probes.carts.index], probes.carts
    assert len(after) == len(examples)
    assert (after["carts"] == before["carts"] + 1).all()
    assert (after["events"] == before["events"] + 1).all()
    assert (after["recency_days"] <= 0.25).all()
    assert (after["popularity"] > 0).all()
    assert (after["products"] == before["products"]).all(), "the cart holds a product that the shopper knows"
    for parts in after["parts"]:
        text = "".join(parts)
        assert text.rfind("[cart]") > text.rfind("[buy]"), text
        assert text.rfind("[cart]") > text.rfind("[browse]"), text


def test_a_direction_is_passed_with_the_sign_of_the_change(shop: World, tmp_path: Path) -> None:
    up = outcome(shop, tmp_path, lambda texts, table: table["carts"].to_numpy() / 100)["direction"]
    assert up["passed"] is True
    assert up["mean_change"] == pytest.approx(0.01)
    assert up["dropped"] == 0
    assert up["examples"] == len(on_test(shop))
    down = outcome(shop, tmp_path, lambda texts, table: 1 - table["carts"].to_numpy() / 100)["direction"]
    assert down["passed"] is False
    assert down["mean_change"] == pytest.approx(-0.01)
    assert down["dropped"] == 1
    assert "−0.0100" in down["words"]


def test_a_log_without_carts_says_nothing_of_them(world: World, tmp_path: Path) -> None:
    direction = outcome(world, tmp_path, lambda texts, table: np.zeros(len(table)))["direction"]
    assert direction["passed"] is None
    assert direction["mean_change"] is None
    assert "no carts" in direction["words"]


def test_names_of_products_play_a_part_only_for_a_model_that_leans_on_them(shop: World, tmp_path: Path) -> None:
    deaf = outcome(shop, tmp_path, lambda texts, table: table["carts"].to_numpy() / 100)["invariance"]
    assert deaf["examples"] > 30
    assert (deaf["mean_change"], deaf["largest_change"], deaf["flips"], deaf["passed"]) == (0, 0, 0, True)
    # One that counts the names that are first of their pairs says the contrary when all have changed places.
    first = {"top-1", "top-3", "top-5", "top-7"}

    def count(texts: list[str], table: pd.DataFrame) -> np.ndarray:
        words = [[word for word in text.replace("[", " [").split() if word.startswith("top-")] for text in texts]
        return np.array([np.mean([word in first for word in some]) if some else 0.0 for some in words])

    leaning = outcome(shop, tmp_path, count)["invariance"]
    assert leaning["largest_change"] == pytest.approx(1)
    assert leaning["flips"] > 0.5
    assert leaning["passed"] is False


def test_letters_change_places_where_products_have_no_names(shop: World, tmp_path: Path) -> None:
    config = CONFIG.model_copy(
        update={"text": CONFIG.text.model_copy(update={"named_products": 0, "style": "sentence"})}
    )
    features, clean = shop.artifacts["features"], shop.artifacts["clean"]
    verbalize = shop.build("verbalize", verbalize_stage, features, clean, config=config)
    settings = TextSettings.load(verbalize.path / "text.json")
    probes = make_probes(job_of(shop, tmp_path), list(on_test(shop).index), settings, [])
    changed = 0
    for example, parts in probes.sample["parts"].items():
        other = probes.exchanged[example]
        used = sorted({part.strip(" ,") for part in parts if part.strip(" ,").isupper()})
        assert used == [chr(ord("B") + place) for place in range(len(used))]
        back = dict(zip(used, reversed(used), strict=True))
        spoken = [back.get(part.strip(" ,"), part.strip(" ,")) for part in parts]
        assert [part.strip(" ,") for part in other] == spoken
        changed += parts != other
    assert changed > 30


@pytest.mark.parametrize(("sign", "passed"), [(1, True), (-1, False)])
def test_plain_shoppers_are_told_apart(sign: int, passed: bool, shop: World, tmp_path: Path) -> None:
    def eager(texts: list[str], table: pd.DataFrame) -> np.ndarray:
        worth = table["purchases_fading"].fillna(0) + 0.1 * table["carts"] + 0.01 * table["events_fading"]
        return 0.5 + sign * worth.to_numpy() / 100

    found = outcome(shop, tmp_path, eager)["minimum_functionality"]
    assert found["pairs"] == len(found["cases"]) == 6
    assert found["right"] == (6 if passed else 0), found["cases"]
    assert found["passed"] is passed


def test_a_tie_is_not_right(shop: World, tmp_path: Path) -> None:
    found = outcome(shop, tmp_path, lambda texts, table: np.full(len(table), 0.2))["minimum_functionality"]
    assert (found["right"], found["passed"]) == (0, False)


def test_made_up_histories_are_what_was_asked_for(shop: World, tmp_path: Path) -> None:
    settings = TextSettings.load(shop.artifacts["verbalize"].path / "text.json")
    daily = Plain(name="daily", events=tuple((day, "purchase") for day in range(1, 8)))
    once = Plain(name="once", events=((20, "browse"),))
    found = make_probes(job_of(shop, tmp_path), list(on_test(shop).index), settings, [daily, once]).plain
    assert found.loc[["daily", "once"], "purchases"].tolist() == [7, 0]
    assert found.loc[["daily", "once"], "events"].tolist() == [7, 1]
    assert found.loc[["daily", "once"], "recency_days"].tolist() == [1.5, 20.5]
    assert found.loc["daily", "spend"] == 70
    assert "".join(found.loc["once", "parts"]).count("[browse]") == 1


def test_pairs_need_only_what_the_log_knows() -> None:
    every = ["browse", "click", "add_to_cart", "purchase", "return"]
    assert len(make_pairs(every, 365)) == 6
    assert make_pairs(every, 3) == []
    only = make_pairs(["purchase", "return"], 365)
    assert {action for pair in only for _, action in (*pair.likelier, *pair.other)} == {"purchase"}
    for pair in make_pairs(every, 365):
        assert pair.likelier != pair.other
        assert max(day for day, _ in pair.likelier) <= max(day for day, _ in pair.other)


def test_the_sample_depends_on_ids_alone() -> None:
    ids = [f"p{number}@2026-02-12" for number in range(1000)]
    chosen = choose_sample(ids, 300)
    assert chosen == choose_sample(reversed(ids), 300)
    assert len(set(chosen)) == 300
    assert set(choose_sample(ids, 100)) < set(chosen)
    # Neither the first nor the last in order.
    assert 100 < sum(name in chosen for name in ids[:500]) < 200


def test_without_examples_there_is_nothing_to_test(shop: World, tmp_path: Path) -> None:
    known = Known(folder=shop.artifacts["verbalize"].path, rule=lambda texts, table: np.zeros(len(table)))
    found = behaviour.test_model(job_of(shop, tmp_path), known, [])
    assert found["examples"] == 0
    for name in ("invariance", "direction", "minimum_functionality"):
        assert found[name]["passed"] is None


def test_a_real_model_is_asked_through_its_own_tokenizer(world: World, shop: World, tmp_path: Path) -> None:
    scorer = Scorer.load(world.model(3).path / "model", device="cpu", threads=1)
    found = behaviour.test_model(job_of(shop, tmp_path), scorer, list(on_test(shop).index))
    assert found["invariance"]["mean_change"] > 0
    assert found["direction"]["examples"] == found["examples"]
    assert all(0 < case["likelier"] < 1 for case in found["minimum_functionality"]["cases"])


def test_of_one_product_the_cart_holds_the_one_asked_about(shop: World, tmp_path: Path) -> None:
    per_product = remade(shop, shop.artifacts["clean"], unit="shopper_product")
    examples = on_test(per_product)
    sample = choose_sample(examples.index, 50)
    settings = TextSettings.load(per_product.artifacts["verbalize"].path / "text.json")
    plain = [Plain(name="one", events=((1, "purchase"),))]
    probes = make_probes(job_of(per_product, tmp_path), sample, settings, plain)
    assert set(probes.carts.index) == set(sample)
    before, after = probes.sample.loc[sample], probes.carts.loc[sample]
    assert (after["this_carts"] == before["this_carts"] + 1).all()
    assert probes.plain.loc["one", "this_purchases"] == 1
    known = Known(
        folder=per_product.artifacts["verbalize"].path, rule=lambda texts, table: table["this_carts"].to_numpy() / 100
    )
    found = behaviour.test_model(job_of(per_product, tmp_path), known, list(examples.index))
    assert found["direction"]["mean_change"] == pytest.approx(0.01)
