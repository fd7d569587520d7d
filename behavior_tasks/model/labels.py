"""The check of labels: what a split's examples ended in goes in; a user error where nothing can be learned comes out.

The doctor refuses such logs long before, at its default limits; whoever lowers them meets this check instead of a
traceback, in the training and in the baselines alike.
"""

import numpy as np

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.timeline import Split


def check_labels(labels: np.ndarray, split: Split) -> None:
    """Refuse a split without examples, and a train or validation split whose examples all ended the same way.

    A test split of one kind is only measured on: what can't be measured on it is undefined.

    Args:
        labels: 0 or 1 of the split's examples, shape (n,).
        split: its name.
        both: whether it needs buyers and non-buyers.

    Raises:
        UserError: naming what is missing.
    """
    positives = int(np.sum(labels == 1))
    if 0 < positives < len(labels) or (split == "test" and len(labels)):
        return
    if not len(labels):
        problem, found = f"The {split} split is empty, so no model can be trained and measured.", "0 examples"
    else:
        who = "everybody" if positives else "nobody"
        problem = f"On {split}, {who} buys within the horizon, so there is nothing to tell apart."
        found = f"{positives} of {len(labels)} examples are positive"
    raise UserError(
        problem,
        found=found,
        expected="examples" if split == "test" else f"buyers and non-buyers on {split}",
        next_step="change examples.horizon_days or examples.train_cutoffs, or give a longer log; "
        "`behavior doctor` says what a log can carry",
    )
