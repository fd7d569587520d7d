"""The teacher: boosting's out-of-fold probabilities of the train examples in, targets to learn the purchase from out.

The one thing to know: a target replaces a label on train only; validation and test are always measured on labels.
"""

from pathlib import Path

import numpy as np
import pandas as pd


def soften(labels: np.ndarray, examples: pd.Series, teacher: Path, share: float) -> np.ndarray:
    """Return targets (1 - share) x label + share x the teacher's probability; the label where the teacher says nothing.

    Args:
        labels: 0 or 1, shape (n,).
        examples: the examples' ids, n of them.
        teacher: Parquet file with example and boosting.
        share: between 0 and 1.

    Returns:
        Shape (n,), float32.
    """
    told = pd.read_parquet(teacher).set_index("example")["boosting"].reindex(examples).to_numpy()
    told = np.where(np.isnan(told), labels, told)
    return ((1 - share) * labels + share * told).astype(np.float32)
