"""The decision threshold: labels and probabilities in, the cut that gives the best F1 out.

It is chosen on validation, for the language model and for every baseline alike, and only applied afterwards.
"""

import numpy as np
from sklearn.metrics import precision_recall_curve


def best_f1_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold t for which "probability >= t" has the highest F1; the highest such t on a tie.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: shape (n,), aligned with the labels.

    Returns:
        One of the probabilities, or 1.0 when no label is positive, since F1 is then 0 at every threshold.

    >>> best_f1_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9]))
    0.4
    """
    if not np.any(labels == 1):
        return 1.0
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    # The curve's last point (precision 1, recall 0) has no threshold.
    precision, recall = precision[:-1], recall[:-1]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    # Thresholds ascend. The same F1 from other counts may differ in the last bit.
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)[-1]
    return float(thresholds[best])
