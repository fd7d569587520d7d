"""The objective: a piece of a batch and what happened in, the loss of every head out, as sums.

One module holds the network and its losses, so that all of a step's arithmetic can be compiled, or run in another
precision, as one thing. Sums of pieces are weighed by the counts of the whole batch (`Totals`), see `losses`.

Shapes: B examples of the piece, T tokens of the longest, N positions whose next token is predicted.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from behavior_tasks.model.batches import Batch
from behavior_tasks.model.losses import amount_loss, purchase_loss
from behavior_tasks.model.network import BehaviorModel


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What happened after each example's cutoff, and what is asked of its text."""

    purchase_B: torch.Tensor
    """1.0 where something was bought within the horizon, else 0.0; or a teacher's probability."""
    weights_B: torch.Tensor
    """What each example stands for."""
    purchase_weights_B: torch.Tensor
    """The same, on the scale of the purchase loss."""
    amounts_B: torch.Tensor
    """What was bought for; NaN where nothing was."""
    positions_N: torch.Tensor
    """Flat positions into B x T that the language head is asked about, ascending; may be none."""

    def to(self, device: torch.device) -> "Targets":
        """Return the targets on another device."""
        return Targets(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


class Sums(NamedTuple):
    """The losses of some examples, each summed, in nats."""

    purchase: torch.Tensor
    next_token: torch.Tensor
    amount: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the sums of a whole batch are divided by."""

    examples: int
    targets: int
    """Positions whose next token is predicted."""
    buyers: float
    """Weights of the examples with an amount."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much the heads beside the purchase count."""

    next_token: float
    amount: float

    def combine(self, sums: Sums, totals: Totals) -> torch.Tensor:
        """Return the part of a batch's loss that some of its examples make up."""
        loss = sums.purchase / totals.examples
        if totals.targets:
            loss = loss + self.next_token / totals.targets * sums.next_token
        if totals.buyers:
            loss = loss + self.amount / totals.buyers * sums.amount
        return loss


class Objective(nn.Module):
    """The network and its losses."""

    def __init__(self, model: BehaviorModel, positive_weight: float) -> None:
        super().__init__()
        self.model = model
        self.positive_weight = positive_weight

    def forward(self, batch: Batch, targets: Targets) -> Sums:
        """Return the losses of a piece. They are computed in float32 whatever the network computes in."""
        outputs = self.model(batch)
        logits_B, weights_B = outputs.purchase_B.float(), targets.purchase_weights_B
        purchase = purchase_loss(logits_B, targets.purchase_B, weights_B, self.positive_weight)
        next_token = amount = purchase.new_zeros(())
        count = targets.positions_N.shape[0]
        if count:
            mean = self.model.next_token_loss(batch, outputs.hidden_BTD, targets.positions_N)
            next_token = mean.float() * count
        if outputs.amount_mean_B is not None and outputs.amount_log_std_B is not None:
            mean_B, log_std_B = outputs.amount_mean_B.float(), outputs.amount_log_std_B.float()
            amount = amount_loss(mean_B, log_std_B, targets.amounts_B, targets.weights_B)
        return Sums(purchase, next_token, amount)
