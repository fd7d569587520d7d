"""What makes a training on a CPU faster without changing what is learned: a network in, the same one tuned out.

Both were measured, see docs/experiments.md. Dropout: torch draws a number an element, one after the other; here one
draw of 64 bits serves eight elements. Attention in bf16: on a CPU its backward pass takes five times as long as in
float32, which eats up what bf16 saves in the matrix products, so it stays in float32.
"""

from typing import Any

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from behavior_tasks.model.network import BehaviorModel

FLOAT32_ATTENTION = "sdpa_float32"
LEVELS = 256


class ByteDropout(nn.Dropout):
    """Dropout whose probability is rounded to a 256th; what is kept is scaled by exactly that."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, while training with some of them zero and the others scaled up."""
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        if not self.training or not dropped:
            return values
        count = values.numel()
        draws = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[:count].view(values.shape) >= dropped
        return values * kept.to(values.dtype).mul_(LEVELS / (LEVELS - dropped))


def speed_up_on_cpu(model: BehaviorModel, *, bf16: bool) -> None:
    """Tune a network that is about to be trained on a CPU; its weights, and what it says, stay the same.

    Args:
        model: the network.
        bf16: whether it computes in bf16.
    """
    for module in list(model.backbone.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout and child.p:
                setattr(module, name, ByteDropout(child.p))
    if bf16:
        ALL_ATTENTION_FUNCTIONS.register(FLOAT32_ATTENTION, _attention_in_float32)
        ALL_MASK_ATTENTION_FUNCTIONS.register(FLOAT32_ATTENTION, sdpa_mask)
        model.backbone.set_attn_implementation(FLOAT32_ATTENTION)


def _attention_in_float32(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    with torch.autocast("cpu", enabled=False):
        answer, _ = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **settings
        )
    return answer.to(query.dtype), None
