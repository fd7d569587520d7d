"""The network: token ids and numbers in; purchase, amount and next token out, through a GPT-2 backbone.

It is built from a size (`scratch`), from a GPT-2 checkpoint (`pretrained`), or read back from a model bundle.
Batches are padded on the right and attention is causal, so no real token can see padding: there is no attention
mask, which lets torch use its fused causal kernel, and no padding token is needed in the vocabulary.

Tensor names carry their shape: B examples, T tokens, D width of the hidden state, V vocabulary, F numbers, P places of
their encoding, N positions chosen from B x T, e.g. tokens_BT, hidden_BTD, logits_B.
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

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.numbers import NumberEncoding, PiecewiseLinear

FORMAT = "behavior-model/2"
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


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the network says of a batch."""

    hidden_BTD: torch.Tensor
    purchase_B: torch.Tensor
    """Logits."""
    amount_mean_B: torch.Tensor | None
    """Mean of ln(amount) among buyers; None when the model has no amount head."""
    amount_log_std_B: torch.Tensor | None
    """Logarithm of its standard deviation."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a network reads beside its backbone, and whether it tells amounts."""

    numbers: NumberEncoding | None
    """None: no numbers."""
    amounts: bool


class BehaviorModel(nn.Module):
    """A GPT-2 backbone with a purchase head and an amount head; the next-token logits are tied to the token embedding.

    The purchase logit is the head's reading of the last hidden state plus one weight for each token of the text
    ("wide and deep", Cheng et al. 2016): a few thousand shoppers are enough to learn what a word like `recency-q1`
    is worth by itself, and the backbone learns what the order and the company of words add.
    """

    def __init__(self, backbone: GPT2Model, inputs: Inputs) -> None:
        super().__init__()
        self.backbone = backbone
        self.inputs = inputs
        self.purchase = nn.Linear(backbone.config.n_embd, 1)
        nn.init.normal_(self.purchase.weight, std=INIT_STD)
        nn.init.zeros_(self.purchase.bias)
        self.token_weight = nn.Embedding(backbone.config.vocab_size, 1)
        nn.init.zeros_(self.token_weight.weight)
        if inputs.numbers is not None:
            self.encode_numbers = PiecewiseLinear(inputs.numbers)
            self.number_weight = nn.Linear(self.encode_numbers.places, 1, bias=False)
            nn.init.zeros_(self.number_weight.weight)
        if inputs.amounts:
            self.amount = nn.Linear(backbone.config.n_embd, 2)
            nn.init.normal_(self.amount.weight, std=INIT_STD)
            nn.init.zeros_(self.amount.bias)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The features that are read as numbers, in the order of `Batch.numbers_BF`."""
        return self.inputs.numbers.names if self.inputs.numbers is not None else ()

    def forward(self, batch: Batch) -> Outputs:
        """Read a batch: purchase and amount from each example's last real token, all its tokens and its numbers."""
        tokens_BT, lengths_B = batch.tokens_BT, batch.lengths_B
        hidden_BTD = self.backbone(input_ids=tokens_BT, use_cache=False).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
        real_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B.unsqueeze(1)
        purchase_B = self.purchase(last_BD).squeeze(1) + (self.token_weight(tokens_BT).squeeze(2) * real_BT).sum(1)
        if self.inputs.numbers is not None:
            purchase_B = purchase_B + self.number_weight(self.encode_numbers(batch.numbers_BF)).squeeze(1)
        amount_B2 = self.amount(last_BD) if self.inputs.amounts else None
        return Outputs(
            hidden_BTD=hidden_BTD,
            purchase_B=purchase_B,
            amount_mean_B=None if amount_B2 is None else amount_B2[:, 0],
            amount_log_std_B=None if amount_B2 is None else amount_B2[:, 1],
        )

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


def build_scratch(config: ModelConfig, *, vocabulary: int, inputs: Inputs) -> BehaviorModel:
    """Return a freshly initialised model; torch's random state decides the weights.

    Args:
        config: size, longest text and dropout.
        vocabulary: number of token ids.
        inputs: what it reads beside the text.
    """
    chosen = SIZES[config.size]
    architecture = {
        "vocab_size": vocabulary,
        "n_positions": config.max_tokens,
        "n_embd": chosen.width,
        "n_layer": chosen.layers,
        "n_head": chosen.heads,
    }
    return BehaviorModel(GPT2Model(backbone_config(architecture, dropout=config.dropout)), inputs)


def save_model(model: BehaviorModel, folder: Path, *, max_tokens: int) -> None:
    """Write `config.json` and `model.safetensors` into a folder."""
    config = model.backbone.config
    content = {
        "format": FORMAT,
        "max_tokens": max_tokens,
        "heads": ["purchase", *(["amount"] if model.inputs.amounts else []), "next_token"],
        "numbers": model.inputs.numbers.model_dump() if model.inputs.numbers else None,
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
        encoding = content["numbers"]
        inputs = Inputs(
            numbers=None if encoding is None else NumberEncoding.model_validate(encoding),
            amounts="amount" in content["heads"],
        )
        model = BehaviorModel(GPT2Model(backbone_config(content["backbone"], dropout=0.0)), inputs)
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
