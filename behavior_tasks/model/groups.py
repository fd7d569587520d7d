"""Parameter groups: a model in, what the optimiser decays and how fast each part moves out."""

from typing import Any

from torch import nn

from behavior_tasks.model.network import BehaviorModel

WORD_RATE_FACTOR = 5.0
"""The token weights start at zero and each sees few examples, so they move faster than the backbone."""
NUMBER_RATE_FACTOR = 0.1
"""The number branch has learned what it can before a text is read (see `number_start`); if it hurries, it overfits."""
NUMBERS = ("purchase_numbers.", "amount_numbers.")


def parameter_groups(model: BehaviorModel, weight_decay: float) -> list[dict[str, Any]]:
    """Return the groups as torch's optimisers take them; what is frozen is in none.

    Matrices, token weights and the number branch are decayed; other vectors (biases, norms) and embeddings are not.
    `rate_factor`, which an optimiser itself leaves alone, says what the learning rate of a group is multiplied with.
    """
    embeddings = tuple(f"backbone.{name}" for name in model.architecture.embeddings)
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    words: list[nn.Parameter] = []
    numbers: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("token_weight."):
            words.append(parameter)
        elif name.startswith(NUMBERS):
            numbers.append(parameter)
        elif parameter.ndim < 2 or name.startswith(embeddings):
            free.append(parameter)
        else:
            decayed.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": words, "weight_decay": weight_decay, "rate_factor": WORD_RATE_FACTOR},
        {"params": numbers, "weight_decay": weight_decay, "rate_factor": NUMBER_RATE_FACTOR},
    ]
