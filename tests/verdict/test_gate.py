"""The gate's rules: when it promotes, each way in which it refuses, and that it never lets a worse model in."""

import copy
import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.artifacts import Artifact, Manifest, Rows
from behavior_tasks.base.config import Config, GateConfig
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.verdict.gate import Evidence, Rule, Verdict, gate_stage, judge, read_evidence
from behavior_tasks.verdict.metrics import Scored, hash_examples, measure

SIZE = 400
LABELS = (np.arange(SIZE) % 4 == 0).astype(int)
CONFIG = GateConfig(min_f1=0.3, margin=0.02, bootstrap=200)
CANDIDATE = "artifact://train/new"


def answers(wrong: int) -> Scored:
    """A model that calls the first `wrong` buyers non-buyers, and as many others buyers, and is right else."""
    calls = LABELS.copy()
    calls[np.flatnonzero(LABELS == 1)[:wrong]] = 0
    calls[np.flatnonzero(LABELS == 0)[:wrong]] = 1
    # Every example its own probability: a yes lies above a half.
    return Scored(probabilities=0.1 + 0.5 * calls + np.arange(SIZE) / (10 * SIZE), threshold=0.5)


def evidence(
    *, candidate: int = 30, logistic: int = 45, boosting: int = 40, champion: int | None = None, **about: Any
) -> Evidence:
    """Evidence in which each model makes so many mistakes; `about` overrides what is said of the champion."""
    scored = {
        "candidate": answers(candidate),
        "prior": Scored(probabilities=np.full(SIZE, 0.25), threshold=0.25),
        "logistic": answers(logistic),
        "boosting": answers(boosting),
    }
    if champion is not None:
        scored["champion"] = answers(champion)
    examples = [f"s{i:04d}@2026-01-01" for i in range(SIZE)]
    nothing = np.full(SIZE, np.nan)
    table = pd.DataFrame({"example": examples, "shopper": [name.partition("@")[0] for name in examples]})
    table = table.assign(cutoff=pd.Timestamp("2026-01-01"), label=LABELS, champion=nothing)
    table = table.assign(**{name: model.probabilities for name, model in scored.items()})
    version = None if champion is None else "3"
    measured = {
        "test_hash": hash_examples(examples, LABELS),
        "examples": SIZE,
        "buyers": int(LABELS.sum()),
        "candidate": CANDIDATE,
        "models": {name: measure(LABELS, model) for name, model in scored.items()},
        "champion": {"version": version, "problem": None, "same_model": False, **about},
    }
    return Evidence(measured=measured, predictions=table)


def changed(found: Evidence, *path: str, value: object = None, remove: bool = False) -> Evidence:
    """The evidence with one entry of `metrics.json` replaced or taken out."""
    measured = copy.deepcopy(dict(found.measured or {}))
    inner = measured
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return replace(found, measured=measured)


def rule(verdict: Verdict, name: str) -> Rule:
    return next(rule for rule in verdict.rules if rule.name == name)


def test_a_better_first_model_is_promoted_by_every_rule() -> None:
    verdict = judge(evidence(), CONFIG)
    assert verdict.decision == "promote"
    names = ["complete", "f1_floor", "better_than_prior", "not_behind_logistic", "not_behind_boosting", "champion"]
    assert [rule.name for rule in verdict.rules] == names
    assert all(rule.passed for rule in verdict.rules)
    assert "first model" in rule(verdict, "champion").words
    assert (verdict.candidate, verdict.champion_version) == (CANDIDATE, None)
    assert verdict.reason == (
        "promote: F1 0.700 reaches the floor of 0.300 (gate.min_f1), no baseline is ahead by more than gate.margin, "
        "and there is no champion yet: this is the first model"
    )


def test_a_better_model_takes_the_champions_place() -> None:
    verdict = judge(evidence(candidate=20, champion=30), CONFIG)
    assert (verdict.decision, verdict.champion_version) == ("promote", "3")
    assert rule(verdict, "champion").figures["difference"] == pytest.approx(0.1)


def test_an_f1_below_the_floor_is_kept_out() -> None:
    verdict = judge(evidence(), CONFIG.model_copy(update={"min_f1": 0.71}))
    assert [rule.name for rule in verdict.rules if not rule.passed] == ["f1_floor"]
    assert verdict.reason == "keep: F1 0.700 is below the floor of 0.710 (gate.min_f1)"


