"""GPT-2 read on a CPU with oneDNN's fused kernels: token ids in, each text's last hidden state out.

For a linear map torch writes the bias, adds the product, and goes over the result again for the activation or the sum
with what came before; oneDNN, which comes with torch and which `torch.compile` calls, does all of it at once, in two
thirds of the time for a whole network. The one thing to know: oneDNN makes a kernel for every new number of rows, which
takes milliseconds, so rows are filled up to few numbers, and small batches are not worth it.

Shapes: B examples, T tokens of the longest, D width, H attention heads, K width of a head, R rows (B x T, filled up).
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Block
from transformers.pytorch_utils import Conv1D

from behavior_tasks.model.backbones import FUSED_GELU, real_places

ROWS = 1024
"""Rows come in multiples of this."""
FEWEST_ROWS = 4 * ROWS


def can_fuse(backbone: GPT2Model, tokens_BT: torch.Tensor) -> bool:
    """Whether a batch is large enough, and the backbone plain: float32 on a CPU, without adapters, GPT-2's GELU."""
    weights = backbone.wte.weight
    return (
        tokens_BT.numel() >= FEWEST_ROWS
        and weights.device.type == "cpu"
        and weights.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and backbone.config.activation_function == FUSED_GELU
        and all(type(layer) is Conv1D for block in backbone.h for layer in _layers(block))
    )


def last_of_fused_gpt2(backbone: GPT2Model, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return last_BD of sequences that are padded on the right, without dropout; nothing can be learned from it.

    Args:
        backbone: one that `can_fuse` allows.
        tokens_BT: token ids.
        lengths_B: real tokens of each, at least 1.
    """
    count, width = tokens_BT.numel(), backbone.config.n_embd
    filled = -(-count // ROWS) * ROWS
    hidden_RD = torch.zeros(filled, width)
    hidden_BTD = hidden_RD[:count].view(*tokens_BT.shape, width)
    torch.add(backbone.wte(tokens_BT), backbone.wpe(torch.arange(tokens_BT.shape[1])), out=hidden_BTD)
    for block in backbone.h[:-1]:
        attention = block.attn
        mixed_RE = _linear(block.ln_1(hidden_RD), attention.c_attn.weight.T, attention.c_attn.bias)
        queries, keys, values = _by_head(mixed_RE, tokens_BT, attention)
        found_BHTK = scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=attention.scaling)
        found_RD = torch.zeros(filled, width)
        found_RD[:count].view(*tokens_BT.shape, attention.num_heads, -1).copy_(found_BHTK.transpose(1, 2))
        hidden_RD = _linear_added(found_RD, attention.c_proj, hidden_RD)
        inner_RE = _linear_gelu(block.ln_2(hidden_RD), block.mlp.c_fc)
        hidden_RD = _linear_added(inner_RE, block.mlp.c_proj, hidden_RD)
    last_B = torch.arange(len(lengths_B)) * tokens_BT.shape[1] + lengths_B - 1
    return _last_layer(backbone, hidden_RD, tokens_BT, lengths_B, last_B)


def _last_layer(
    backbone: GPT2Model,
    hidden_RD: torch.Tensor,
    tokens_BT: torch.Tensor,
    lengths_B: torch.Tensor,
    last_B: torch.Tensor,
) -> torch.Tensor:
    """Read keys and values of all tokens, and all else at the rows of the last tokens."""
    block, width = backbone.h[-1], hidden_RD.shape[1]
    attention, normed_RD = block.attn, block.ln_1(hidden_RD)
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    # oneDNN takes a part of a matrix as it lies in memory only very slowly.
    mixed_RE = _linear(normed_RD, weight[:, width:].T.contiguous(), bias[width:])
    keys, values = _by_head(mixed_RE, tokens_BT, attention)
    queries_BD = torch.addmm(bias[:width], normed_RD[last_B], weight[:, :width])
    found_BHQK = scaled_dot_product_attention(
        queries_BD.unflatten(1, (attention.num_heads, 1, -1)),
        keys,
        values,
        attn_mask=real_places(tokens_BT, lengths_B)[:, None, None],
        scale=attention.scaling,
    )
    last_BD = hidden_RD[last_B] + attention.c_proj(found_BHQK.flatten(1))
    last_BD = last_BD + block.mlp(block.ln_2(last_BD))
    normed_BD: torch.Tensor = backbone.ln_f(last_BD)
    return normed_BD


def _layers(block: GPT2Block) -> tuple[torch.nn.Module, ...]:
    return block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj


def _by_head(mixed_RE: torch.Tensor, tokens_BT: torch.Tensor, attention: GPT2Attention) -> tuple[torch.Tensor, ...]:
    """Return what stands side by side in each row (queries, keys and values, or the latter two), each BHTK."""
    mixed_BTPHK = mixed_RE[: tokens_BT.numel()].view(*tokens_BT.shape, -1, attention.num_heads, attention.head_dim)
    return mixed_BTPHK.permute(2, 0, 3, 1, 4).unbind(0)


def _linear(states_RD: torch.Tensor, weight_ED: torch.Tensor, bias_E: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(states_RD, weight_ED, bias_E, "none", [], "")


def _linear_gelu(states_RD: torch.Tensor, layer: Conv1D) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(states_RD, layer.weight.T, layer.bias, "gelu", [], "tanh")


def _linear_added(states_RE: torch.Tensor, layer: Conv1D, before_RD: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(states_RE, before_RD, layer.weight.T, layer.bias, "add")
