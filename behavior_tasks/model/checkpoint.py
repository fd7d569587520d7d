"""Checkpoints: weights, optimiser state and position in, one safetensors file out, and back.

A checkpoint is a single file, written beside its place, flushed and renamed, so after a kill there is the old one
or the new one, whole. No random state is kept: every step is seeded from (seed, step), see `schedule`. Weights that
are not finite are never written, so a checkpoint is always a place to go back to.
"""

import os
from pathlib import Path
from typing import Self
from uuid import uuid4

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim import Optimizer

from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.work_folder import Epoch

POSITION = "position"
MODEL_PREFIX = "model."
OPTIMISER_PREFIX = "optimiser."


class Position(BaseModel):
    """How far the training is, and the running sums of the unfinished epoch."""

    model_config = ConfigDict(extra="forbid")

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done of the epoch after those."""
    step: int = 0
    """Optimiser steps done."""
    examples: int = 0
    tokens: int = 0
    targets: int = 0
    """Positions whose next token was predicted."""
    buyers: float = 0.0
    """Weights of the examples with an amount."""
    purchase_sum: float = 0.0
    next_token_sum: float = 0.0
    amount_sum: float = 0.0
    seconds: float = 0.0
    epochs: list[Epoch] = []
    best_epoch: int | None = None
    finished: bool = False
    batch_tokens: int | None = None
    """Most padded tokens at once, when what was asked for did not fit into memory."""
    first_loss: float | None = None
    """Of the very first step."""
    divergences: int = 0
    """How often the training went back because its numbers were no longer finite; each halves the learning rate."""

    def next_epoch(self) -> Self:
        """Return the position at the start of the next epoch."""
        kept = {
            "epochs",
            "best_epoch",
            "finished",
            "step",
            "batch_tokens",
            "first_loss",
            "divergences",
        }
        return type(self)(epoch=self.epoch + 1, **self.model_dump(include=kept))

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied with after the divergences so far."""
        return 0.5**self.divergences

    @property
    def best_average_precision(self) -> float | None:
        """Validation AP of the best epoch so far."""
        return None if self.best_epoch is None else self.epochs[self.best_epoch - 1].validation_average_precision


class DivergedError(Exception):
    """The training's loss, gradients or weights ran away; the message says which, and where."""


def save_checkpoint(
    path: Path, model: BehaviorModel, optimiser: Optimizer, position: Position, *, write: bool = True
) -> None:
    """Write the whole state of the training, in place of the checkpoint before.

    Args:
        write: false in the processes beside the first, which only look whether there is something worth writing.

    Raises:
        DivergedError: a weight is not finite; the checkpoint before stays.
    """
    tensors = {MODEL_PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for field, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{OPTIMISER_PREFIX}{field}.{name}"] = value
    finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()])
    if not finite.all():
        raise DivergedError(f"weights that are not finite after step {position.step}, epoch {position.epoch + 1}")
    if write:
        save_tensors(path, tensors, {POSITION: position.model_dump_json()})


def load_checkpoint(path: Path, model: BehaviorModel, optimiser: Optimizer) -> Position:
    """Put the saved state into the model and its optimiser, bit for bit, and return the position."""
    parameters = dict(model.named_parameters())
    with safe_open(path, framework="pt") as stream:
        position = Position.model_validate_json(stream.metadata()[POSITION])
        weights = {}
        optimiser.state.clear()
        for key in stream.keys():  # noqa: SIM118  # safe_open is not a mapping
            tensor = stream.get_tensor(key)
            if key.startswith(MODEL_PREFIX):
                weights[key.removeprefix(MODEL_PREFIX)] = tensor
                continue
            field, _, name = key.removeprefix(OPTIMISER_PREFIX).partition(".")
            parameter = parameters[name]
            optimiser.state[parameter][field] = tensor.to(parameter.device)
    model.load_state_dict(weights)
    return position


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file so that, after a crash, the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
