"""What a training learns from: the encode artifact and the settings in; rows, labels and weights out, checked.

The one thing to know: buyers may count more (`train.positive_weight`) and non-buyers may be sampled
(`train.negative_share`). Both shift what the purchase head learns by a known amount, `prior_offset`, which is added
to its logit ever after, so probabilities are those of the log and not of the sample.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import lengths_of
from behavior_tasks.model.calibration import prior_offset
from behavior_tasks.text.tokens import Sequences, TokenSet

SAMPLING = 1
"""Sets the random numbers that draw non-buyers apart from those that shuffle an epoch."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The examples of a training, as arrays of one entry an example of the artifact."""

    sequences: Sequences
    lengths: np.ndarray
    labels: np.ndarray
    amounts: np.ndarray
    """What was bought for; NaN where nothing was, or where it is not known."""
    weights: np.ndarray
    """What each example stands for; mean one over train."""
    purchase_weights: np.ndarray
    """The same with `positive_weight` on buyers; mean one over an epoch."""
    train_rows: np.ndarray
    validation_rows: np.ndarray
    negative_share: float
    seed: int
    prior_offset: float
    """What is added to a learned logit so that it is the log's again."""

    @classmethod
    def load(cls, folder: Path, settings: TrainConfig) -> Self:
        """Open the artifact of `encode`; the tokens stay on disk.

        Raises:
            UserError: a split is empty, or train or validation knows only buyers or only non-buyers.
        """
        data = TokenSet.load(folder)
        labels = data.index["label"].to_numpy(dtype=np.float32)
        train_rows, validation_rows = data.rows("train"), data.rows("validation")
        for name, rows in (("train", train_rows), ("validation", validation_rows)):
            _check_labels(name, labels[rows])
        # Weights of mean one leave the size of a step as it is; a constant weight stays exactly one.
        weights = data.index["weight"].to_numpy(dtype=np.float64)
        weights = weights / weights[train_rows].mean()
        purchase_weights = np.where(labels == 1, settings.positive_weight, 1.0) * weights
        drawn = np.where(labels == 1, 1.0, settings.negative_share)
        purchase_weights = purchase_weights / np.average(purchase_weights[train_rows], weights=drawn[train_rows])
        amounts = data.index["amount"].to_numpy(dtype=np.float32)
        return cls(
            sequences=data.sequences,
            lengths=lengths_of(data.sequences.offsets),
            labels=labels,
            amounts=np.where(np.isfinite(amounts), amounts, np.float32(np.nan)),
            weights=weights.astype(np.float32),
            purchase_weights=purchase_weights.astype(np.float32),
            train_rows=train_rows,
            validation_rows=validation_rows,
            negative_share=settings.negative_share,
            seed=settings.seed,
            prior_offset=prior_offset(settings.positive_weight, settings.negative_share),
        )

    def epoch_rows(self, epoch: int) -> np.ndarray:
        """Return the train rows that an epoch goes through, ascending: all buyers and fresh non-buyers."""
        if self.negative_share == 1:
            return self.train_rows
        is_buyer = self.labels[self.train_rows] == 1
        negatives = self.train_rows[~is_buyer]
        random = np.random.default_rng([self.seed, epoch, SAMPLING])
        drawn = random.choice(negatives, math.ceil(len(negatives) * self.negative_share), replace=False)
        return np.sort(np.concatenate([self.train_rows[is_buyer], drawn]))

    @property
    def epoch_examples(self) -> int:
        """How many examples every epoch goes through."""
        return len(self.epoch_rows(0))

    @property
    def learned_share(self) -> float:
        """The share of buyers that the purchase head meets, with every weight and the sampling, on train."""
        rows = self.train_rows
        drawn = np.where(self.labels[rows] == 1, 1.0, self.negative_share)
        return float(np.average(self.labels[rows], weights=self.purchase_weights[rows].astype(np.float64) * drawn))

    @property
    def log_amounts(self) -> np.ndarray:
        """ln(amount) of the train examples that have one; none when the log tells no amounts."""
        paid = self.amounts[self.train_rows]
        return np.log(paid[paid > 0])


def _check_labels(split: str, labels: np.ndarray) -> None:
    positives = int((labels == 1).sum())
    if 0 < positives < len(labels):
        return
    if not len(labels):
        problem, found = f"The {split} split is empty, so no model can be trained.", "0 examples"
    else:
        who = "everybody" if positives else "nobody"
        problem = f"On {split}, {who} buys within the horizon, so there is nothing to tell apart."
        found = f"{positives} of {len(labels)} examples are positive"
    raise UserError(
        problem,
        found=found,
        expected=f"buyers and non-buyers on {split}",
        next_step="change examples.horizon_days or examples.train_cutoffs, or give a longer log; "
        "`behavior doctor` says what a log can carry",
    )
