"""The head start: the number branch of a fresh network learns by itself, for seconds, before the text joins it.

Numbers say at once what text says only after long training, and a text that is still guessing would disturb them. So
the branch is fitted first, as a small network on a table, and what reads the text begins at zero: as a correction to
what the numbers say. How many epochs it can use differs from log to log, so the best on validation is kept. Measured in
docs/experiments.md.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from behavior_tasks.base.config import TrainConfig
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
VALIDATION_BATCH = 4096


def has_head_start(model: BehaviorModel, settings: TrainConfig) -> bool:
    """Whether a model reads numbers that learn by themselves first."""
    return bool(model.number_names) and settings.number_epochs > 0


def give_head_start(model: BehaviorModel, data: TrainingData, check: Callable[[], None]) -> None:
    """Fit the number branch on train and keep its best epoch; nothing is done when the model reads no numbers.

    Args:
        model: fresh, on the device where it is trained.
        data: its train rows are learned; its validation rows say which epoch was best, by log-loss.
        check: called now and then; may raise to stop.
    """
    settings = data.settings
    if not has_head_start(model, settings):
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
    trained = {name: value for name, value in model.state_dict(keep_vars=True).items() if value.requires_grad}
    best, kept = math.inf, {}
    steps_per_epoch = math.ceil(data.epoch_examples / BATCH_SIZE)
    total = min(MOST_STEPS, settings.number_epochs * steps_per_epoch)
    for step in range(total):
        epoch, place = divmod(step, steps_per_epoch)
        if place == 0:
            order = np.random.default_rng([settings.seed, epoch, HEAD_START]).permutation(data.epoch_rows(epoch))
            model.fusion.train()
        if step % CHECK_STEPS == 0:
            check()
        torch.manual_seed(seed_of(settings.seed, step, HEAD_START))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, total, LEARNING_RATE)
        optimiser.zero_grad()
        _loss(model, data, np.sort(order[place * BATCH_SIZE : (place + 1) * BATCH_SIZE]), device).backward()
        optimiser.step()
        if place == steps_per_epoch - 1 or step == total - 1:
            loss = _validation_loss(model, data, device)
            if loss < best:
                best, kept = loss, {name: value.detach().clone() for name, value in trained.items()}
    with torch.no_grad():
        for name, value in kept.items():
            trained[name].copy_(value)


def _validation_loss(model: BehaviorModel, data: TrainingData, device: torch.device) -> float:
    """Return the log-loss, in nats, of validation's labels when only the numbers speak."""
    model.fusion.eval()
    total, rows = 0.0, data.validation_rows
    with torch.inference_mode():
        for start in range(0, len(rows), VALIDATION_BATCH):
            part = rows[start : start + VALIDATION_BATCH]
            purchase_B, *_ = _tell(model, data, part, device)
            labels_B = torch.from_numpy(data.labels[part]).to(device)
            total += binary_cross_entropy_with_logits(purchase_B + data.prior_offset, labels_B, reduction="sum").item()
    return total / len(rows)


def _tell(
    model: BehaviorModel, data: TrainingData, rows: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return what the model says of some rows with a text that says nothing."""
    places = number_places(data.sequences, model.number_names)
    numbers_BF = torch.from_numpy(np.asarray(data.sequences.numbers[rows][:, places], dtype=np.float32)).to(device)
    return model.tell(numbers_BF.new_zeros(len(rows), model.purchase.in_features), numbers_BF)


def _loss(model: BehaviorModel, data: TrainingData, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return what the heads lose on some rows with a text that says nothing."""

    def of(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[rows]).to(device)

    purchase_B, mean_B, log_std_B = _tell(model, data, rows, device)
    weights_B = of(data.purchase_weights)
    loss = purchase_loss(purchase_B, of(data.targets), weights_B, data.settings.positive_weight) / len(rows)
    if mean_B is not None and log_std_B is not None:
        amounts_B, weights_B = of(data.amounts), of(data.weights)
        buyers = (weights_B * (amounts_B > 0)).sum().clamp(min=1e-6)
        amount = amount_loss(mean_B, log_std_B, amounts_B, weights_B) / buyers
        loss = loss + data.settings.amount_weight * amount
    return loss
