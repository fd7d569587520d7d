"""A model before its first step: the settings and the train split in, a network that already knows the shares out.

The seed decides its weights, so every process of a training, and every resumed one, builds the same.
"""

import math

import torch
from torch import nn

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.network import BehaviorModel, Inputs, build_scratch
from behavior_tasks.model.numbers import fit_numbers
from behavior_tasks.model.pretrained import build_pretrained
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer
from behavior_tasks.text.tokens import TOKENIZER_FOLDER

TOKEN_WEIGHT_RATE_FACTOR = 5.0
"""The token weights start at zero and each sees few examples, so they move faster than the backbone."""


def build_model(settings: ModelConfig, data: TrainingData) -> BehaviorModel:
    """Return a model that reads the data, with what can be known beforehand in its biases.

    Args:
        settings: which network.
        data: numbers, shares and amounts are fitted on its train split.

    Raises:
        UserError: the checkpoint or the tokenizer can't be used.
    """
    torch.manual_seed(data.settings.seed)
    sequences, log_amounts = data.sequences, data.log_amounts
    before, after = frame_of(load_tokenizer(data.tokens.folder / TOKENIZER_FOLDER))
    inputs = Inputs(
        numbers=fit_numbers(sequences.numbers[data.train_rows], sequences.number_names) if settings.numbers else None,
        amounts=len(log_amounts) > 0,
        mask=data.tokens.encoding.mask,
        frame=(len(before), len(after)),
    )
    build = build_scratch if settings.checkpoint == "scratch" else build_pretrained
    model = build(settings, vocabulary=data.tokens.encoding.vocabulary, inputs=inputs)
    # The first predictions are then the share of buyers, not one half, which saves the first steps.
    buyers = min(max(data.learned_share, 1e-4), 1 - 1e-4)
    nn.init.constant_(model.purchase.bias, math.log(buyers / (1 - buyers)))
    if inputs.amounts:
        model.amount.bias.data[0] = float(log_amounts.mean())
        model.amount.bias.data[1] = math.log(max(float(log_amounts.std()), 0.1))
    return model


def parameter_groups(model: BehaviorModel, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and token weights; not biases, layer norms (vectors) or embeddings."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    wide: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("token_weight."):
            wide.append(parameter)
        elif parameter.ndim < 2 or name.startswith(("backbone.wte.", "backbone.wpe.")):
            free.append(parameter)
        else:
            decayed.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": wide, "weight_decay": weight_decay, "rate_factor": TOKEN_WEIGHT_RATE_FACTOR},
    ]
