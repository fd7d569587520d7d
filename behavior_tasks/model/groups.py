"""Parameter groups: a model in, what the optimiser decays and how fast each part moves out."""

from typing import TypedDict

from torch import nn

from behavior_tasks.model.network import BehaviorModel

NUMBER_RATE_FACTOR = 0.1
"""The number branch has had a head start (see `head_start`); at the full rate it would overfit beside the text."""
CHECKPOINT_RATE_FACTOR = 0.05
"""At the rate that new weights need, a checkpoint forgets what it knows. Of the default rate this is 5e-5, the most
that BERT's authors fine-tuned it with (Devlin et al. 2019)."""
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
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay, rate = (0.0 if parameter.ndim < 2 or name.startswith(embeddings) else weight_decay), 1.0
        if name.startswith("token_weight."):
            rate = WORD_RATE_FACTOR
        elif name.startswith("fusion."):
            rate = number_rate
        elif model.pretrained and name.startswith("backbone.") and ".lora_" not in name:
            rate = CHECKPOINT_RATE_FACTOR
        groups.setdefault((decay, rate), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "rate_factor": rate}
        for (decay, rate), parameters in groups.items()
    ]
