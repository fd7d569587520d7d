"""Skewed numbers: when a feature is one, and the logarithm that it is then read through.

Logistic regression and the network read skewed features the same way. The one thing to know: it keeps order, zero and
undefined values, so nothing has to be known of a feature but its skewness on train.
"""

import numpy as np

SKEWED_ABOVE = 1.0
"""Skewness on train, either way, above which a feature is read as a signed logarithm."""


def signed_log(values: np.ndarray) -> np.ndarray:
    """Return sign(x) ln(1 + |x|), which keeps order, zero and undefined values.

    >>> signed_log(np.array([0.0, -1.0])).round(3).tolist()
    [0.0, -0.693]
    """
    return np.sign(values) * np.log1p(np.abs(values))