def test_an_f1_at_the_floor_is_enough() -> None:
    found = evidence()
    f1 = found.measured["models"]["candidate"]["f1"]
    assert judge(found, CONFIG.model_copy(update={"min_f1": f1})).decision == "promote"


def test_a_ranking_no_better_than_chance_is_kept_out() -> None:
    found = evidence(logistic=90, boosting=90)
    chance = Scored(probabilities=np.random.default_rng(5).random(SIZE), threshold=0.0)
    predictions = found.predictions.assign(candidate=chance.probabilities)
    found = changed(replace(found, predictions=predictions), "models", "candidate", value=measure(LABELS, chance))
    verdict = judge(found, CONFIG)
    assert [rule.name for rule in verdict.rules if not rule.passed] == ["better_than_prior"]
    assert "not reliably above the prior's 0.250" in verdict.reason


@pytest.mark.parametrize("baseline", ["logistic", "boosting"])
def test_a_model_behind_a_baseline_is_kept_out(baseline: str) -> None:
    verdict = judge(evidence(candidate=40, **{"logistic": 50, "boosting": 50, baseline: 30}), CONFIG)
    assert [rule.name for rule in verdict.rules if not rule.passed] == [f"not_behind_{baseline}"]
    assert verdict.decision == "keep"
    figures = rule(verdict, f"not_behind_{baseline}").figures
    assert (figures["candidate"], figures[baseline]) == (pytest.approx(0.6), pytest.approx(0.7))
    assert "difference −0.100" in verdict.reason


def test_a_baseline_ahead_within_the_margin_does_not_matter() -> None:
    # One example more right out of a hundred buyers: far within a margin of a tenth.
    assert judge(evidence(candidate=40, boosting=39), CONFIG.model_copy(update={"margin": 0.1})).decision == "promote"
    assert judge(evidence(candidate=40, boosting=39), CONFIG.model_copy(update={"margin": 0.0})).decision == "keep"


def test_a_worse_model_leaves_the_champion_and_the_reason_names_the_figures() -> None:
    verdict = judge(evidence(candidate=35, champion=30), CONFIG)
    assert [rule.name for rule in verdict.rules if not rule.passed] == ["champion"]
    figures = rule(verdict, "champion").figures
    assert verdict.reason == (
        "keep: F1 0.650 reaches the floor of 0.300 (gate.min_f1), but the champion scores 0.700 on the same 400 "
        f"examples; difference −0.050, 95 % interval −{-figures['lower']:.3f} to −{-figures['upper']:.3f}"
    )


def test_a_tie_keeps_the_champion() -> None:
    found = evidence(candidate=30, champion=30)
    # As good, but not the same: the champion errs on other shoppers.
    other = answers(0)
    calls = LABELS.copy()
    calls[np.flatnonzero(LABELS == 1)[-30:]] = 0
    calls[np.flatnonzero(LABELS == 0)[-30:]] = 1
    other = replace(other, probabilities=0.1 + 0.5 * calls)
    found = replace(found, predictions=found.predictions.assign(champion=other.probabilities))
    found = changed(found, "models", "champion", value=measure(LABELS, other))
    verdict = judge(found, CONFIG.model_copy(update={"margin": 1.0}))
    assert rule(verdict, "champion").figures["difference"] == 0.0
    assert verdict.decision == "keep"
    assert "a tie keeps the champion" in verdict.reason


def test_a_better_f1_that_may_be_far_worse_keeps_the_champion() -> None:
    found = evidence(candidate=30, champion=31)
    # The champion errs on wholly other shoppers, so the difference is mostly noise.
    calls = LABELS.copy()
    calls[np.flatnonzero(LABELS == 1)[-31:]] = 0
    calls[np.flatnonzero(LABELS == 0)[-31:]] = 1
    other = Scored(probabilities=0.1 + 0.5 * calls, threshold=0.5)
    found = replace(found, predictions=found.predictions.assign(champion=other.probabilities))
    found = changed(found, "models", "champion", value=measure(LABELS, other))
    verdict = judge(found, CONFIG)
    assert rule(verdict, "champion").figures["difference"] > 0 > rule(verdict, "champion").figures["lower"] + 0.02
    assert verdict.decision == "keep"


def test_the_same_model_as_the_champion_changes_nothing() -> None:
    verdict = judge(evidence(champion=30, same_model=True), CONFIG)
    assert verdict.reason == "keep: this model is already the champion (version 3): nothing changed"


