import numpy as np
import pytest
from sklearn.metrics import f1_score

from behavior_tasks.model.threshold import best_f1_threshold


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_is_better_and_the_highest_of_the_best_is_taken(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 25)
    labels[0] = 1
    scores = random.integers(0, 8, 25) / 8  # ties on purpose

    chosen = best_f1_threshold(labels, scores)

    by_hand = {t: f1_score(labels, scores >= t, zero_division=0) for t in np.unique(scores)}
    best = max(by_hand.values())
    assert chosen == max(t for t, f1 in by_hand.items() if f1 >= best - 1e-12)


def test_without_a_positive_label_nothing_is_predicted() -> None:
    assert best_f1_threshold(np.zeros(3, dtype=int), np.array([0.1, 0.5, 0.9])) == 1.0


def test_a_tie_takes_the_highest_threshold() -> None:
    # At 0.8: 1 of 1 right, 1 of 2 found, F1 2/3. At 0.4: 2 of 4 right, 2 of 2 found, F1 2/3.
    assert best_f1_threshold(np.array([1, 0, 0, 1]), np.array([0.8, 0.6, 0.5, 0.4])) == 0.8
