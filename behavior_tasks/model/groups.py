"""Parameter groups: a model in, what the optimiser decays and how fast each part moves out."""

from typing import TypedDict

from torch import nn

from behavior_tasks.model.network import BehaviorModel

WORD_RATE_FACTOR = 5.0
"""The token weights start at zero and each sees few examples, so they move faster than the backbone."""


class ParameterGroup(TypedDict):
    """A group as torch's optimisers take it."""

    params: list[nn.Parameter]
    weight_decay: float
    rate_factor: float
    """What the learning rate is multiplied with."""


def parameter_groups(model: BehaviorModel, weight_decay: float) -> list[ParameterGroup]:
    """Return the groups of what is trained; frozen weights are in none.

    Matrices and token weights are decayed; biases and layer norms (vectors) and embeddings are not.
    """
    embeddings = tuple(f"backbone.{name}" for name in model.architecture.embeddings)
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    words: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("token_weight."):
            words.append(parameter)
        elif parameter.ndim < 2 or name.startswith(embeddings):
            free.append(parameter)
        else:
            decayed.append(parameter)
    groups: list[ParameterGroup] = [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": words, "weight_decay": weight_decay, "rate_factor": WORD_RATE_FACTOR},
    ]
    return groups
