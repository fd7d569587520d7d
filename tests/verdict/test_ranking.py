"""Rankings against scikit-learn and against every order of the ties; what never matters, does not."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from behavior_tasks.verdict.ranking import LIFTS, SHARES, Ranking, measure_ranking

EXAMPLES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40)
"""Label, score (with many ties) and weight."""


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    return labels, scores / 7, weights.astype(float)


@given(rows=EXAMPLES)
def test_weighted_figures_are_scikit_learns(rows: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = columns(rows)
    ranking = Ranking.of(labels, scores)
    walk = ranking.walk(weights[ranking.order])
    buyers, others = weights[labels == 1].sum(), weights[labels == 0].sum()
    if buyers:
        expected = average_precision_score(labels, scores, sample_weight=weights)
        assert walk.average_precision() == pytest.approx(expected)
    else:
        assert math.isnan(walk.average_precision())
        assert all(math.isnan(value) for value in walk.gains())
    if buyers and others:
        assert walk.roc_auc() == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    else:
        assert math.isnan(walk.roc_auc())


def test_of_ties_the_expected_share_counts() -> None:
    # Ten examples, the top 10 % is one of them; the three with the highest score are a tie with one buyer among them.
    labels = np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    scores = np.array([0.9, 0.9, 0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.0])
    found = [labels[[*order, *range(3, 10)]][0] / 2 for order in permutations(range(3))]
    assert measure_ranking(labels, scores)["gain_10"] == pytest.approx(np.mean(found))
    assert measure_ranking(labels, scores)["lift_10"] == pytest.approx(np.mean(found) / 0.1)


def test_lift_is_the_precision_of_the_top_over_the_share_of_buyers() -> None:
    generator = np.random.default_rng(3)
    labels = (generator.random(1000) < 0.2).astype(int)
    scores = labels * 0.3 + generator.random(1000)
    ordered = labels[np.argsort(-scores)]
    found = measure_ranking(labels, scores)
    for name, share in SHARES.items():
        top = ordered[: int(1000 * share)]
        assert found[f"lift_{name}"] == pytest.approx(top.mean() / labels.mean())
        assert found[f"gain_{name}"] == pytest.approx(top.sum() / labels.sum())
    assert found["lift_1"] > found["lift_10"] > 1


def test_an_example_across_the_edge_counts_by_its_part() -> None:
    # Of fifty examples, half of one is the top 1 %.
    assert measure_ranking(np.array([1, 1] + [0] * 48), np.arange(50, 0, -1))["gain_1"] == pytest.approx(0.25)


def test_one_score_for_all_lifts_nobody() -> None:
    found = measure_ranking(np.array([1, 0, 0, 1, 0]), np.full(5, 0.4))
    assert [found[f"lift_{name}"] for name in SHARES] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("labels", [np.zeros(5, dtype=int), np.zeros(0, dtype=int)])
def test_without_a_buyer_there_is_no_lift(labels: np.ndarray) -> None:
    assert all(math.isnan(value) for value in measure_ranking(labels, np.linspace(0, 1, len(labels))).values())


@settings(max_examples=50)
@given(rows=EXAMPLES, seed=st.integers(0, 9))
def test_the_order_of_the_rows_never_matters(rows: list[tuple[int, int, int]], seed: int) -> None:
    labels, scores, _ = columns(rows)
    other = np.random.default_rng(seed).permutation(len(labels))
    first, second = measure_ranking(labels, scores), measure_ranking(labels[other], scores[other])
    assert [first[name] for name in LIFTS] == pytest.approx([second[name] for name in LIFTS], nan_ok=True)