def test_the_same_model_says_so_even_when_it_would_not_pass_today() -> None:
    verdict = judge(evidence(champion=30, same_model=True), CONFIG.model_copy(update={"min_f1": 0.9}))
    assert "already the champion" in verdict.reason


def test_a_champion_that_cannot_be_compared_is_kept() -> None:
    found = evidence(version="3", problem="its files are gone")
    verdict = judge(found, CONFIG)
    assert verdict.reason == "keep: the champion (version 3) can't be compared: its files are gone"


def test_several_failures_are_all_named() -> None:
    verdict = judge(evidence(candidate=40, boosting=30, champion=20), CONFIG.model_copy(update={"min_f1": 0.65}))
    assert verdict.reason.startswith("keep: F1 0.600 is below the floor of 0.650")
    assert verdict.reason.endswith("(failed too: not_behind_boosting, champion)")


@pytest.mark.parametrize("model", ["candidate", "prior", "logistic", "boosting", "champion"])
@pytest.mark.parametrize("metric", ["threshold", "f1", "average_precision", "ece"])
@pytest.mark.parametrize("value", [math.nan, None, "0.7"])
def test_a_metric_that_is_no_finite_number_keeps(model: str, metric: str, value: object) -> None:
    verdict = judge(changed(evidence(candidate=20, champion=30), "models", model, metric, value=value), CONFIG)
    assert verdict.decision == "keep"
    assert f"{model} has no {metric}" in verdict.reason


@pytest.mark.parametrize("model", ["candidate", "prior", "logistic", "boosting", "champion"])
def test_a_missing_metric_or_model_keeps(model: str) -> None:
    found = evidence(candidate=20, champion=30)
    for poorer in (
        changed(found, "models", model, "log_loss", remove=True),
        changed(found, "models", model, remove=True),
    ):
        verdict = judge(poorer, CONFIG)
        assert verdict.decision == "keep"
        assert f"{model} has no" in verdict.reason
        assert [rule.name for rule in verdict.rules] == ["complete"]


@pytest.mark.parametrize("path", [("models",), ("champion",), ("candidate",), ("test_hash",), ("examples",)])
def test_a_missing_part_of_the_metrics_keeps(path: tuple[str, ...]) -> None:
    assert judge(changed(evidence(), *path, remove=True), CONFIG).decision == "keep"


def test_a_champion_without_scores_keeps() -> None:
    verdict = judge(evidence(version="3"), CONFIG)
    assert (verdict.decision, verdict.champion_version) == ("keep", "3")
    assert "champion has no threshold" in verdict.reason


def test_another_test_set_keeps() -> None:
    found = evidence(candidate=20, champion=30)
    table = found.predictions
    others = (
        table.iloc[::-1],
        table.assign(label=np.roll(LABELS, 1)),
        table.assign(example=table["example"].str.replace("2026-01-01", "2026-01-02")),
    )
    for other in others:
        verdict = judge(replace(found, predictions=other), CONFIG)
        assert verdict.decision == "keep"
        assert "hashes differ" in verdict.reason


def test_metrics_of_other_predictions_keep() -> None:
    found = evidence(candidate=20, champion=30)
    swapped = found.predictions.assign(candidate=answers(25).probabilities)
    verdict = judge(replace(found, predictions=swapped), CONFIG)
    assert verdict.reason == "keep: the metrics say F1 0.800 for candidate, the predictions give 0.750"


def test_predictions_that_lack_something_keep() -> None:
    found = evidence(candidate=20, champion=30)
    table = found.predictions
    for poorer, words in (
        (table.drop(columns="boosting"), "lacks boosting"),
        (table.iloc[:-1], "400 examples"),
        (pd.concat([table, table.iloc[:1]]), "twice"),
        (table.assign(label=2), "neither 0 nor 1"),
        (table.assign(champion=[np.nan, *table["champion"][1:]]), "champion has no probability"),
        (table.assign(candidate=[np.inf, *table["candidate"][1:]]), "candidate has no probability"),
    ):
        verdict = judge(replace(found, predictions=poorer), CONFIG)
        assert verdict.decision == "keep"
        assert words in verdict.reason


