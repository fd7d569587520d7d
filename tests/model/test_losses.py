import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from behavior_tasks.model.losses import amount_loss, purchase_loss


def test_the_amount_loss_is_the_normal_log_likelihood_of_the_log_amounts_of_buyers() -> None:
    mean, log_std = torch.tensor([1.0, 2.0, 3.0, 0.5]), torch.tensor([0.0, -0.5, 0.3, 0.1])
    amounts, weights = torch.tensor([5.0, 0.0, 40.0, math.nan]), torch.tensor([1.0, 9.0, 2.0, 9.0])
    expected = -norm.logpdf(math.log(5), 1.0, 1.0) - 2 * norm.logpdf(math.log(40), 3.0, math.exp(0.3))
    assert amount_loss(mean, log_std, amounts, weights).item() == pytest.approx(expected, rel=1e-5)


def test_without_buyers_the_amount_loss_is_zero_and_so_are_its_gradients() -> None:
    mean, log_std = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = amount_loss(mean, log_std, torch.tensor([math.nan, 0.0]), torch.ones(2))
    loss.backward()
    assert loss.item() == 0
    assert mean.grad is not None
    assert log_std.grad is not None
    assert mean.grad.tolist() == log_std.grad.tolist() == [0, 0]


def test_the_amount_loss_is_least_at_the_mean_and_spread_of_the_log_amounts() -> None:
    amounts = torch.from_numpy(np.exp(np.random.default_rng(0).normal(3, 0.5, 500)).astype(np.float32))
    logs, ones = amounts.log(), torch.ones(500)
    best = amount_loss(logs.mean().expand(500), logs.std().log().expand(500), amounts, ones)
    for shift, stretch in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.2), (0.0, -0.2)):
        mean, log_std = (logs.mean() + shift).expand(500), (logs.std().log() + stretch).expand(500)
        assert amount_loss(mean, log_std, amounts, ones) > best


def test_the_purchase_loss_is_a_weighted_sum_of_nats() -> None:
    logits = torch.tensor([0.0, math.log(3), -math.log(3)])
    loss = purchase_loss(logits, torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 0.5]))
    assert loss.item() == pytest.approx(math.log(2) + 2 * math.log(4 / 3) + 0.5 * math.log(4), rel=1e-6)
