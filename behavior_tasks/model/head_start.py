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
from sklearn.metrics import log_loss
from torch import nn

from behavior_tasks.model.batches import number_places
from behavior_tasks.model.decision import sigmoid
from behavior_tasks.model.losses import amount_loss, purchase_loss
from behavior_tasks.model.network import LOG_STD_RANGE, BehaviorModel
from behavior_tasks.model.schedule import learning_rate, seed_of
from behavior_tasks.model.training_data import TrainingData

BATCH_SIZE = 256
LEARNING_RATE = 1e-3
MOST_STEPS = 20_000
"""Enough for any log: about a minute."""
HEAD_START = 2
"""Sets these random numbers apart from the training's own."""
CHECK_STEPS = 50
VALIDATION_ROWS = 4096


def give_head_start(model: BehaviorModel, data: TrainingData, check: Callable[[], None]) -> None:
    """Fit the number branch on train and keep its best epoch by validation's log-loss.

    Nothing is done when the model reads no numbers.

    Args:
        model: fresh, on the device where it is trained.
        data: its train rows.
        check: called now and then; may raise to stop.
    """
    settings = data.settings
    if not model.number_names or not settings.number_epochs:
        return
    _begin_text_at_zero(model)
    device = next(model.parameters()).device
    heads = [model.purchase.bias, *([model.amount.bias] if model.inputs.amounts else [])]
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
    trained = nn.ModuleDict({"fusion": model.fusion, "purchase": model.purchase})
    best_loss, best = math.inf, {}
    for step in range(total):
        epoch, place = divmod(step, steps_per_epoch)
        if place == 0:
            model.fusion.train()
            order = np.random.default_rng([settings.seed, epoch, HEAD_START]).permutation(data.epoch_rows(epoch))
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
            if loss < best_loss:
                best_loss, best = loss, {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    trained.load_state_dict(best)


@torch.inference_mode()
def _validation_loss(model: BehaviorModel, data: TrainingData, device: torch.device) -> float:
    """Return the log-loss of validation's labels by the numbers alone."""
    model.fusion.eval()
    rows = data.validation_rows
    logits = []
    for start in range(0, len(rows), VALIDATION_ROWS):
        added_BH = _from_numbers(model, data, rows[start : start + VALIDATION_ROWS], device)
        logits.append((model.purchase.bias + added_BH[:, 0]).double().cpu().numpy())
    shares = sigmoid(np.concatenate(logits) + data.prior_offset)
    return float(log_loss(data.labels[rows], shares, labels=[0, 1]))


def _from_numbers(model: BehaviorModel, data: TrainingData, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return what the number branch adds to the heads, with a text that says nothing."""
    places = number_places(data.sequences, model.number_names)
    numbers_BF = torch.from_numpy(np.asarray(data.sequences.numbers[rows][:, places], dtype=np.float32)).to(device)
    added_BH: torch.Tensor = model.fusion(numbers_BF, numbers_BF.new_zeros(len(rows), model.purchase.in_features))
    return added_BH


def _begin_text_at_zero(model: BehaviorModel) -> None:
    nn.init.zeros_(model.purchase.weight)
    if model.inputs.amounts:
        nn.init.zeros_(model.amount.weight)
    first = model.fusion.deep[0]
    assert isinstance(first, nn.Linear)
    nn.init.zeros_(first.weight[:, model.fusion.encode.places :])


def _loss(model: BehaviorModel, data: TrainingData, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return what the heads lose on some rows with a text that says nothing."""

    def of(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[rows]).to(device)

    added_BH = _from_numbers(model, data, rows, device)
    weights_B = of(data.purchase_weights)
    purchase = purchase_loss(
        model.purchase.bias + added_BH[:, 0], of(data.targets), weights_B, data.settings.positive_weight
    )
    loss = purchase / len(rows)
    if model.inputs.amounts:
        amounts_B, weights_B = of(data.amounts), of(data.weights)
        mean_B, log_std_B = (model.amount.bias + added_BH[:, 1:]).unbind(1)
        buyers = (weights_B * (amounts_B > 0)).sum().clamp(min=1e-6)
        amount = amount_loss(mean_B, log_std_B.clamp(*LOG_STD_RANGE), amounts_B, weights_B) / buyers
        loss = loss + data.settings.amount_weight * amount
    return loss
