"""The gate fails closed: nothing that is missing, damaged or worse than the champion ever ends in a promotion."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.config import GateConfig
from behavior_tasks.verdict.gate import judge
from behavior_tasks.verdict.gate_evidence import COLUMNS, FIGURES, Evidence
from behavior_tasks.verdict.gate_rules import RULES
from behavior_tasks.verdict.metrics import Scored, hash_examples, measure
from tests.verdict.judged import CONFIG, LABELS, SIZE, answers, changed, evidence, failed, of_models, with_model

EVERY_RULE = CONFIG.model_copy(
    update={"max_epsilon": 5.0, "max_latency_ms": 50.0, "max_size_mb": 100.0, "min_slice_f1": 0.1, "bootstrap": 100}
)
DOCUMENTS = {"metrics": "measured", "audit": "audit", "package": "package", "run": "run"}
NO_FIGURES = [None, math.nan, math.inf, -math.inf, "0.7", True, [0.7], {}]
PROMOTED = {
    "candidate": {"candidate": 20, "champion": 30},
    "boosting": {"candidate": 40, "boosting": 10, "champion": 30},
}


def with_budget(found: Evidence) -> Evidence:
    for model in ("candidate", "boosting"):
        found = changed(found, "models", model, "epsilon", value=1.0, of="run")
    return found


def figures() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Every figure that a rule or the completeness reads: who is judged, document, path, kind."""
    for model in PROMOTED:
        for rule in RULES:
            if model in rule.models:
                for figure in rule.reads:
                    path = tuple(figure.path.format(model=model).split("."))
                    yield model, DOCUMENTS[figure.document], path, figure.kind
        for name in ("candidate", "champion", "prior", "logistic", "boosting"):
            for key in ("threshold", *FIGURES):
                yield model, "measured", ("models", name, key), "number"
        yield model, "measured", ("champion", "version"), "text"
        yield model, "run", ("champion", "version"), "text"
        for place in ("0", "1"):
            yield model, "measured", ("slices", place, "f1"), "number"
            yield model, "measured", ("slices", place, "buyers"), "number"


READ = sorted(set(figures()))


@pytest.fixture(scope="module")
def promoted() -> dict[str, Evidence]:
    found = {model: with_budget(evidence(**mistakes)) for model, mistakes in PROMOTED.items()}
    for model, one in found.items():
        verdict = judge(one, EVERY_RULE)
        assert (verdict.decision, verdict.model) == ("promote", {"candidate": "language_model"}.get(model, model))
    return found


def test_every_rule_is_asked_when_every_setting_is_set(promoted: dict[str, Evidence]) -> None:
    verdict = judge(promoted["candidate"], EVERY_RULE)
    assert not [rule.name for rule in verdict.rules if not rule.figures]


@pytest.mark.parametrize(("model", "document", "path", "kind"), READ, ids=str)
def test_without_any_single_figure_it_keeps_and_names_it(
    promoted: dict[str, Evidence], model: str, document: str, path: tuple[str, ...], kind: str
) -> None:
    wrong = {
        "number": NO_FIGURES,
        "yes or no": [None, 1, "yes", math.nan],
        "text": [None, "", 5],
        "list": [None, {}, "[]"],
    }[kind]
    # One value of each kind for each figure, another for the next, and the figure taken out.
    value = wrong[len(".".join(path)) % len(wrong)]
    damaged = [
        changed(promoted[model], *path, value=value, of=document),
        changed(promoted[model], *path, remove=True, of=document),
    ]
    for found in damaged:
        verdict = judge(found, EVERY_RULE)
        assert verdict.decision == "keep"
        said = " ".join(rule.words for rule in (*verdict.rules, *(verdict.boosting_rules or ())) if not rule.passed)
        assert path[-1] in said or path[0] in said, (path, said)


@pytest.mark.parametrize("column", [*(name for name in COLUMNS), "slice_history", "cutoff"])
def test_without_any_single_column_it_keeps_and_names_it(promoted: dict[str, Evidence], column: str) -> None:
    for found in promoted.values():
        verdict = judge(replace(found, predictions=found.predictions.drop(columns=column)), EVERY_RULE)
        assert verdict.decision == "keep"
        assert any(column in rule.words.replace("test cutoff", "cutoff") for rule in verdict.rules if not rule.passed)
        if column in {"example", "slice_history", "shopper", "cutoff"}:
            continue
        for value in (math.nan, math.inf, "much"):
            table = found.predictions.astype({column: object})
            table.loc[7, column] = value
            assert judge(replace(found, predictions=table.infer_objects()), EVERY_RULE).decision == "keep"


