"""Backbones: an architecture's name and sizes in, a Hugging Face GPT-2 or BERT out, and hidden states of token ids.

GPT-2 reads causally: a token sees itself and what stands before it. BERT reads both ways: a token sees the whole text.
The one thing to know: sequences come padded on the right. In GPT-2 no real token can then see padding, so there is no
attention mask, which lets torch use its fused causal kernel; in BERT a mask hides the padding. So neither needs a
padding token in its vocabulary, and positions count from the first real token.

Shapes: B examples, T tokens of the longest, D width of the hidden state, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, PretrainedConfig, PreTrainedModel

from behavior_tasks.base.config import ModelConfig

FUSED_GELU = "gelu_pytorch_tanh"
"""GPT-2's own `gelu_new`, computed by one kernel instead of seven."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a model from scratch is."""

    width: int
    layers: int
    heads: int


SIZES: dict[str, Size] = {
    "tiny": Size(width=32, layers=2, heads=2),
    "compact": Size(width=96, layers=3, heads=4),
    "base": Size(width=256, layers=6, heads=8),
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What is particular about a kind of backbone."""

    kind: str
    causal: bool
    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    positions: str
    """Key of the configuration: the longest text in tokens."""
    activation: str
    """Key of the configuration: the activation function."""
    keys: tuple[str, ...]
    """Keys of the configuration that make up the network; only these travel from a checkpoint into a bundle."""
    dropouts: tuple[str, ...]
    """Keys of the configuration: dropout of embeddings and residuals."""
    attention_dropout: str
    options: dict[str, Any]
    """What else its constructor takes."""
    embeddings: tuple[str, ...]
    """Beginnings of the names of the embeddings' weights."""
    projections: tuple[str, ...]
    """Last names of the linear maps of attention and feed-forward layers."""


GPT2 = Architecture(
    kind="gpt2",
    causal=True,
    config=GPT2Config,
    model=GPT2Model,
    positions="n_positions",
    activation="activation_function",
    keys=(
        "vocab_size",
        "n_positions",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
        "layer_norm_epsilon",
        "activation_function",
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
    ),
    dropouts=("resid_pdrop", "embd_pdrop"),
    attention_dropout="attn_pdrop",
    options={},
    embeddings=("wte.", "wpe."),
    projections=("c_attn", "c_proj", "c_fc"),
)
BERT = Architecture(
    kind="bert",
    causal=False,
    config=BertConfig,
    model=BertModel,
    positions="max_position_embeddings",
    activation="hidden_act",
    keys=(
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "layer_norm_eps",
        "hidden_act",
    ),
    dropouts=("hidden_dropout_prob",),
    attention_dropout="attention_probs_dropout_prob",
    # BERT's pooler was trained to tell whether two sentences follow one another.
    options={"add_pooling_layer": False},
    embeddings=("embeddings.word_embeddings.", "embeddings.position_embeddings.", "embeddings.token_type_embeddings."),
    projections=("query", "key", "value", "dense"),
)
ARCHITECTURES = {"gpt2": GPT2, "bert": BERT}


def architecture_of(backbone: PreTrainedModel) -> Architecture:
    """Return what is particular about a backbone."""
    return ARCHITECTURES[backbone.config.model_type]


def scratch_sizes(config: ModelConfig, vocabulary: int) -> dict[str, Any]:
    """Return the configuration's values, by its own keys, of a network of a size; the rest is at its default."""
    size = SIZES[config.size]
    layers = config.layers or size.layers
    if config.architecture == "gpt2":
        return {
            "vocab_size": vocabulary,
            "n_positions": config.max_tokens,
            "n_embd": size.width,
            "n_layer": layers,
            "n_head": size.heads,
        }
    return {
        "vocab_size": vocabulary,
        "max_position_embeddings": config.max_tokens,
        "type_vocab_size": 1,
        "hidden_size": size.width,
        "num_hidden_layers": layers,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
    }


def backbone_config(architecture: Architecture, values: dict[str, Any], *, dropout: float) -> PretrainedConfig:
    """Return a backbone's configuration.

    Args:
        architecture: its kind.
        values: by the configuration's own keys; what is absent is at the kind's default, what is not in
            `architecture.keys` is left out.
        dropout: on embeddings and residuals. Attention weights are not dropped: that would rule out the fused
            attention kernel and cost a sixth of the speed.
    """
    kept = {key: value for key, value in values.items() if key in architecture.keys}
    config = architecture.config(
        **kept,
        **dict.fromkeys(architecture.dropouts, dropout),
        **{architecture.attention_dropout: 0.0},
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        use_cache=False,
        attn_implementation="sdpa",
    )
    if getattr(config, architecture.activation) == "gelu_new":
        setattr(config, architecture.activation, FUSED_GELU)
    return config


def build_backbone(architecture: Architecture, values: dict[str, Any], *, dropout: float) -> PreTrainedModel:
    """Return a freshly initialised backbone; torch's random state decides the weights.

    Args: see `backbone_config`.
    """
    return architecture.model(backbone_config(architecture, values, dropout=dropout), **architecture.options)


def backbone_values(backbone: PreTrainedModel) -> dict[str, Any]:
    """Return what `build_backbone` builds the same network from."""
    return {key: getattr(backbone.config, key) for key in architecture_of(backbone).keys}


def token_embedding(backbone: PreTrainedModel) -> nn.Embedding:
    """Return the embedding of tokens, whose weight_VD also gives the logits over the vocabulary."""
    embedding = backbone.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return embedding


def hidden_states(backbone: PreTrainedModel, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return hidden_BTD of sequences that are padded on the right; what stands at padding means nothing.

    Args:
        lengths_B: real tokens of each, at least 1.
    """
    mask_BT = None
    if not architecture_of(backbone).causal:
        mask_BT = real_places(tokens_BT, lengths_B)
    hidden_BTD: torch.Tensor = backbone(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
    return hidden_BTD


def real_places(tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return real_BT: True where sequences that are padded on the right have a token of their own."""
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B.unsqueeze(1)


def at_last(values_BTx: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return what stands at each sequence's last real token, values_Bx, of sequences that are padded on the right."""
    return values_BTx[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]


def left_to_right(values_BTx: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return rows that were padded on the left with their padding on the right; extra dimensions follow along."""
    width = values_BTx.shape[1]
    return _rolled(values_BTx, width - lengths_B)


def right_to_left(values_BTx: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return rows that were padded on the right with their padding on the left."""
    return _rolled(values_BTx, lengths_B)


def _rolled(values_BTx: torch.Tensor, by_B: torch.Tensor) -> torch.Tensor:
    """Return rows of which each begins `by` places later, and goes on at its beginning."""
    rows, width = values_BTx.shape[:2]
    places_BT = (torch.arange(width, device=by_B.device) + by_B.unsqueeze(1)) % width
    return values_BTx[torch.arange(rows, device=by_B.device).unsqueeze(1), places_BT]
