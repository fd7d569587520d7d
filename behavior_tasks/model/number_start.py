"""The number branch's start: train's numbers and what they should tell in, a branch that has learned it out.

Numbers are learned in seconds, texts in minutes, and learned together the numbers would overfit long before a text is
understood. So the number branch learns first and by itself, with hidden states of zero in place of a text; what then
follows moves it slowly (`groups.NUMBER_RATE_FACTOR`), and the text adds to it. Nothing but the seed decides the result.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, gaussian_nll_loss

from behavior_tasks.model.groups import NUMBERS
from behavior_tasks.model.network import BehaviorModel

EPOCHS = 6
BATCH = 256
PEAK_RATE = 1e-3
WARMUP = 0.05
"""Share of the steps in which the rate rises; then it falls along a cosine, to zero."""
DECAY = 0.01


@dataclass(frozen=True, kw_only=True)
class NumberExamples:
    """The n train examples."""

    numbers: np.ndarray
    """In the order of the model's `number_names`, shape (n, F); NaN where undefined."""
    targets: np.ndarray
    """What the purchase probability should be: labels, or a teacher's probabilities, shape (n,)."""
    weights: np.ndarray
    """What each example stands for, shape (n,), mean one."""
    amounts: np.ndarray
    """What was bought for; not above zero, or NaN, where nothing was, shape (n,)."""


def start_with_numbers(model: BehaviorModel, examples: NumberExamples, *, seed: int, amount_weight: float) -> None:
    """Train the number branch and the biases of the heads by themselves, in place; nothing where there are no numbers.

    Args:
        model: freshly built, its biases set; torch's random state is used up.
        examples: the train split.
        seed: decides the order of the examples and the dropout.
        amount_weight: weight of the amount's log-likelihood, beside one for the purchase.
    """
    if not model.number_names:
        return
    device = model.purchase.bias.device
    trained = [value for name, value in model.named_parameters() if name.startswith(NUMBERS)]
    trained.append(model.purchase.bias)
    if model.inputs.amounts:
        trained.append(model.amount.bias)
    count = len(examples.numbers)
    total = EPOCHS * math.ceil(count / BATCH)
    optimiser = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total))
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    was_training = model.training
    model.train()
    for _ in range(EPOCHS):
        order = random.permutation(count)
        for start in range(0, count, BATCH):
            loss = _loss(model, examples, order[start : start + BATCH], amount_weight, device)
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                parameter.grad = gradient
            optimiser.step()
            schedule.step()
    optimiser.zero_grad()
    model.train(was_training)


def _loss(
    model: BehaviorModel, examples: NumberExamples, rows: np.ndarray, amount_weight: float, device: torch.device
) -> torch.Tensor:
    def part(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values[rows], dtype=np.float32)).to(device)

    numbers_BF, weights_B = part(examples.numbers), part(examples.weights)
    no_text_BD = torch.zeros(len(rows), model.purchase.in_features, device=device)
    purchase_B, mean_B, log_std_B = model.read(no_text_BD, numbers_BF)
    loss = binary_cross_entropy_with_logits(purchase_B, part(examples.targets), weight=weights_B)
    if mean_B is None or log_std_B is None:
        return loss
    amounts_B = part(examples.amounts)
    bought_B = amounts_B > 0
    logs_B = torch.where(bought_B, amounts_B, 1.0).log()
    nats_B = gaussian_nll_loss(mean_B, logs_B, torch.exp(2 * log_std_B), reduction="none")
    shares_B = weights_B * bought_B
    return loss + amount_weight * (nats_B * shares_B).sum() / shares_B.sum().clamp(min=1e-9)


def _rate(step: int, total: int) -> float:
    warmup = max(1, round(total * WARMUP))
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