@pytest.mark.parametrize("document", ["measured", "predictions", "audit", "package", "run"])
def test_without_a_whole_document_it_keeps(promoted: dict[str, Evidence], document: str) -> None:
    for found in promoted.values():
        empty = {} if document == "run" else None
        assert judge(replace(found, **{document: empty}), EVERY_RULE).decision == "keep"
        if document != "predictions":
            assert judge(replace(found, **{document: {"models": []}}), EVERY_RULE).decision == "keep"


def test_an_integer_that_no_float_holds_is_no_figure() -> None:
    assert judge(changed(evidence(), "models", "candidate", "ece", value=10**400), CONFIG).decision == "keep"


@pytest.mark.parametrize(
    "path", [("models",), ("champion",), ("candidate",), ("test_hash",), ("examples",), ("buyers",)]
)
def test_a_missing_part_of_the_metrics_keeps(path: tuple[str, ...]) -> None:
    assert judge(changed(evidence(), *path, remove=True), CONFIG).decision == "keep"


def test_a_champion_without_scores_keeps() -> None:
    verdict = judge(evidence(version="3"), CONFIG)
    assert (verdict.decision, verdict.champion_version) == ("keep", "3")
    assert "champion has no threshold" in verdict.reason


def test_another_test_set_keeps() -> None:
    found = evidence(candidate=20, champion=30)
    table = found.predictions
    for other in (
        table.assign(label=np.roll(LABELS, 1)),
        table.assign(example=table["example"].str.replace("2026-01-01", "2026-01-02")),
        table.assign(example=table["example"].sample(frac=1, random_state=1).to_numpy()),
    ):
        verdict = judge(replace(found, predictions=other), CONFIG)
        assert verdict.decision == "keep"
        assert "hashes differ" in verdict.reason


def test_metrics_of_other_predictions_keep() -> None:
    found = evidence(candidate=20, champion=30)
    swapped = found.predictions.assign(candidate=answers(25).probabilities)
    verdict = judge(replace(found, predictions=swapped), CONFIG)
    assert verdict.reason == "keep: the metrics say F1 0.800 for candidate, the predictions give 0.750"


def test_the_metrics_of_another_runs_model_keep() -> None:
    found = changed(evidence(), "models", "candidate", "uri", value="artifact://train/other", of="run")
    assert "the run trained artifact://train/other" in judge(found, CONFIG).reason


def test_boosting_without_a_name_is_not_promoted() -> None:
    found = changed(evidence(candidate=40, boosting=20), "models", "boosting", "uri", value=None, of="run")
    verdict = judge(found, CONFIG)
    assert (verdict.decision, verdict.candidate) == ("keep", None)


def test_slices_of_other_predictions_keep() -> None:
    found = evidence()
    verdict = judge(changed(found, "slices", "0", "f1", value=0.9), CONFIG)
    assert "the metrics say F1 0.900 with history = new, the predictions give 0.700" in verdict.reason
    verdict = judge(changed(found, "slices", "1", "buyers", value=51), CONFIG)
    assert "the metrics count 51 buyers with history = returning, the predictions 50" in verdict.reason
    verdict = judge(changed(found, "slices", "1", "value", remove=True), CONFIG)
    assert "slices.1 of metrics.json has no slice, value or buyers" in verdict.reason


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
        (table.assign(candidate="much"), "holds what is no number as candidate"),
        (table.assign(cutoff=pd.NaT), "test cutoff is not known"),
        (table.iloc[:0], "400 examples"),
    ):
        verdict = judge(replace(found, predictions=poorer), CONFIG)
        assert verdict.decision == "keep"
        assert words in verdict.reason


@pytest.mark.parametrize("label", [0, 1])
def test_a_test_set_of_one_class_keeps(label: int) -> None:
    found = evidence()
    same = np.full(SIZE, label)
    scored = {
        name: Scored(probabilities=found.predictions[name].to_numpy(), threshold=0.5)
        for name in ("candidate", "prior", "logistic", "boosting")
    }
    verdict = judge(of_models(scored, labels=same), CONFIG)
    assert verdict.decision == "keep"
    assert ("candidate has no recall, f1" if label == 0 else "candidate has no roc_auc") in verdict.reason


