<<<<<<< HEAD
"""The teacher: boosting's out-of-fold probabilities of the train examples in, targets to learn the purchase from out.
=======
"""The teacher: boosting's out-of-fold probabilities of train, as `baselines` wrote them, in; an array in row order out.
>>>>>>> part3

The one thing to know: it replaces labels on train only; validation and test are always measured on labels.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError

<<<<<<< HEAD
def soften(
    labels: np.ndarray, examples: pd.Series, teacher: Path, share: float, *, negative_share: float = 1.0
) -> np.ndarray:
    """Return targets (1 - share) x label + share x the teacher's probability; the label where the teacher says nothing.
=======

def read_teacher(path: Path, examples: pd.Series) -> np.ndarray:
    """Return the teacher's probability of a purchase of each example.
>>>>>>> part3

    Args:
        path: Parquet file with example and boosting.
        examples: the examples' ids, n of them.
<<<<<<< HEAD
        teacher: Parquet file with example and boosting.
        share: between 0 and 1.
        negative_share: share of the non-buyers that are learned from. Among those, buyers are more frequent than the
            teacher, who saw all, believes; its odds are raised as much.
=======
>>>>>>> part3

    Returns:
        Shape (n,), float64.

    Raises:
        UserError: when the teacher says nothing of one of them.
    """
<<<<<<< HEAD
    told = pd.read_parquet(teacher).set_index("example")["boosting"].reindex(examples).to_numpy()
    told = told / (told + negative_share * (1 - told))
    told = np.where(np.isnan(told), labels, told)
    return ((1 - share) * labels + share * told).astype(np.float32)
=======
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
>>>>>>> part3
