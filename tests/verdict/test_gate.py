"""The gate's rules: when it promotes, each way in which it refuses, and what it says."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from behavior_tasks.base.artifacts import Artifact, Manifest, Rows
from behavior_tasks.base.config import Config, GateConfig
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.verdict.gate import Verdict, gate_stage, judge
from behavior_tasks.verdict.gate_evidence import Evidence
from behavior_tasks.verdict.gate_rules import RULES, Outcome
from behavior_tasks.verdict.metrics import Scored
from tests.verdict.judged import (
    BOOSTING,
    CANDIDATE,
    CONFIG,
    LABELS,
    SIZE,
    answers,
    changed,
    evidence,
    failed,
    with_model,
)


def rule(verdict: Verdict, name: str) -> Outcome:
    return next(rule for rule in verdict.rules if rule.name == name)


def only_language(config: GateConfig = CONFIG, **other: object) -> GateConfig:
    """The settings under which boosting is never promoted."""
    return config.model_copy(update={"allow_baseline_champion": False, **other})


def test_a_better_first_model_is_promoted_by_every_rule() -> None:
    verdict = judge(evidence(), CONFIG)
    assert verdict.decision == "promote"
    asked = ["complete", *(rule.name for rule in RULES if "candidate" in rule.models)]
    assert [rule.name for rule in verdict.rules] == asked
    assert all(rule.passed for rule in verdict.rules)
    assert "first model" in rule(verdict, "champion").words
    assert (verdict.candidate, verdict.champion_version, verdict.model) == (CANDIDATE, None, "language_model")
    assert (verdict.boosting_rules, verdict.advice, verdict.approval) == (None, None, "off")
    assert verdict.reason == (
        "promote: F1 0.700 reaches the floor of 0.300 (gate.min_f1), no baseline stands in the way, "
        "and there is no champion yet: this is the first model"
    )


def test_a_better_model_takes_the_champions_place() -> None:
    verdict = judge(evidence(candidate=20, champion=30), CONFIG)
    assert (verdict.decision, verdict.champion_version) == ("promote", "3")
    assert rule(verdict, "champion").figures["difference"] == pytest.approx(0.1)
    assert "the champion scores 0.700 on the same 400 examples; difference 0.100" in verdict.reason


def test_an_f1_below_the_floor_is_kept_out() -> None:
    verdict = judge(evidence(), CONFIG.model_copy(update={"min_f1": 0.71}))
    assert failed(verdict.rules) == ["f1_floor"]
    assert verdict.reason == "keep: F1 0.700 is below the floor of 0.710 (gate.min_f1)"


def test_an_f1_at_the_floor_is_enough() -> None:
    found = evidence()
    f1 = found.measured["models"]["candidate"]["f1"]
    assert judge(found, CONFIG.model_copy(update={"min_f1": f1})).decision == "promote"


def test_a_ranking_no_better_than_chance_is_kept_out() -> None:
    chance = Scored(probabilities=np.random.default_rng(5).random(SIZE), threshold=0.0)
    found = with_model(evidence(logistic=90, boosting=90), "candidate", chance)
    config = only_language(slice_drop=None, max_ece=None)
    verdict = judge(found, config)
    assert failed(verdict.rules) == ["better_than_prior"]
    assert "not reliably above the prior's 0.250" in verdict.reason


@pytest.mark.parametrize("baseline", ["logistic", "boosting"])
def test_a_model_behind_a_baseline_is_kept_out(baseline: str) -> None:
    verdict = judge(evidence(candidate=40, **{"logistic": 50, "boosting": 50, baseline: 30}), only_language())
    assert failed(verdict.rules) == [f"against_{baseline}"]
    assert verdict.decision == "keep"
    figures = rule(verdict, f"against_{baseline}").figures
    assert (figures["candidate"], figures[baseline]) == (pytest.approx(0.6), pytest.approx(0.7))
    assert "difference −0.100" in verdict.reason


def test_a_baseline_ahead_within_the_margin_does_not_matter() -> None:
    # One example more right out of a hundred buyers: far within a margin of a tenth.
    assert judge(evidence(candidate=40, boosting=39), only_language(margin=0.1)).decision == "promote"
    assert judge(evidence(candidate=40, boosting=39), only_language(margin=0.0)).decision == "keep"


def test_superior_asks_for_more_than_not_being_behind() -> None:
    equal = with_model(evidence(candidate=30), "boosting", answers(30, last=True))
    assert judge(equal, only_language(margin=0.5)).decision == "promote"
    verdict = judge(equal, only_language(margin=0.5, comparison="superior"))
    assert failed(verdict.rules) == ["against_boosting"]
    assert "F1 0.700 is not reliably above that of gradient boosting, 0.700" in verdict.reason
    assert judge(evidence(candidate=10), only_language(comparison="superior")).decision == "promote"


@pytest.mark.parametrize(
    ("ece", "most", "decision"), [(0.1, 0.1, "promote"), (0.11, 0.1, "keep"), (0.9, None, "promote")]
)
def test_probabilities_that_are_far_off_are_kept_out(ece: float, most: float | None, decision: str) -> None:
    found = changed(evidence(), "models", "candidate", "ece", value=ece)
    verdict = judge(found, only_language(max_ece=most))
    assert verdict.decision == decision
    assert failed(verdict.rules) == ([] if decision == "promote" else ["calibration"])
    asked = rule(verdict, "calibration").words
    assert ("no ceiling is set" in asked) == (most is None)


def test_too_few_buyers_keep() -> None:
    assert judge(evidence(), only_language(min_positives=100)).decision == "promote"
    verdict = judge(evidence(), only_language(min_positives=101))
    assert verdict.reason == "keep: 100 buyers in test are too few (gate.min_positives 101)"


def lopsided() -> Evidence:
    """A model that errs on new shoppers alone: F1 0.9 of all, 0.8 of the new, 1.0 of the others."""
    calls = LABELS.copy()
    calls[np.flatnonzero((LABELS == 1) & (np.arange(SIZE) % 8 < 4))[:10]] = 0
    calls[np.flatnonzero((LABELS == 0) & (np.arange(SIZE) % 8 < 4))[:10]] = 1
    scored = Scored(probabilities=0.1 + 0.5 * calls + np.arange(SIZE) / (10 * SIZE), threshold=0.5)
    found = with_model(evidence(), "candidate", scored)
    for place, f1 in (("0", 0.8), ("1", 1.0)):
        found = changed(found, "slices", place, "f1", value=f1)
    return found


def test_a_slice_far_below_the_others_keeps_beyond_noise() -> None:
    found = lopsided()
    # ± 0.08 by the 100 examples of the slice that play a part: 0.8 may be as good as 0.88, not as 0.9.
    assert judge(found, only_language(slice_drop=0.1)).decision == "promote"
    verdict = judge(found, only_language(slice_drop=0.0))
    assert failed(verdict.rules) == ["slices"]
    assert "1 of 2 slices fall below the floor of 0.900, worst history = new (F1 0.800 on 50 buyers" in verdict.reason
    upper = rule(verdict, "slices").figures["upper"]
    assert 0.86 < upper < 0.9
    assert judge(found, only_language(slice_drop=0.9 - upper)).decision == "promote"
    assert judge(found, only_language(slice_drop=None, min_slice_f1=0.89)).decision == "keep"
    assert judge(found, only_language(slice_drop=None, min_slice_f1=0.8)).decision == "promote"


def test_a_slice_with_few_buyers_is_not_judged() -> None:
    verdict = judge(lopsided(), only_language(slice_drop=0.0, slice_buyers=51))
    assert verdict.decision == "promote"
    assert "no slice has 51 buyers" in rule(verdict, "slices").words
    off = judge(lopsided(), only_language(slice_drop=None))
    assert "no floor is asked of slices" in rule(off, "slices").words


def test_what_the_doctor_and_the_audit_found_is_heeded() -> None:
    verdict = judge(changed(evidence(), "doctor", value=False, of="run"), only_language())
    assert failed(verdict.rules) == ["doctor"]
    leak = changed(evidence(), "failed", value=["canaries in test: features"], of="audit")
    verdict = judge(changed(leak, "clean", value=False, of="audit"), CONFIG)
    assert failed(verdict.rules) == ["audit"]
    assert failed(verdict.boosting_rules) == ["audit", "above_language_model"]
    assert verdict.reason == "keep: the leakage audit failed 1 of 50 checks, first canaries in test: features"
    void = replace(evidence(), audit={"clean": False, "checks": 0, "events": 0, "failed": [], "problem": "too short"})
    assert judge(void, CONFIG).reason == "keep: the log could not be audited for leakage: too short"
    off = judge(void, only_language(audit_events=0))
    assert (off.decision, rule(off, "audit").words) == ("promote", "not audited for leakage (gate.audit_events is 0)")


@pytest.mark.parametrize(("epsilon", "decision"), [(3.0, "promote"), (3.1, "keep"), (None, "keep"), (-1.0, "keep")])
def test_a_privacy_budget_is_kept(epsilon: float | None, decision: str) -> None:
    found = changed(evidence(), "models", "candidate", "epsilon", value=epsilon, of="run")
    verdict = judge(found, only_language(max_epsilon=3.0))
    assert verdict.decision == decision
    assert judge(found, only_language()).decision == "promote"
    if epsilon is None:
        assert verdict.reason == "keep: models.candidate.epsilon of the run is missing or not a finite number"


@pytest.mark.parametrize(
    ("key", "path", "value"), [("max_latency_ms", ("latency_ms", "p95"), 9.0), ("max_size_mb", ("size_mb",), 13.0)]
)
def test_ceilings_of_latency_and_size(key: str, path: tuple[str, ...], value: float) -> None:
    found = changed(evidence(), "models", "candidate", *path, value=value, of="package")
    assert judge(found, only_language(**{key: value})).decision == "promote"
    verdict = judge(found, only_language(**{key: value - 0.1}))
    assert verdict.decision == "keep"
    assert f"above {value - 0.1:g} (gate.{key})" in verdict.reason
    assert judge(found, only_language()).decision == "promote"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("loads", False, "can't be loaded in a fresh process: no reason is given"),
        ("serves", False, "can't be served in a fresh process"),
        ("problem", "port 5001 is taken", "can't be served in a fresh process: port 5001 is taken"),
        ("largest_difference", 2e-6, "differ from the pipeline's by up to 2e-06"),
        ("largest_difference", None, "models.candidate.largest_difference of package.json is missing"),
        ("examples", 0, "asked about no example"),
        ("loads", "yes", "models.candidate.loads of package.json is missing or no yes or no"),
    ],
)
def test_a_package_that_cannot_serve_keeps(key: str, value: object, words: str) -> None:
    verdict = judge(changed(evidence(), "models", "candidate", key, value=value, of="package"), only_language())
    assert failed(verdict.rules) == ["infra"]
    assert words in verdict.reason


def test_a_worse_model_leaves_the_champion_and_the_reason_names_the_figures() -> None:
    verdict = judge(evidence(candidate=35, champion=30), CONFIG)
    assert failed(verdict.rules) == ["champion"]
    figures = rule(verdict, "champion").figures
    assert verdict.reason == (
        "keep: F1 0.650 reaches the floor of 0.300 (gate.min_f1), but the champion scores 0.700 on the same 400 "
        f"examples; difference −0.050, 95 % interval −{-figures['lower']:.3f} to −{-figures['upper']:.3f}"
    )


def test_a_tie_keeps_the_champion() -> None:
    # As good, but not the same: the champion errs on other shoppers.
    found = with_model(evidence(candidate=30, champion=30), "champion", answers(30, last=True))
    verdict = judge(found, CONFIG.model_copy(update={"margin": 1.0}))
    assert rule(verdict, "champion").figures["difference"] == 0.0
    assert verdict.decision == "keep"
    assert "a tie keeps the champion" in verdict.reason


def test_a_better_f1_that_may_be_far_worse_keeps_the_champion() -> None:
    # The champion errs on wholly other shoppers, so the difference is mostly noise.
    found = with_model(evidence(candidate=30, champion=31), "champion", answers(31, last=True))
    verdict = judge(found, CONFIG)
    assert rule(verdict, "champion").figures["difference"] > 0 > rule(verdict, "champion").figures["lower"] + 0.02
    assert verdict.decision == "keep"


def test_the_same_model_as_the_champion_changes_nothing() -> None:
    verdict = judge(evidence(boosting=10, champion=30, same_model=True), CONFIG)
    assert verdict.reason == "keep: this model is already the champion (version 3): nothing changed"
    # Not even for the better boosting: on another night, with other data, it is judged again.
    assert verdict.boosting_rules is None


def test_the_same_model_says_so_even_when_it_would_not_pass_today() -> None:
    verdict = judge(evidence(champion=30, same_model=True), CONFIG.model_copy(update={"min_f1": 0.9}))
    assert "already the champion" in verdict.reason


def test_a_champion_that_cannot_be_compared_is_kept() -> None:
    found = evidence(version="3", problem="its files are gone")
    verdict = judge(found, CONFIG)
    assert verdict.reason == "keep: the champion (version 3) can't be compared: its files are gone"
    assert failed(verdict.boosting_rules) == ["above_language_model", "champion"]


def test_a_registry_that_does_not_answer_keeps() -> None:
    verdict = judge(evidence(version=None, problem="MLflow did not answer"), CONFIG)
    assert verdict.reason == "keep: the champion can't be compared: MLflow did not answer"


def test_several_failures_are_all_named() -> None:
    verdict = judge(evidence(candidate=40, boosting=30, champion=20), CONFIG.model_copy(update={"min_f1": 0.65}))
    assert verdict.reason.startswith("keep: F1 0.600 is below the floor of 0.650")
    assert "(failed too: against_boosting, champion)" in verdict.reason


def test_a_better_boosting_takes_the_language_models_place() -> None:
    found = evidence(candidate=40, boosting=20, champion=30)
    verdict = judge(found, CONFIG)
    assert failed(verdict.rules) == ["against_boosting", "champion"]
    assert failed(verdict.boosting_rules) == []
    asked = ["complete", *(rule.name for rule in RULES if "boosting" in rule.models)]
    assert [rule.name for rule in verdict.boosting_rules] == asked
    assert (verdict.decision, verdict.model, verdict.candidate) == ("promote", "boosting", BOOSTING)
    assert verdict.reason.startswith(
        "promote gradient boosting in the language model's place: its F1 0.800 is above the language model's 0.600; "
    )
    assert "the champion scores 0.700 on the same 400 examples; difference 0.100" in verdict.reason


def test_without_leave_a_better_boosting_is_only_advice() -> None:
    verdict = judge(evidence(candidate=40, boosting=20), only_language())
    assert (verdict.decision, verdict.model, verdict.candidate) == ("keep", "language_model", CANDIDATE)
    assert verdict.boosting_rules is None
    assert verdict.advice is not None
    assert verdict.advice.startswith(
        "use the simpler one: gradient boosting scores F1 0.800 on the same 400 examples, the language model 0.600; "
    )


def test_the_best_of_the_simpler_ones_is_advised_and_only_when_it_wins() -> None:
    advice = judge(evidence(candidate=40, boosting=38, logistic=35), CONFIG).advice
    assert advice is not None
    assert "logistic regression scores F1 0.650" in advice
    assert judge(evidence(candidate=30, boosting=31), CONFIG).advice is None
    # As good is good enough for the simpler one.
    tied = judge(evidence(candidate=30, boosting=30), CONFIG)
    assert tied.decision == "promote"
    assert tied.advice is not None


@pytest.mark.parametrize(
    ("poorer", "rule"),
    [
        (lambda e: changed(e, "models", "boosting", "ece", value=0.4), "calibration"),
        (lambda e: changed(e, "models", "boosting", "serves", value=False, of="package"), "infra"),
        (lambda e: changed(e, "models", "boosting", remove=True, of="package"), "infra"),
        (lambda e: changed(e, "champion", "day", value="2026-01-10", of="run"), "clock"),
    ],
)
def test_boosting_is_judged_by_the_same_rules(poorer: Any, rule: str) -> None:
    verdict = judge(poorer(evidence(candidate=40, boosting=20, champion=30)), CONFIG)
    assert verdict.decision == "keep"
    assert rule in failed(verdict.boosting_rules)


def test_boosting_must_beat_the_champion_too() -> None:
    verdict = judge(evidence(candidate=40, boosting=20, champion=20), CONFIG)
    assert failed(verdict.boosting_rules) == ["champion"]
    assert verdict.reason == (
        f"keep: {rule(verdict, 'against_boosting').words} (failed too: champion); gradient boosting is better but did "
        "not pass itself: champion"
    )


def test_boosting_that_is_the_champion_already_changes_nothing() -> None:
    found = changed(evidence(candidate=40, boosting=20, champion=20), "champion", "model", value=BOOSTING, of="run")
    verdict = judge(found, CONFIG)
    assert verdict.decision == "keep"
    assert verdict.boosting_rules[-5].words == "this model is already the champion (version 3): nothing changed"


def test_with_a_privacy_budget_boosting_needs_an_epsilon_too() -> None:
    found = changed(evidence(candidate=40, boosting=20), "models", "candidate", "epsilon", value=1.0, of="run")
    verdict = judge(found, CONFIG.model_copy(update={"max_epsilon": 3.0}))
    assert failed(verdict.boosting_rules) == ["privacy"]
    assert verdict.decision == "keep"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"day": "2025-12-31"}, "the test cutoff 2026-01-01 lies after the day of the run, 2025-12-31"),
        ({"day": "2026-01-01", "champion": {"version": "3", "day": "2026-01-02"}}, "before the champion's 2026-01-02"),
        ({"day": "yesterday"}, "a day can't be read"),
        ({"day": None}, "day of the run is missing or no text"),
        ({"champion": {"version": "3", "day": None}}, "the champion's day is not known"),
    ],
)
def test_a_clock_that_is_wrong_keeps(change: dict[str, object], words: str) -> None:
    found = evidence(candidate=20, champion=30)
    verdict = judge(replace(found, run={**found.run, **change}), CONFIG)
    assert verdict.decision == "keep"
    assert failed(verdict.rules) == ["clock"]
    assert words in verdict.reason


def test_the_day_of_the_champion_itself_is_in_order() -> None:
    found = changed(evidence(candidate=20, champion=30), "day", value="2026-01-02", of="run")
    assert judge(found, CONFIG).decision == "promote"


def test_approval_is_said_in_the_verdict() -> None:
    assert judge(evidence(), CONFIG.model_copy(update={"approval": "required"})).approval == "required"


def made(folder: Path, stage: str, files: dict[str, object], **facts: object) -> Artifact:
    (folder / stage).mkdir(parents=True)
    for name, content in files.items():
        (folder / stage / name).write_text(json.dumps(content))
    rows = Rows(unit_in="examples", unit_out="examples", rows_in=SIZE, rows_out=SIZE)
    said = {"stage": stage, "key": "new", "rows": rows, "facts": facts}
    return Artifact(path=folder / stage, manifest=Manifest.model_construct(**said))


def artifacts(folder: Path, found: Evidence) -> dict[str, Artifact]:
    """The artifacts from which the gate gathers this evidence."""
    evaluated = made(folder, "evaluate", {"metrics.json": found.measured})
    found.predictions.to_parquet(evaluated.path / "predictions.parquet")
    return {
        "evaluate": evaluated,
        "audit": made(folder, "audit", {"audit.json": found.audit}),
        "package": made(folder, "package", {"package.json": found.package}),
        "doctor": made(folder, "doctor", {}, warnings=0),
        "train": made(folder, "train", {}),
        "baselines": made(folder, "baselines", {}),
        "champion": made(folder, "champion", {}, **{"problem": None, **found.run["champion"]}),
    }


def run_gate(inputs: dict[str, Artifact], tmp_path: Path, **gate: object) -> tuple[dict[str, Any], dict[str, Any]]:
    out = tmp_path / "out"
    out.mkdir()
    job = Job(
        config=Config(gate=CONFIG.model_copy(update=gate)),
        inputs=inputs,
        out=out,
        key="k",
        home=Home(tmp_path),
        today=date(2026, 1, 9),
    )
    output = gate_stage(job)
    assert [path.name for path in out.iterdir()] == ["verdict.json"]
    return json.loads((out / "verdict.json").read_bytes()), dict(output.facts)


def test_the_stage_writes_the_verdict(tmp_path: Path) -> None:
    verdict, facts = run_gate(artifacts(tmp_path / "in", evidence(candidate=20, champion=30)), tmp_path)
    assert verdict["decision"] == facts["decision"] == "promote", verdict["reason"]
    assert verdict["reason"] == facts["reason"]
    assert (verdict["champion_version"], verdict["candidate"], verdict["model"]) == ("3", CANDIDATE, "language_model")
    assert verdict["test_hash"] == evidence().measured["test_hash"]
    assert all(set(rule) == {"name", "passed", "figures", "words"} for rule in verdict["rules"])
    assert {"advice", "boosting_rules", "approval"} <= set(verdict)


def test_the_stage_promotes_boosting_by_the_uri_of_the_baselines(tmp_path: Path) -> None:
    verdict, _ = run_gate(artifacts(tmp_path / "in", evidence(candidate=40, boosting=20)), tmp_path)
    assert (verdict["model"], verdict["candidate"]) == ("boosting", BOOSTING)


def test_the_stage_reads_the_run_from_its_artifacts(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path / "in", evidence(candidate=20, champion=30))
    inputs["train"] = made(tmp_path / "other", "train", {}, epsilon=2.5)
    verdict, _ = run_gate(inputs, tmp_path, max_epsilon=2.0)
    assert [rule["name"] for rule in verdict["rules"] if not rule["passed"]] == ["privacy"]
    assert "epsilon 2.5 is not within the budget of 2" in verdict["reason"]


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet", "audit.json", "package.json"])
@pytest.mark.parametrize("content", [None, b"", b"{ half", b"[1, 2]", b"{}"])
def test_the_stage_keeps_when_a_file_is_missing_or_broken(name: str, content: bytes | None, tmp_path: Path) -> None:
    inputs = artifacts(tmp_path / "in", evidence())
    place = next(artifact.path / name for artifact in inputs.values() if (artifact.path / name).exists())
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    verdict, facts = run_gate(inputs, tmp_path)
    assert facts["decision"] == verdict["decision"] == "keep"
    assert name in verdict["reason"]
