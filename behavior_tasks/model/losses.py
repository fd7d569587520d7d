"""The losses of the heads: what the network says and what happened in, sums in nats out.

They are sums, not means, so that a batch can be computed in pieces, on one device after another or on several at
once: sums over the pieces, divided by the counts of the whole batch, are exactly the loss of the whole batch.

Shapes: B examples.
"""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def purchase_loss(
    logits_B: torch.Tensor, targets_B: torch.Tensor, weights_B: torch.Tensor, positive_weight: float = 1.0
) -> torch.Tensor:
    """Return the weighted cross-entropy of "buys within the horizon", summed over the examples.

    Args:
        logits_B: what the network says.
        targets_B: 0 or 1, or a probability between.
        weights_B: weight of each example.
        positive_weight: how much more it counts that somebody buys than that somebody does not.
    """
    counts = logits_B.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(logits_B, targets_B, weight=weights_B, pos_weight=counts, reduction="sum")


def amount_loss(
    mean_B: torch.Tensor, log_std_B: torch.Tensor, amounts_B: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Return the weighted negative log-likelihood of ln(amount) under a normal, summed over the buyers.

    With the purchase head's cross-entropy it is the zero-inflated lognormal loss of Wang, Liu and Miao (2019).

    Args:
        mean_B: mean of ln(amount).
        log_std_B: logarithm of its standard deviation.
        amounts_B: what was bought for; not above zero, or NaN, where nothing was.
        weights_B: weight of each example.

    Returns:
        A scalar; zero, with gradients, when nobody bought.
    """
    bought_B = amounts_B > 0
    distance_B = (torch.where(bought_B, amounts_B, 1.0).log() - mean_B) * torch.exp(-log_std_B)
    nats_B = 0.5 * distance_B**2 + log_std_B + 0.5 * math.log(2 * math.pi)
    return (nats_B * weights_B * bought_B).sum()
