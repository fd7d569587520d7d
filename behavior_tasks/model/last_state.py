"""The state that scoring needs: a backbone and token ids in, the hidden state of each text's last real token out.

Nothing else of the last layer is read when nothing is learned. In GPT-2 that layer attends from the last token alone,
and feeds forward the last token alone. Of three layers that saves a fifth of the time, and it changes nothing but the
order in which floats are added.

Shapes: B examples, T tokens of the longest, D width, H attention heads, K width of a head.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import GPT2Model, PreTrainedModel

from behavior_tasks.model.backbones import at_last, hidden_states, real_places
from behavior_tasks.model.fused import can_fuse, last_of_fused_gpt2


def last_states(backbone: PreTrainedModel, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return last_BD of sequences that are padded on the right, without dropout.

    Args:
        backbone: in evaluation mode.
        tokens_BT: token ids.
        lengths_B: real tokens of each, at least 1.
    """
    if isinstance(backbone, GPT2Model):
        if not torch.is_grad_enabled() and can_fuse(backbone, tokens_BT):
            return last_of_fused_gpt2(backbone, tokens_BT, lengths_B)
        return _last_of_gpt2(backbone, tokens_BT, lengths_B)
    return at_last(hidden_states(backbone, tokens_BT, lengths_B), lengths_B)


def _last_of_gpt2(backbone: GPT2Model, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    hidden_BTD = backbone.wte(tokens_BT) + backbone.wpe(places_T)
    for block in backbone.h[:-1]:
        hidden_BTD = block(hidden_BTD)
    block = backbone.h[-1]
    attention, normed_BTD = block.attn, block.ln_1(hidden_BTD)
    # Asked of the layer as a whole, so that adapters in it take part.
    queries_BTD, keys_BTD, values_BTD = attention.c_attn(normed_BTD).chunk(3, dim=2)
    seen_BHQT = real_places(tokens_BT, lengths_B)[:, None, None]
    found_BHQK = scaled_dot_product_attention(
        _by_head(at_last(queries_BTD, lengths_B).unsqueeze(1), attention.num_heads),
        _by_head(keys_BTD, attention.num_heads),
        _by_head(values_BTD, attention.num_heads),
        attn_mask=seen_BHQT,
        scale=attention.scaling,
    )
    last_BD = at_last(hidden_BTD, lengths_B) + attention.c_proj(found_BHQK.transpose(1, 2).flatten(1))
    last_BD = last_BD + block.mlp(block.ln_2(last_BD))
    normed_BD: torch.Tensor = backbone.ln_f(last_BD)
    return normed_BD


def _by_head(states_BTD: torch.Tensor, heads: int) -> torch.Tensor:
    return states_BTD.unflatten(2, (heads, -1)).transpose(1, 2)
