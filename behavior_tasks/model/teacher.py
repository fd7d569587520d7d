"""The teacher: the train examples' numbers and labels in, what gradient boosting thinks of each example out.

The network may learn from the teacher's probabilities instead of from who happened to buy (Hinton et al. 2015): they
say the same with far less noise. Each example is judged by trees that saw nobody of its fold, and folds keep a
shopper's examples together, so the teacher never repeats a label it has learned.
"""

import logging

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from behavior_tasks.model.baselines import BOOSTING

FOLDS = 4
ROUNDS = 90
MOST_ROWS = 200_000
"""Examples that the trees of one fold are grown on, at most; more teach them little and take minutes."""
log = logging.getLogger("behavior")


def teach(
    numbers: np.ndarray, labels: np.ndarray, weights: np.ndarray, shoppers: np.ndarray, *, seed: int, threads: int
) -> np.ndarray | None:
    """Return the out-of-fold probability of a purchase of each example, shape (n,), float64.

    Args:
        numbers: shape (n, F); NaN where undefined.
        labels: 0 or 1, shape (n,).
        weights: what each example stands for, shape (n,).
        shoppers: whose example it is, shape (n,).
        seed: of the sampling and the trees.
        threads: CPU threads.

    Returns:
        None when there is nothing to teach from: no numbers, or too few shoppers to leave some out.
    """
    if not numbers.shape[1] or len(np.unique(shoppers)) < FOLDS:
        return None
    found = np.empty(len(labels))
    random = np.random.default_rng([seed, FOLDS])
    with threadpool_limits(limits=threads):
        for seen, judged in GroupKFold(n_splits=FOLDS).split(labels, groups=shoppers):
            if len(seen) > MOST_ROWS:
                seen = np.sort(random.choice(seen, MOST_ROWS, replace=False))
            if len(np.unique(labels[seen])) < 2:
                return None
            # A feature that is never defined in a fold is no feature there.
            defined = ~np.isnan(numbers[seen]).all(axis=0)
            trees = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=seed, **BOOSTING)
            trees.fit(numbers[seen][:, defined], labels[seen], sample_weight=weights[seen])
            found[judged] = trees.predict_proba(numbers[judged][:, defined])[:, 1]
    return found
