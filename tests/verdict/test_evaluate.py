"""Evaluation on real texts and tokens: who is measured on what, and what becomes of a champion that can't be."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from behavior_tasks.base.artifacts import Artifact, Output
from behavior_tasks.base.stage import Job
from behavior_tasks.data.events import open_events
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.predict import predict, score_texts
from behavior_tasks.text.parts import join_parts
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.text.verbalize import TextSettings, verbalize_stage, write_texts
from behavior_tasks.verdict.amounts import measure_amounts
from behavior_tasks.verdict.evaluate import evaluate_stage
from behavior_tasks.verdict.gate import judge
from behavior_tasks.verdict.gate_evidence import read_evidence
from behavior_tasks.verdict.metrics import FIGURES, Scored, hash_examples, measure
from behavior_tasks.verdict.plots import PLOTS
from tests.verdict.world import CONFIG, World, one


def evaluate(world: World, train: Artifact, champion: Artifact, *more: Artifact, name: str = "") -> Artifact:
    rooms = ("encode", "features", "clean")
    inputs = (train, world.baselines(), champion, *(world.artifacts[room] for room in rooms), *more)
    return world.build("evaluate", evaluate_stage, *inputs, name=name)


def read(evaluated: Artifact) -> tuple[dict[str, Any], pd.DataFrame]:
    measured = json.loads((evaluated.path / "metrics.json").read_bytes())
    return measured, pd.read_parquet(evaluated.path / "predictions.parquet")


def features_of(world: World) -> pd.DataFrame:
    """The features of all examples, indexed by example."""
    return pd.read_parquet(world.artifacts["features"].path / "examples").set_index("example")


@pytest.fixture(scope="module")
def first(world: World) -> Artifact:
    """An evaluation without a champion."""
    return evaluate(world, world.model(1), world.champion(None))


def test_the_files_and_rows_are_exactly_these(world: World, first: Artifact) -> None:
    plots = {f"plots/{name}.png" for name in PLOTS}
    assert set(first.manifest.files) == {"metrics.json", "predictions.parquet", *plots}
    _, table = read(first)
    models = ["candidate", "prior", "logistic", "boosting", "champion"]
    slices = [f"slice_{name}" for name in ("history", "activity", "age_band", "gender", "history_length", "language")]
    assert list(table.columns) == [
        *("example", "shopper", "cutoff", "label"),
        *models,
        *("candidate_amount", "amount"),
        *slices,
    ]
    index = TokenSet.load(world.artifacts["encode"].path).index
    test = index[index["split"] == "test"].sort_values("example")
    assert table["example"].tolist() == test["example"].tolist()
    assert table["label"].tolist() == test["label"].tolist()
    assert 0 < table["label"].sum() < len(table)
    assert first.manifest.rows.rows_in == first.manifest.rows.rows_out == len(table)


def test_the_candidate_is_scored_on_its_tokens_and_the_baselines_by_example(world: World, first: Artifact) -> None:
    _, table = read(first)
    tokens = TokenSet.load(world.artifacts["encode"].path)
    rows = tokens.rows("test")
    found = predict(world.model(1).path / "model", tokens.sequences, rows, device="cpu", threads=1).probability
    expected = pd.Series(found, index=tokens.index["example"].iloc[rows])
    np.testing.assert_allclose(table["candidate"], expected.loc[table["example"]], atol=1e-6)
    baselines = pd.read_parquet(world.baselines().path / "predictions.parquet").set_index("example")
    for name in ("prior", "logistic", "boosting"):
        assert table[name].tolist() == baselines[name].loc[table["example"]].tolist()
    assert table["champion"].isna().all()


def test_the_metrics_are_those_of_the_predictions_at_each_models_threshold(first: Artifact) -> None:
    measured, table = read(first)
    labels = table["label"].to_numpy()
    thresholds = {"candidate": 0.5, "prior": 0.25, "logistic": 0.5, "boosting": 0.6}
    assert set(measured["models"]) == set(thresholds)
    for name, threshold in thresholds.items():
        scored = Scored(probabilities=table[name].to_numpy(), threshold=threshold)
        assert measured["models"][name] == pytest.approx(measure(labels, scored))
    assert measured["test_hash"] == hash_examples(table["example"], labels)
    assert (measured["examples"], measured["buyers"]) == (len(table), int(labels.sum()))
    assert measured["champion"] == {"version": None, "problem": None, "same_model": False}
    assert measured["best_possible"] is None
    assert first.facts["f1"]["candidate"] == measured["models"]["candidate"]["f1"]


def test_the_expected_amount_is_kept_and_measured(world: World, first: Artifact) -> None:
    measured, table = read(first)
    amounts = features_of(world)["amount"].loc[table["example"]].to_numpy()
    assert (amounts > 0).sum() == table["label"].sum()
    tokens = TokenSet.load(world.artifacts["encode"].path)
    answers = predict(world.model(1).path / "model", tokens.sequences, tokens.rows("test"), device="cpu", threads=1)
    expected = pd.Series(answers.expected_amount, index=tokens.index["example"].iloc[tokens.rows("test")])
    np.testing.assert_allclose(table["candidate_amount"], expected.loc[table["example"]], rtol=1e-5)
    assert table["amount"].to_numpy() == pytest.approx(amounts)
    assert set(measured["amount"]["models"]) == {"candidate"}
    told = measured["amount"]["models"]["candidate"]
    assert told == pytest.approx(measure_amounts(amounts, table["candidate_amount"].to_numpy()))
    for name, (lower, upper) in measured["amount"]["intervals"]["candidate"].items():
        assert lower <= told[name] <= upper
    assert measured["candidate_model"] == {
        "heads": {"purchase": True, "amount": True, "next_token": True},
        "calibration": "platt",
        "calibration_reason": None,
    }


def test_every_figure_of_every_model_has_an_interval(first: Artifact) -> None:
    measured, table = read(first)
    assert measured["shoppers"] == table["shopper"].nunique()
    assert measured["resampling"] == {"resamples": 100, "asked": 100, "confidence": 0.95, "seed": 7}
    assert set(measured["intervals"]) == set(measured["models"])
    for name, figures in measured["models"].items():
        assert set(measured["intervals"][name]) == set(FIGURES) == set(figures) - {"threshold"}
        lower, upper = measured["intervals"][name]["f1"]
        assert lower <= figures["f1"] <= upper
    assert measured["decision_policy"]["policy"] == "f1"
    assert measured["language"] == "en"
    assert set(measured["behaviour"]) >= {"invariance", "direction", "minimum_functionality"}


def test_the_slices_are_those_of_the_features(world: World, first: Artifact) -> None:
    measured, table = read(first)
    features = features_of(world).loc[table["example"]]
    returning = (features["purchases"] > 0).to_numpy()
    assert table["slice_history"].tolist() == np.where(returning, "returning", "new").tolist()
    assert table["slice_gender"].tolist() == features["gender"].tolist()
    counted = {(entry["slice"], entry["value"]): entry["examples"] for entry in measured["slices"]}
    assert counted["history", "returning"] == returning.sum()
    assert counted["language", "en"] == len(table)
    assert measured["undefined"]["slices.category"] == "the log names no categories"


def test_the_costs_and_the_policy_come_from_the_model(world: World) -> None:
    train = world.model(1, threshold=0.25)
    decision = Decision.load(train.path / "model")
    priced = decision.model_copy(update={"objective": "cost", "cost_of_contact": 1.0, "value_of_sale": 4.0})

    def work(job: Job) -> Output:
        shutil.copytree(train.path, job.out, dirs_exist_ok=True)
        priced.save(job.out / "model")
        return one("examples", "models")

    measured, table = read(evaluate(world, world.build("train", work, name="priced"), world.champion(None)))
    assert measured["decision_policy"] == {
        "policy": "cost",
        "threshold": 0.25,
        "min_precision": None,
        "cost_of_contact": 1.0,
        "value_of_sale": 4.0,
        "reason": None,
    }
    called = table["boosting"] >= 0.6
    profit = 1000 * (4 * table["label"][called].sum() - called.sum()) / len(table)
    assert measured["models"]["boosting"]["profit_per_1000"] == pytest.approx(profit)


def test_a_model_that_answers_no_numbers_is_measured_as_such_and_kept_out(world: World) -> None:
    train = world.model(1)

    def work(job: Job) -> Output:
        shutil.copytree(train.path, job.out, dirs_exist_ok=True)
        file = job.out / "model" / "model.safetensors"
        save_file({name: torch.full_like(of, math.nan) for name, of in load_file(file).items()}, file)
        return one("examples", "models")

    evaluated = evaluate(world, world.build("train", work, name="nan"), world.champion(world.model(2)), name="nan")
    measured, table = read(evaluated)
    assert table["candidate"].isna().all()
    assert all(measured["models"]["candidate"][name] is None for name in FIGURES)
    assert "that are not finite numbers" in measured["undefined"]["models.candidate"]
    assert measured["behaviour"] is None
    assert measured["models"]["champion"]["f1"] is not None
    assert judge(read_evidence(evaluated.path), CONFIG.gate).decision == "keep"


def test_without_an_amount_head_there_are_no_amounts(world: World) -> None:
    measured, table = read(evaluate(world, world.model(1, amounts=False), world.champion(None)))
    assert table["candidate_amount"].isna().all()
    assert measured["amount"] is None
    assert measured["undefined"]["amount"] == "no model tells an expected amount"
    assert measured["candidate_model"]["heads"]["amount"] is False


def test_validation_is_measured_on_validation(world: World, first: Artifact) -> None:
    measured, _ = read(first)
    tokens = TokenSet.load(world.artifacts["encode"].path)
    rows = tokens.rows("validation")
    found = predict(world.model(1).path / "model", tokens.sequences, rows, device="cpu", threads=1).probability
    expected = measure(tokens.index["label"].to_numpy()[rows], Scored(probabilities=found, threshold=0.5))
    assert measured["validation"]["candidate"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("split", "label"),
    [
        ("test", 0),
        pytest.param("test", 1, marks=pytest.mark.slow),
        ("test", None),
        pytest.param("validation", 0, marks=pytest.mark.slow),
        ("validation", None),
    ],
)
def test_a_split_that_tells_nothing_is_measured_as_such(split: str, label: int | None, world: World) -> None:
    """Labels of one kind, or no examples: figures are undefined, and the gate keeps the champion."""
    encode, changed = world.artifacts["encode"], f"{split} {label}"

    def relabel(job: Job) -> Output:
        shutil.copytree(encode.path, job.out, dirs_exist_ok=True)
        index = pd.read_parquet(job.out / "index.parquet")
        chosen = index["split"] == split
        if label is None:
            index.loc[chosen, "split"] = "train"
        else:
            index.loc[chosen, "label"] = label
        index.to_parquet(job.out / "index.parquet")
        return one("examples", "examples")

    other = world.build("encode", relabel, name=changed)
    inputs = (world.model(1), world.baselines(), world.champion(None), other)
    rest = (world.artifacts["features"], world.artifacts["clean"])
    evaluated = world.build("evaluate", evaluate_stage, *inputs, *rest, name=changed)
    measured, table = read(evaluated)
    assert measured["examples"] == len(table) == (0 if changed == "test None" else measured["examples"])
    if split == "test":
        assert measured["models"]["candidate"]["roc_auc"] is None
        assert judge(read_evidence(evaluated.path), CONFIG.gate).decision == "keep"
    else:
        assert measured["validation"]["candidate"]["roc_auc"] is None
        assert measured["models"]["candidate"]["roc_auc"] is not None


def test_the_gate_can_read_what_was_written(first: Artifact) -> None:
    nobody = {"champion": {"version": None, "problem": None}}
    verdict = judge(read_evidence(first.path, run=nobody), CONFIG.gate)
    complete = verdict.rules[0]
    assert complete.passed, complete.words
    assert verdict.candidate == first.manifest.inputs["train"]


def test_the_best_possible_score_comes_from_the_simulator(world: World) -> None:
    def simulate(job: Job) -> Output:
        (job.out / "oracle.json").write_text(json.dumps({"test": {"average_precision": 0.5, "f1": 0.4}}))
        return one("shoppers", "rows")

    evaluated = evaluate(world, world.model(1), world.champion(None), world.build("simulate", simulate))
    assert read(evaluated)[0]["best_possible"] == {"average_precision": 0.5, "f1": 0.4}


def test_the_very_same_model_needs_no_second_scoring(world: World) -> None:
    train = world.model(1)
    champion = world.champion(train)
    # Even with its files gone: they are not read.
    shutil.rmtree(champion.path / "model")
    measured, table = read(evaluate(world, train, champion))
    assert measured["champion"] == {"version": "3", "problem": None, "same_model": True}
    assert measured["models"]["champion"] == measured["models"]["candidate"]
    assert table["champion"].tolist() == table["candidate"].tolist()


def test_a_champion_reads_the_same_text_in_scoring_as_in_training(world: World) -> None:
    # The same weights under another name: texts written anew must give the scores that the tokens gave.
    candidate = world.model(1)
    twin = world.model(1, threshold=0.4)
    measured, table = read(evaluate(world, candidate, world.champion(twin)))
    np.testing.assert_allclose(table["champion"], table["candidate"], atol=1e-6)
    assert measured["champion"]["same_model"] is False
    assert measured["models"]["champion"]["threshold"] == 0.4
    assert measured["models"]["champion"]["recall"] >= measured["models"]["candidate"]["recall"]


def test_a_champion_uses_its_own_text_settings_and_tokenizer(world: World, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"text": CONFIG.text.model_copy(update={"last_events": 1, "quantiles": 3})})
    features, clean = world.artifacts["features"], world.artifacts["clean"]
    other = world.build("verbalize", verbalize_stage, features, clean, config=config)
    champion = world.model(2, verbalize=other)
    _, table = read(evaluate(world, world.model(1), world.champion(champion)))
    texts = []
    settings = TextSettings.load(champion.path / "model" / "text.json")
    for file, events in zip(sorted((features.path / "examples").iterdir()), open_events(clean), strict=True):
        write_texts(file, events, tmp_path / file.name, settings)
        texts.append(pd.read_parquet(tmp_path / file.name))
    wanted = pd.concat(texts).set_index("example")["parts"].loc[table["example"]].map(join_parts).tolist()
    numbers = features_of(world).loc[table["example"]]
    expected = score_texts(champion.path / "model", wanted, numbers, device="cpu", threads=1).probability
    np.testing.assert_allclose(table["champion"], expected, atol=1e-6)
    # With the candidate's settings the same weights would have answered otherwise.
    assert not np.allclose(
        table["champion"], read(evaluate(world, world.model(1), world.champion(world.model(2))))[1]["champion"]
    )


def test_a_champion_with_a_problem_is_not_scored(world: World) -> None:
    champion = world.champion(None, problem="its files are gone")
    measured, table = read(evaluate(world, world.model(1), champion))
    assert measured["champion"] == {"version": "3", "problem": "its files are gone", "same_model": False}
    assert "champion" not in measured["models"]
    assert table["champion"].isna().all()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("text.json", None),
        pytest.param("text.json", b"{}", marks=pytest.mark.slow),
        pytest.param("model.safetensors", None, marks=pytest.mark.slow),
        ("model.safetensors", b"no weights"),
        ("config.json", b"{}"),
        pytest.param("decision.json", None, marks=pytest.mark.slow),
        pytest.param("decision.json", b'{"threshold": null}', marks=pytest.mark.slow),
        ("tokenizer/tokenizer.json", None),
    ],
)
def test_a_damaged_champion_is_a_problem_and_not_a_crash(file: str, content: bytes | None, world: World) -> None:
    name = f"{file} {content!r}"
    champion = world.champion(world.model(5), version=name)
    place = champion.path / "model" / file
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    evaluated = evaluate(world, world.model(1), champion, name=name)
    measured, table = read(evaluated)
    assert measured["champion"]["problem"]
    assert str(world.home.root) not in measured["champion"]["problem"]
    assert table["champion"].isna().all()
    assert judge(read_evidence(evaluated.path), CONFIG.gate).decision == "keep"


def test_a_champion_that_wants_features_of_yesterday_is_a_problem(world: World) -> None:
    champion = world.champion(world.model(5), version="old")
    place = champion.path / "model" / "text.json"
    settings = TextSettings.load(place)
    settings.model_copy(update={"bins": {**settings.bins, "moon_phase": [0.5]}}).save(place)
    measured, _ = read(evaluate(world, world.model(1), champion))
    assert measured["champion"]["problem"] == (
        "the champion reads features that this run does not have (no moon_phase)"
    )


def test_a_champion_that_reads_numbers_of_yesterday_is_a_problem(world: World) -> None:
    champion = world.champion(world.model(5), version="old numbers")
    place = champion.path / "model" / "config.json"
    config = json.loads(place.read_text())
    config["numbers"]["names"][0] = "moon_phase"
    place.write_text(json.dumps(config))
    measured, _ = read(evaluate(world, world.model(1), champion))
    assert measured["champion"]["problem"] == (
        "the champion reads features that this run does not have (no moon_phase)"
    )


def test_a_champion_of_an_older_format_is_kept_with_the_reason(world: World) -> None:
    champion = world.champion(world.model(5), version="old format")
    place = champion.path / "model" / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "format": "behavior-model/1"}))
    (champion.path / "model" / "text.json").write_text('{"written": "in an older version"}')
    evaluated = evaluate(world, world.model(1), champion, name="old format")
    measured, _ = read(evaluated)
    assert measured["champion"]["problem"] == "the model folder model can't be read (format behavior-model/1)"
    assert judge(read_evidence(evaluated.path), CONFIG.gate).decision == "keep"


def test_a_champion_of_the_other_unit_is_a_problem(world: World) -> None:
    champion = world.champion(world.model(6), version="other unit")
    place = champion.path / "model" / "text.json"
    TextSettings.load(place).model_copy(update={"unit": "shopper_product"}).save(place)
    measured, table = read(evaluate(world, world.model(1), champion))
    assert measured["unit"] == "shopper"
    assert measured["champion"]["problem"] == (
        "the champion answers another question (examples.unit) (shopper_product)"
    )
    assert table["champion"].isna().all()


def test_nothing_is_left_in_the_work_folder(world: World) -> None:
    evaluate(world, world.model(7), world.champion(world.model(8)))
    assert list(world.home.work.iterdir()) == []
