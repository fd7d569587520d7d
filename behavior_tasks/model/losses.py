"""The losses of the three heads: what the network says and what happened in, means in nats out.

Shapes: B examples. All sums run over weighted examples, so that a sample stands for what it was drawn from.
"""

import math

import torch


def amount_loss(
    mean_B: torch.Tensor, log_std_B: torch.Tensor, amounts_B: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Return the weighted negative log-likelihood of ln(amount) under a normal, a mean over the batch's buyers.

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
    weights_B = weights_B * bought_B
    return (nats_B * weights_B).sum() / weights_B.sum().clamp(min=torch.finfo(weights_B.dtype).tiny)