def test_a_test_set_without_buyers_keeps() -> None:
    found = evidence()
    nobody = np.zeros(SIZE, dtype=int)
    measured = dict(found.measured)
    measured["test_hash"] = hash_examples(found.predictions["example"], nobody)
    measured["models"] = {
        name: measure(nobody, Scored(probabilities=found.predictions[name].to_numpy(), threshold=0.5))
        for name in ("candidate", "prior", "logistic", "boosting")
    }
    verdict = judge(Evidence(measured=measured, predictions=found.predictions.assign(label=nobody)), CONFIG)
    assert verdict.decision == "keep"
    assert "candidate has no recall, f1" in verdict.reason


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mistakes=st.tuples(*[st.sets(st.integers(0, 23), max_size=7)] * 2),
    margin=st.floats(0, 1),
)
def test_no_model_worse_than_the_champion_is_ever_promoted(mistakes: tuple[set[int], set[int]], margin: float) -> None:
    labels = np.arange(24) % 2
    calls = [np.array([label ^ (place in wrong) for place, label in enumerate(labels)]) for wrong in mistakes]
    scored = {
        "candidate": Scored(probabilities=0.2 + 0.6 * calls[0], threshold=0.5),
        "champion": Scored(probabilities=0.1 + 0.3 * calls[1], threshold=0.2),
        # Baselines that stand in nobody's way.
        **{name: Scored(probabilities=np.full(24, 0.1), threshold=0.5) for name in ("prior", "logistic", "boosting")},
    }
    examples = [f"s{i}@2026-01-01" for i in range(24)]
    table = pd.DataFrame({"example": examples, "shopper": examples, "label": labels})
    table = table.assign(**{name: model.probabilities for name, model in scored.items()})
    measured = {
        "test_hash": hash_examples(examples, labels),
        "examples": 24,
        "candidate": CANDIDATE,
        "models": {name: measure(labels, model) for name, model in scored.items()},
        "champion": {"version": "3", "problem": None, "same_model": False},
    }
    config = GateConfig(min_f1=0.0, margin=margin, bootstrap=100)
    verdict = judge(Evidence(measured=measured, predictions=table), config)
    better = measured["models"]["candidate"]["f1"] > measured["models"]["champion"]["f1"]
    assert better or verdict.decision == "keep"


def evaluation(folder: Path, found: Evidence) -> Artifact:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(found.measured))
    found.predictions.to_parquet(folder / "predictions.parquet")
    rows = Rows(unit_in="examples", unit_out="examples", rows_in=SIZE, rows_out=SIZE)
    manifest = Manifest.model_construct(stage="evaluate", key="k", rows=rows, facts={})
    return Artifact(path=folder, manifest=manifest)


def run_gate(artifact: Artifact, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    out = tmp_path / "out"
    out.mkdir()
    job = Job(
        config=Config(gate=CONFIG),
        inputs={"evaluate": artifact},
        out=out,
        key="k",
        home=Home(tmp_path),
        today=date(2026, 1, 2),
    )
    output = gate_stage(job)
    assert [path.name for path in out.iterdir()] == ["verdict.json"]
    return json.loads((out / "verdict.json").read_bytes()), dict(output.facts)


def test_the_stage_writes_the_verdict(tmp_path: Path) -> None:
    verdict, facts = run_gate(evaluation(tmp_path / "in", evidence(candidate=20, champion=30)), tmp_path)
    assert verdict["decision"] == facts["decision"] == "promote"
    assert verdict["reason"] == facts["reason"]
    assert (verdict["champion_version"], verdict["candidate"]) == ("3", CANDIDATE)
    assert verdict["test_hash"] == evidence().measured["test_hash"]
    assert [set(rule) for rule in verdict["rules"]] == [{"name", "passed", "figures", "words"}] * 6


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{ half"])
def test_the_stage_keeps_when_a_file_is_missing_or_broken(name: str, content: bytes | None, tmp_path: Path) -> None:
    artifact = evaluation(tmp_path / "in", evidence())
    (artifact.path / name).unlink()
    if content is not None:
        (artifact.path / name).write_bytes(content)
    verdict, facts = run_gate(artifact, tmp_path)
    assert facts["decision"] == verdict["decision"] == "keep"
    assert verdict["reason"].startswith(f"keep: {name} is missing or not")


def test_metrics_that_are_json_but_no_metrics_keep(tmp_path: Path) -> None:
    artifact = evaluation(tmp_path / "in", evidence())
    (artifact.path / "metrics.json").write_text("[1, 2]")
    assert judge(read_evidence(artifact.path), CONFIG).decision == "keep"
