"""The network: token ids in, a purchase logit per example and next-token logits out, through a GPT-2 backbone.

It is built from a size (`scratch`), from a GPT-2 checkpoint (`pretrained`), or read back from a model bundle.
Batches are padded on the right and attention is causal, so no real token can see padding: there is no attention
mask, which lets torch use its fused causal kernel, and no padding token is needed in the vocabulary.

Tensor names carry their shape: B examples, T tokens, D width of the hidden state, V vocabulary, N positions
chosen from B x T, e.g. tokens_BT, hidden_BTD, logits_B.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2Model

from behavior_tasks.base.errors import UserError

FORMAT = "behavior-gpt2-wide/1"
FUSED_GELU = "gelu_pytorch_tanh"
"""GPT-2's own `gelu_new`, computed by one kernel instead of seven."""
INIT_STD = 0.02


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

# What makes up the architecture; only these travel from a checkpoint's configuration into a bundle.
ARCHITECTURE = (
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
    "reorder_and_upcast_attn",
)


def backbone_config(architecture: dict[str, Any], *, dropout: float) -> GPT2Config:
    """Return the GPT-2 configuration of an architecture.

    Args:
        architecture: values of ARCHITECTURE; what is absent is at GPT-2's default.
        dropout: on embeddings and residuals. Attention weights are not dropped: that would rule out the fused
            attention kernel and cost a sixth of the speed.
    """
    values = {name: value for name, value in architecture.items() if name in ARCHITECTURE}
    if values.get("activation_function", "gelu_new") == "gelu_new":
        values["activation_function"] = FUSED_GELU
    return GPT2Config(
        **values,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        use_cache=False,
        attn_implementation="sdpa",
    )


class BehaviorModel(nn.Module):
    """A GPT-2 backbone with a purchase head; the next-token logits are tied to the token embedding.

    The purchase logit is the head's reading of the last hidden state plus one weight for each token of the text
    ("wide and deep", Cheng et al. 2016): a few thousand shoppers are enough to learn what a word like `recency-q1`
    is worth by itself, and the backbone learns what the order and the company of words add.
    """

    def __init__(self, backbone: GPT2Model) -> None:
        super().__init__()
        self.backbone = backbone
        self.purchase = nn.Linear(backbone.config.n_embd, 1)
        nn.init.normal_(self.purchase.weight, std=INIT_STD)
        nn.init.zeros_(self.purchase.bias)
        self.token_weight = nn.Embedding(backbone.config.vocab_size, 1)
        nn.init.zeros_(self.token_weight.weight)

    def forward(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden_BTD and the purchase logits_B, from each example's last real token and all its tokens.

        Args:
            tokens_BT: token ids, padded on the right with any valid id.
            lengths_B: real tokens per example, at least 1.
        """
        hidden_BTD = self.backbone(input_ids=tokens_BT, use_cache=False).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
        real_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B.unsqueeze(1)
        wide_B = (self.token_weight(tokens_BT).squeeze(2) * real_BT).sum(1)
        return hidden_BTD, self.purchase(last_BD).squeeze(1) + wide_B

    def next_token_logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Return logits_NV over the vocabulary for the token that follows each hidden state."""
        return hidden_ND @ self.backbone.wte.weight.T

    def next_token_loss(
        self, hidden_BTD: torch.Tensor, tokens_BT: torch.Tensor, positions_N: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean cross-entropy, in nats, of the tokens that follow the given positions.

        Args:
            positions_N: flat positions into B x T, none of them in the last column.
        """
        hidden_ND = hidden_BTD.flatten(0, 1)[positions_N]
        return cross_entropy(self.next_token_logits(hidden_ND), tokens_BT.flatten()[positions_N + 1])


def build_scratch(*, size: str, vocabulary: int, max_tokens: int, dropout: float) -> BehaviorModel:
    """Return a freshly initialised model; torch's random state decides the weights.

    Args:
        size: a key of SIZES.
        vocabulary: number of token ids.
        max_tokens: longest text in tokens.
    """
    chosen = SIZES[size]
    architecture = {
        "vocab_size": vocabulary,
        "n_positions": max_tokens,
        "n_embd": chosen.width,
        "n_layer": chosen.layers,
        "n_head": chosen.heads,
    }
    return BehaviorModel(GPT2Model(backbone_config(architecture, dropout=dropout)))


def save_model(model: BehaviorModel, folder: Path, *, max_tokens: int) -> None:
    """Write `config.json` and `model.safetensors` into a folder."""
    config = model.backbone.config
    content = {
        "format": FORMAT,
        "max_tokens": max_tokens,
        "heads": ["purchase", "next_token"],
        "dropout": config.resid_pdrop,
        "backbone": {name: getattr(config, name) for name in ARCHITECTURE},
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")


def load_model(folder: Path) -> BehaviorModel:
    """Read a bundle's model back, ready to score (no dropout).

    Raises:
        UserError: when the folder holds no model of this format.
    """
    try:
        content = read_config(folder)
        model = BehaviorModel(GPT2Model(backbone_config(content["backbone"], dropout=0.0)))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (FileNotFoundError, SafetensorError, KeyError, RuntimeError) as error:
        raise _unreadable(folder, str(error).splitlines()[0]) from None
    return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """Return a bundle's `config.json`.

    Raises:
        UserError: when it is missing or of another format.
    """
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (FileNotFoundError, ValueError):
        raise _unreadable(folder, "no readable config.json") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise _unreadable(folder, f"format {found}")
    return content


def _unreadable(folder: Path, found: str) -> UserError:
    return UserError(
        f"The model folder {folder.name} can't be read.",
        found=found.replace(str(folder), folder.name),
        expected=f"config.json and model.safetensors of the format {FORMAT}",
        next_step="train again; the pipeline makes the model anew",
    )
