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
from behavior_tasks.text.tokenizer_source import SCRATCH
from behavior_tasks.text.tokens import TOKENIZER_FOLDER


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
    build = build_scratch if settings.checkpoint == SCRATCH else build_pretrained
    model = build(settings, vocabulary=data.tokens.encoding.vocabulary, inputs=inputs)
    # The first predictions are then the share of buyers, not one half, which saves the first steps.
    buyers = min(max(data.learned_share, 1e-4), 1 - 1e-4)
    nn.init.constant_(model.purchase.bias, math.log(buyers / (1 - buyers)))
    if inputs.amounts:
        model.amount.standardise(float(log_amounts.mean()), float(log_amounts.std()))
    return model
