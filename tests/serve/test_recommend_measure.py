"""Measures of lists, checked against scikit-learn and by hand; and how a method is chosen."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from behavior_tasks.serve.recommend_log import NEVER, Log
from behavior_tasks.serve.recommend_measure import FIGURES, Measured, ahead, choose, measure_lists
from behavior_tasks.serve.recommend_methods import neighbours, own_products, same_for_all, similar_products
from behavior_tasks.serve.recommend_rank import Candidates, gather
from behavior_tasks.serve.recommend_reasons import Reasons
from behavior_tasks.serve.recommend_world import with_scores
from behavior_tasks.verdict.bootstrap import Resampling

DRAWING = Resampling(resamples=300, confidence=0.95, seed=3)
DAY = 86_400_000_000


def little_log() -> Log:
    """Four shoppers, five products: a and b go together, c is popular, d lies in a cart, e was not touched lately."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (3, 2), (3, 3), (3, 4)]
    who, product = (np.array(column) for column in zip(*pairs, strict=True))
    now = int(np.datetime64("2026-03-01", "us").astype(np.int64))
    carted, bought = np.full(len(who), NEVER), np.full(len(who), NEVER)
    carted[8], bought[4] = now - 2 * DAY, now - 3 * DAY
    times = (bought != NEVER).astype(np.int64)
    return Log(
        cutoff=np.datetime64("2026-03-01", "us").item(),
        shoppers=np.array(["s0", "s1", "s2", "s3"], dtype=object),
        bucket=np.zeros(4, dtype=np.int64),
        active=np.ones(4, dtype=bool),
        products=np.array(["a", "b", "c", "d", "e"], dtype=object),
        category=np.array([0, 0, 1, 1, -1]),
        categories=np.array(["cups", "plates"], dtype=object),
        names=np.array(["", "big bowl", "", "", ""], dtype=object),
        born=np.full(5, now - 50 * DAY),
        who=who,
        product=product,
        interest=np.array([1.0, 1, 1, 1, 2, 1, 1, 1, 3, 0.5]),
        last=np.full(len(who), now - 4 * DAY),
        first=np.full(len(who), now - 9 * DAY),
        times=times,
        bought=bought,
        carted=carted,
        touched_lately=product != 4,
        bought_lately=times > 0,
    )


def test_ndcg_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    lists = np.stack([rng.permutation(30)[:10] for _ in range(20)])
    targets = [np.sort(rng.choice(30, rng.integers(1, 14), replace=False)) for _ in range(20)]
    found = measure_lists(lists, targets, np.full(30, 0.1), np.ones(30, dtype=bool))
    scores = np.zeros((20, 30))
    np.put_along_axis(scores, lists, np.arange(10, 0, -1)[None], axis=1)
    truth = np.zeros((20, 30))
    for row, target in enumerate(targets):
        truth[row, target] = 1
    expected = [ndcg_score(truth[[row]], scores[[row]], k=10) for row in range(20)]
    np.testing.assert_allclose(found.per_shopper["ndcg"], expected, atol=1e-12)
    hits = [len(set(one) & set(other)) / len(other) for one, other in zip(lists, targets, strict=True)]
    np.testing.assert_allclose(found.per_shopper["recall"], hits)


def test_an_empty_place_of_a_list_is_no_hit_and_no_novelty() -> None:
    lists = np.array([[2, *[-1] * 9], [-1] * 10])
    found = measure_lists(lists, [np.array([2]), np.array([0])], np.array([0.5, 0.5, 0.25]), np.ones(3, dtype=bool))
    assert found.per_shopper["mrr"].tolist() == [1, 0]
    assert found.per_shopper["hit"].tolist() == [1, 0]
    assert found.novelty == pytest.approx(2)
    assert found.coverage == pytest.approx(1 / 3)


def _with_ndcg(values: np.ndarray) -> Measured:
    return Measured(per_shopper=dict.fromkeys(FIGURES, values), coverage=0, novelty=0)


