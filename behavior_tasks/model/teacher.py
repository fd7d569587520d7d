"""The teacher: boosting's out-of-fold probabilities of train, as `baselines` wrote them, in; an array in row order out.

The one thing to know: it replaces labels on train only; validation and test are always measured on labels.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError


def read_teacher(path: Path, examples: pd.Series) -> np.ndarray:
    """Return the teacher's probability of a purchase of each example.

    Args:
        path: Parquet file with example and boosting.
        examples: the examples' ids, n of them.

    Returns:
        Shape (n,), float64.

    Raises:
        UserError: when the teacher says nothing of one of them.
    """
    told = pd.read_parquet(path).set_index("example")["boosting"].reindex(examples).to_numpy(dtype=np.float64)
    unknown = int(np.isnan(told).sum())
    if unknown:
        raise UserError(
            "The teacher does not know all train examples (train.distillation).",
            found=f"{unknown} of {len(told)} without a probability of gradient boosting's",
            expected="baselines of the same examples",
            next_step="run again, so that the baselines are made anew, or set train.distillation=0",
        )
    return told
