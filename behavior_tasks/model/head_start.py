"""The head start: the number branch of a fresh network learns by itself, for seconds, before the text joins it.

Numbers say at once what text says only after long training, and a text that is still guessing would disturb them. So
the branch is fitted first, as a small network on a table, and what reads the text begins at zero: as a correction to
what the numbers say. Measured in docs/experiments.md.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from behavior_tasks.model.batches import number_places
from behavior_tasks.model.losses import amount_loss, purchase_loss
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.schedule import learning_rate, seed_of
from behavior_tasks.model.training_data import TrainingData

BATCH_SIZE = 256
LEARNING_RATE = 1e-3
MOST_STEPS = 20_000
"""Enough for any log: about a minute."""
HEAD_START = 2
"""Sets these random numbers apart from the training's own."""
CHECK_STEPS = 50


def give_head_start(model: BehaviorModel, data: TrainingData, check: Callable[[], None]) -> None:
    """Fit the number branch on train; nothing is done when the model reads no numbers.

    Args:
        model: fresh, on the device where it is trained.
        data: its train rows.
        check: called now and then; may raise to stop.
    """
    settings = data.settings
    if not model.number_names or not settings.number_epochs:
        return
    device = next(model.parameters()).device
    heads = [model.purchase.bias]
    if model.inputs.amounts:
        heads += [model.amount.text.bias, model.amount.log_std]
    groups: list[dict[str, Any]] = [
        {"params": list(model.fusion.parameters())},
        {"params": heads, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(
        groups,
        lr=LEARNING_RATE,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    steps_per_epoch = math.ceil(data.epoch_examples / BATCH_SIZE)
    total = min(MOST_STEPS, settings.number_epochs * steps_per_epoch)
    model.fusion.train()
    for step in range(total):
        epoch, place = divmod(step, steps_per_epoch)
        if place == 0:
            order = np.random.default_rng([settings.seed, epoch, HEAD_START]).permutation(data.epoch_rows(epoch))
        if step % CHECK_STEPS == 0:
            check()
        torch.manual_seed(seed_of(settings.seed, step, HEAD_START))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, total, LEARNING_RATE)
        optimiser.zero_grad()
        _loss(model, data, np.sort(order[place * BATCH_SIZE : (place + 1) * BATCH_SIZE]), device).backward()
        optimiser.step()


def _loss(model: BehaviorModel, data: TrainingData, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return what the heads lose on some rows with a text that says nothing."""

    def of(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[rows]).to(device)

    places = number_places(data.sequences, model.number_names)
    numbers_BF = torch.from_numpy(np.asarray(data.sequences.numbers[rows][:, places], dtype=np.float32)).to(device)
    text_BD = numbers_BF.new_zeros(len(rows), model.purchase.in_features)
    purchase_B, mean_B, log_std_B = model.tell(text_BD, numbers_BF)
    weights_B = of(data.purchase_weights)
    loss = purchase_loss(purchase_B, of(data.targets), weights_B, data.settings.positive_weight) / len(rows)
    if mean_B is not None and log_std_B is not None:
        amounts_B, weights_B = of(data.amounts), of(data.weights)
        buyers = (weights_B * (amounts_B > 0)).sum().clamp(min=1e-6)
        amount = amount_loss(mean_B, log_std_B, amounts_B, weights_B) / buyers
        loss = loss + data.settings.amount_weight * amount
    return loss
