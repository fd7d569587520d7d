"""What a training learns from: the encode artifact and the settings in; rows, labels and weights out, checked.

The one thing to know: buyers may count more (`train.positive_weight`) and non-buyers may be sampled
(`train.negative_share`). Both shift what the purchase head learns by a known amount, `prior_offset`, which is added
to its logit ever after, so probabilities are those of the log and not of the sample.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.model.batches import lengths_of
from behavior_tasks.model.calibration import prior_offset
from behavior_tasks.model.labels import check_labels
from behavior_tasks.text.tokens import Sequences, TokenSet

SAMPLING = 1
"""Sets the random numbers that draw non-buyers apart from those that shuffle an epoch."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The examples of a training, as arrays of one entry an example of the artifact."""

    sequences: Sequences
    lengths: np.ndarray
    labels: np.ndarray
    """0 or 1."""
    targets: np.ndarray
    """What the purchase head learns: the labels, or with a teacher what lies between its probabilities and them."""
    amounts: np.ndarray
    """What was bought for; NaN where nothing was, or where it is not known."""
    weights: np.ndarray
    """What each example stands for; mean one over train."""
    purchase_weights: np.ndarray
    """The same, scaled so that with what a buyer counts the mean over an epoch is one."""
    train_rows: np.ndarray
    validation_rows: np.ndarray
    tokens: TokenSet
    settings: TrainConfig

    @classmethod
    def load(cls, folder: Path, settings: TrainConfig) -> Self:
        """Open the artifact of `encode`; the tokens stay on disk.

        Raises:
            UserError: a split is empty, or train or validation knows only buyers or only non-buyers.
        """
        data = TokenSet.load(folder)
        index = data.read_index(["label", "amount", "weight"])
        labels = index["label"].to_numpy(dtype=np.float32)
        train_rows, validation_rows = data.rows("train"), data.rows("validation")
        check_labels(labels[train_rows], "train")
        check_labels(labels[validation_rows], "validation")
        # Weights of mean one leave the size of a step as it is; a constant weight stays exactly one.
        weights = index["weight"].to_numpy(dtype=np.float64)
        weights = weights / weights[train_rows].mean()
        amounts = index["amount"].to_numpy(dtype=np.float32)
        without_scale = cls(
            sequences=data.sequences,
            lengths=lengths_of(data.sequences.offsets),
            labels=labels,
            targets=labels,
            amounts=np.where(np.isfinite(amounts), amounts, np.float32(np.nan)),
            weights=weights.astype(np.float32),
            purchase_weights=weights.astype(np.float32),
            train_rows=train_rows,
            validation_rows=validation_rows,
            tokens=data,
            settings=settings,
        )
        return without_scale.with_targets(labels)

    def with_targets(self, targets: np.ndarray) -> Self:
        """Return the data with other targets of the purchase head, float32, one an example of the artifact."""
        data = replace(self, targets=targets.astype(np.float32))
        rows = self.train_rows
        scale = np.average(self.weights[rows].astype(np.float64) * data._counts, weights=data._drawn)
        return replace(data, purchase_weights=(self.weights / scale).astype(np.float32))

    def with_teacher(self, probabilities: np.ndarray) -> Self:
        """Return the data with a teacher's probabilities mixed into the targets (train.distillation).

        Args:
            probabilities: of the train rows, as rare as in the log.
        """
        share, rows = self.settings.distillation, self.train_rows
        # Non-buyers are drawn by their label, which makes buyers more frequent; the teacher is told so.
        among_drawn = probabilities / (probabilities + self.settings.negative_share * (1 - probabilities))
        targets = self.labels.astype(np.float64)
        targets[rows] = (1 - share) * targets[rows] + share * among_drawn
        return self.with_targets(targets)

    @property
    def prior_offset(self) -> float:
        """What is added to a learned logit so that it is the log's again."""
        return prior_offset(self.settings.positive_weight, self.settings.negative_share)

    @property
    def _counts(self) -> np.ndarray:
        """How much each train example's target counts with `positive_weight`."""
        targets = self.targets[self.train_rows].astype(np.float64)
        return 1 + (self.settings.positive_weight - 1) * targets

    @property
    def _drawn(self) -> np.ndarray:
        """The chance of each train example to be drawn for an epoch."""
        return np.where(self.labels[self.train_rows] == 1, 1.0, self.settings.negative_share)

    def epoch_rows(self, epoch: int) -> np.ndarray:
        """Return the train rows that an epoch goes through, ascending: all buyers and fresh non-buyers."""
        share = self.settings.negative_share
        if share == 1:
            return self.train_rows
        is_buyer = self.labels[self.train_rows] == 1
        negatives = self.train_rows[~is_buyer]
        random = np.random.default_rng([self.settings.seed, epoch, SAMPLING])
        drawn = random.choice(negatives, math.ceil(len(negatives) * share), replace=False)
        return np.sort(np.concatenate([self.train_rows[is_buyer], drawn]))

    @property
    def epoch_examples(self) -> int:
        """How many examples every epoch goes through."""
        return len(self.epoch_rows(0))

    @property
    def learned_share(self) -> float:
        """The share of buyers that the purchase head meets, with every weight and the sampling, on train."""
        weights = self.weights[self.train_rows] * self._drawn
        buyers = self.settings.positive_weight * self.targets[self.train_rows]
        return float((weights * buyers).sum() / (weights * self._counts).sum())

    @property
    def log_amounts(self) -> np.ndarray:
        """ln(amount) of the train examples that have one; none when the log tells no amounts."""
        paid = self.amounts[self.train_rows]
        return np.log(paid[paid > 0])