def test_three_positives_keep_and_are_counted() -> None:
    labels = np.zeros(SIZE, dtype=int)
    labels[:3] = 1
    perfect = Scored(probabilities=0.01 + 0.9 * labels, threshold=0.5)
    poor = Scored(probabilities=np.linspace(0.9, 0.1, SIZE), threshold=0.5)
    scored = {"candidate": perfect, "prior": Scored(probabilities=np.full(SIZE, 0.1), threshold=0.1)}
    verdict = judge(of_models({**scored, "logistic": poor, "boosting": poor}, labels=labels), CONFIG)
    assert verdict.decision == "keep"
    assert "3 buyers in test are too few" in verdict.reason


def test_probabilities_of_exactly_0_and_1_are_judged_like_others() -> None:
    sure = Scored(probabilities=LABELS.astype(float), threshold=1.0)
    found = with_model(evidence(champion=30), "candidate", sure)
    for place in ("0", "1"):
        found = changed(found, "slices", place, "f1", value=1.0)
    assert judge(found, CONFIG).decision == "promote"


COUNT = 24
MISTAKES = st.sets(st.integers(0, COUNT - 1), max_size=9)


def small_world(mistakes: dict[str, set[int]], **about: object) -> Evidence:
    labels = np.arange(COUNT) % 2
    shapes = {"candidate": (0.2, 0.6, 0.5), "champion": (0.1, 0.3, 0.2), "boosting": (0.3, 0.5, 0.6)}
    scored = {"prior": Scored(probabilities=np.full(COUNT, 0.5), threshold=0.5)}
    scored["logistic"] = Scored(probabilities=np.full(COUNT, 0.1), threshold=0.5)
    for name, (low, step, threshold) in shapes.items():
        calls = np.array([label ^ (place in mistakes[name]) for place, label in enumerate(labels)])
        scored[name] = Scored(probabilities=low + step * calls, threshold=threshold)
    return of_models(scored, labels=labels, **{"version": "3", **about})


OPEN = GateConfig(
    min_f1=0.0, bootstrap=100, max_ece=None, min_positives=1, slice_drop=None, slice_buyers=1, audit_events=0
)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mistakes=st.fixed_dictionaries(dict.fromkeys(("candidate", "champion", "boosting"), MISTAKES)),
    margin=st.floats(0, 1),
    order=st.permutations(range(COUNT)),
)
def test_no_model_worse_than_the_champion_is_ever_promoted_in_any_order_of_rows(
    mistakes: dict[str, set[int]], margin: float, order: list[int]
) -> None:
    found, config = small_world(mistakes), OPEN.model_copy(update={"margin": margin})
    verdict = judge(found, config)
    f1 = {name: metrics["f1"] for name, metrics in found.measured["models"].items()}
    promoted = {"language_model": "candidate"}.get(verdict.model, verdict.model)
    assert verdict.decision == "keep" or f1[promoted] > f1["champion"]
    shuffled = found.predictions.iloc[order].reset_index(drop=True)
    assert judge(replace(found, predictions=shuffled), config) == verdict


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mistakes=st.fixed_dictionaries(dict.fromkeys(("candidate", "champion", "boosting"), MISTAKES)),
    damage=st.sampled_from([read for read in READ if read[1] == "measured"]),
    value=st.sampled_from(NO_FIGURES),
)
def test_damage_never_turns_keep_into_promote(
    mistakes: dict[str, set[int]], damage: tuple[str, str, tuple[str, ...], str], value: object
) -> None:
    found = small_world(mistakes)
    _, document, path, _ = damage
    config = OPEN.model_copy(update={"margin": 1.0, "max_ece": 1.0, "slice_drop": 1.0})
    assert judge(changed(found, *path, value=value, of=document), config).decision == "keep"


def test_hashes_are_about_examples_and_labels_in_order() -> None:
    found = evidence()
    table = found.predictions
    assert found.measured["test_hash"] == hash_examples(table["example"], table["label"])
    assert measure(LABELS, answers(30))["f1"] == pytest.approx(0.7)
    assert failed(judge(found, CONFIG).rules) == []
