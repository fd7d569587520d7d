"""Low-rank adapters: a checkpoint's backbone in, the same one out that learns a few weights in place of all of its own.

Each linear map W of attention and feed-forward layers becomes W + 2 B A, where A and B have few rows or columns and W
stays as it is (LoRA, Hu et al. 2022). B begins at zero, so nothing changes before the first step. The one thing to
know: a bundle holds the sums, under the names that the backbone has without adapters, so scoring costs nothing more
and needs no peft.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from behavior_tasks.model.backbones import architecture_of

SCALE = 2
"""What the product of A and B is multiplied with (alpha = 2 rank)."""
ADAPTER = "default"


def add_adapters(backbone: PreTrainedModel, rank: int) -> None:
    """Freeze a backbone and put adapters of a rank beside the linear maps of its layers, in place."""
    # Its import takes seconds, and few trainings use it.
    from peft import LoraConfig, inject_adapter_in_model

    architecture = architecture_of(backbone)
    config = LoraConfig(
        r=rank,
        lora_alpha=SCALE * rank,
        target_modules=list(architecture.projections),
        # GPT-2 keeps its matrices transposed.
        fan_in_fan_out=architecture.kind == "gpt2",
    )
    inject_adapter_in_model(config, backbone, adapter_name=ADAPTER)


def merged_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's weights with the adapters, if there are any, added to what they stand beside."""
    state = model.state_dict()
    if not any(".lora_A." in name for name in state):
        return state
    from peft.tuners.lora import Linear

    merged = {name: tensor for name, tensor in state.items() if ".lora_" not in name}
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, Linear):
                weight = f"{name}.base_layer.weight"
                merged[weight] = merged[weight] + layer.get_delta_weight(ADAPTER)
    return {name.replace(".base_layer.", "."): tensor for name, tensor in merged.items()}
