"""Gradient boosting as champion: measured from its kept folder on today's examples, or a problem, never a crash."""

import json

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.model.baselines import baselines_stage
from behavior_tasks.model.formats import PIPELINE_FILE
from behavior_tasks.verdict.evaluate import evaluate_stage
from tests.verdict.world import World


@pytest.fixture(scope="module")
def baselines(world: World) -> Artifact:
    return world.build("baselines", baselines_stage, world.artifacts["features"], name="real")


def evaluate(world: World, baselines: Artifact, champion: Artifact, name: str = "") -> tuple[dict, pd.DataFrame]:
    rooms = [world.artifacts[room] for room in ("encode", "features", "clean")]
    found = world.build("evaluate", evaluate_stage, world.model(1), baselines, champion, *rooms, name=name)
    return json.loads((found.path / "metrics.json").read_bytes()), pd.read_parquet(found.path / "predictions.parquet")


def test_a_boosting_champion_says_of_test_what_it_said_as_a_baseline(world: World, baselines: Artifact) -> None:
    measured, table = evaluate(world, baselines, world.champion(baselines))
    assert measured["champion"] == {"version": "3", "problem": None, "same_model": False}
    assert table["champion"].tolist() == table["boosting"].tolist()
    assert measured["models"]["champion"]["f1"] == measured["models"]["boosting"]["f1"]
    assert measured["models"]["champion"]["threshold"] == measured["models"]["boosting"]["threshold"]


@pytest.mark.parametrize(("file", "content"), [(PIPELINE_FILE, None), (PIPELINE_FILE, b"PK"), ("decision.json", b"{}")])
def test_a_damaged_boosting_champion_is_a_problem(
    world: World, baselines: Artifact, file: str, content: bytes | None
) -> None:
    champion = world.champion(baselines, version=f"damaged {file} {content!r}")
    (champion.path / "model" / file).unlink()
    if content is not None:
        (champion.path / "model" / file).write_bytes(content)
    measured, _ = evaluate(world, baselines, champion, name=champion.uri)
    assert "can't be read" in measured["champion"]["problem"]
    assert str(world.home.root) not in measured["champion"]["problem"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("numbers", ["moon_phase"], "features that this run does not have"),
        ("unit", "shopper_product", "another question"),
    ],
)
def test_a_boosting_champion_of_other_features_or_another_unit_is_a_problem(
    world: World, baselines: Artifact, key: str, value: object, words: str
) -> None:
    champion = world.champion(baselines, version=f"other {key}")
    place = champion.path / "model" / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), key: value}))
    measured, _ = evaluate(world, baselines, champion, name=champion.uri)
    # A folder whose config.json and pipeline disagree is refused before anything is asked of today's features.
    assert words in measured["champion"]["problem"] or "can't be read" in measured["champion"]["problem"]
    assert measured["champion"]["version"] == f"other {key}"
