"""The check of labels: what a split's examples ended in goes in; a user error where nothing can be learned comes out.

The doctor refuses such logs long before, at its default limits; whoever lowers them meets this check instead of a
traceback, in the training and in the baselines alike.
"""

import numpy as np

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.timeline import Split


def check_labels(labels: np.ndarray, split: Split) -> None:
    """Refuse a split without examples, and a train split whose examples all ended the same way.

    Args:
        labels: 0 or 1 of the split's examples, shape (n,).
        split: its name.

    Raises:
        UserError: naming what is missing.
    """
    buyers = int(np.sum(labels == 1))
    others = len(labels) - buyers
    if not len(labels):
        problem, expected = f"The {split} split is empty.", "examples with buyers and non-buyers"
    elif split == "train" and not buyers:
        problem, expected = "Nobody on the train split buys: there is nothing to learn.", "some buyers"
    elif split == "train" and not others:
        problem, expected = "Everybody on the train split buys: there is nothing to learn.", "some non-buyers"
    else:
        return
    raise UserError(
        problem,
        found=f"{buyers} buyers and {others} non-buyers",
        expected=expected,
        next_step="`behavior doctor` says what the log lacks; try another examples.horizon_days or a longer log",
    )
