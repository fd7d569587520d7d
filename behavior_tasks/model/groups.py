"""Parameter groups: a model in, what the optimiser decays and how fast each part moves out."""

from typing import TypedDict

from torch import nn

from behavior_tasks.model.network import BehaviorModel

NUMBER_RATE_FACTOR = 0.1
"""The number branch has had a head start (see `head_start`); at the full rate it would overfit beside the text."""
WORD_RATE_FACTOR = 5.0
"""The token weights start at zero and each sees few examples, so they move faster than the backbone."""


class ParameterGroup(TypedDict):
    """A group as torch's optimisers take it."""

    params: list[nn.Parameter]
    weight_decay: float
    rate_factor: float
    """What the learning rate is multiplied with."""


def parameter_groups(model: BehaviorModel, weight_decay: float, *, numbers_know: bool = False) -> list[ParameterGroup]:
    """Return the groups of what is trained; frozen weights are in none.

    Matrices and token weights are decayed; biases and layer norms (vectors) and embeddings are not.

    Args:
        model: what is trained.
        weight_decay: of what is decayed.
        numbers_know: whether the number branch has had its head start.
    """
    embeddings = tuple(f"backbone.{name}" for name in model.architecture.embeddings)
    number_rate = NUMBER_RATE_FACTOR if numbers_know else 1.0
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    words: list[nn.Parameter] = []
    numbers: list[nn.Parameter] = []
    number_biases: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("token_weight."):
            words.append(parameter)
        elif name.startswith("fusion."):
            (number_biases if parameter.ndim < 2 else numbers).append(parameter)
        elif parameter.ndim < 2 or name.startswith(embeddings):
            free.append(parameter)
        else:
            decayed.append(parameter)
    groups: list[ParameterGroup] = [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": words, "weight_decay": weight_decay, "rate_factor": WORD_RATE_FACTOR},
        {"params": numbers, "weight_decay": weight_decay, "rate_factor": number_rate},
        {"params": number_biases, "weight_decay": 0.0, "rate_factor": number_rate},
    ]
    return [group for group in groups if group["params"]]