def test_the_simplest_method_that_the_best_is_not_shown_to_beat_is_chosen() -> None:
    rng = np.random.default_rng(1)
    simple = rng.random(400)
    noise = rng.normal(0, 0.2, 400)
    a_little = _with_ndcg(simple + 0.001 + noise - noise.mean())
    much = _with_ndcg(simple + 0.2)
    assert choose({"simple": _with_ndcg(simple), "other": a_little}, DRAWING) == "simple"
    assert choose({"simple": _with_ndcg(simple), "other": much}, DRAWING) == "other"
    assert choose({"other": a_little, "simple": _with_ndcg(simple)}, DRAWING) == "other", (
        "the order says what is simple"
    )
    gap = ahead(much, _with_ndcg(simple), DRAWING)
    assert gap.is_shown
    assert gap.difference == pytest.approx(0.2)


def test_item_knn_is_the_cosine_weighted_by_interest() -> None:
    log = little_log()
    touched = np.zeros((4, 5))
    touched[log.who, log.product] = 1
    cosine = (touched.T @ touched) / np.sqrt(np.outer(touched.sum(axis=0), touched.sum(axis=0)))
    similar = similar_products(log)
    np.testing.assert_allclose(similar.toarray(), cosine, atol=1e-6)
    interest = np.zeros((4, 5))
    interest[log.who, log.product] = log.interest
    every = np.arange(4)
    np.testing.assert_allclose(neighbours(log, similar)(every), interest @ cosine, atol=1e-5)
    assert log.product.tolist() == little_log().product.tolist(), "the log itself stays as it was"


def test_product_scores_come_first_and_the_reading_shares_what_is_left() -> None:
    scores, reading = np.array([[0.3, 0, 0]], dtype=np.float32), np.array([[0.5, 0.3, 0.1]], dtype=np.float32)
    told = with_scores(lambda _: scores, lambda _: reading, 0.2)(np.array([0]))
    np.testing.assert_allclose(told, [[0.3, 0.15, 0.05]], atol=1e-6)


def test_candidates_are_allowed_and_lists_go_on_with_what_is_popular_lately() -> None:
    log = little_log()
    methods = {"own": own_products(log), "same": same_for_all(np.array([0.0, 0, 0, 0, 9]))}
    forbidden = np.array([True, True, False, True, True])
    found = gather(log, np.arange(4), methods, lambda who: np.tile(forbidden, (len(who), 1)), each=3)
    assert 2 not in found.product
    lists = found.lists(found.scores["own"], 4)
    assert lists[3].tolist()[:2] == [3, 4]
    assert set(lists[3].tolist()[2:]) == {0, 1}, "what they never touched follows, as it is popular"
    assert lists[2].tolist()[0] == 0


def test_at_most_so_many_of_one_category_stand_in_a_list() -> None:
    found = Candidates(
        who=np.array([0]),
        row=np.zeros(5, dtype=np.int64),
        product=np.arange(5),
        scores={},
        filler=np.zeros(5),
    )
    score = np.array([5.0, 4, 3, 2, 1])
    category = np.array([0, 0, 0, -1, -1])
    assert found.lists(score, 4, category=category, per_category=1).tolist() == [[0, 3, 4, -1]]
    assert found.lists(score, 4, category=category).tolist() == [[0, 1, 2, 3]]


def test_reasons_tell_what_the_shopper_did() -> None:
    log = little_log()
    reasons = Reasons(log, similar_products(log))
    assert reasons.of(3, 3) == "in their cart, put there 2 days ago"
    assert reasons.of(1, 2) == "bought once, last 3 days ago"
    assert reasons.of(0, 1) == "looked at 4 days ago"
    assert reasons.of(2, 1) == "often chosen together with a"
    assert reasons.of(0, 4) == "popular in the shop"
    assert reasons.name(1) == "big bowl"
