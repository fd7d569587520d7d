"""The network: token ids and numbers in; purchase, amount and next token out, through a GPT-2 or BERT backbone.

It is built from a size (`build_scratch`), from a checkpoint (`pretrained`), or read back from a model bundle
(`load_model`). The one thing to know: purchase and amount are read at a text's last real token. GPT-2 has seen the
whole text only there; BERT has seen it everywhere, and one rule for both keeps them comparable.

Tensor names carry their shape: B examples, T tokens, D width of the hidden state, V vocabulary, F numbers, H answers
from numbers (purchase, amount), N positions chosen from B x T, R examples that are read again, e.g. hidden_BTD.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, pad
from transformers import PreTrainedModel

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.backbones import (
    ARCHITECTURES,
    architecture_of,
    at_last,
    backbone_values,
    build_backbone,
    hidden_states,
    left_to_right,
    real_places,
    right_to_left,
    scratch_sizes,
    token_embedding,
)
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.fusion import AmountHead, NumberFusion
from behavior_tasks.model.language import MaskedHead, draw_targets, hide
from behavior_tasks.model.last_state import last_states
from behavior_tasks.model.lora import merged_state
from behavior_tasks.model.numbers import NumberEncoding

FORMAT = "behavior-model/2"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the network says of a batch's examples."""

    purchase_B: torch.Tensor
    """Logits."""
    amount_mean_B: torch.Tensor | None
    """Mean of ln(amount) among buyers; None when the model has no amount head."""
    amount_log_std_B: torch.Tensor | None
    """Logarithm of its standard deviation."""

    def stacked(self) -> np.ndarray:
        """Return those that there are, one below the other, shape (1, B) or (3, B)."""
        told = (self.purchase_B, self.amount_mean_B, self.amount_log_std_B)
        return torch.stack([of for of in told if of is not None]).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class Outputs(Answers):
    """Answers, and the hidden states that the language head reads."""

    hidden_BTD: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a network reads beside its backbone, and what the log can teach it."""

    numbers: NumberEncoding | None
    """None: no numbers."""
    amounts: bool
    """Whether it tells amounts."""
    mask: int | None = None
    """The tokenizer's id of a hidden token. BERT learns no language without one; GPT-2 needs none."""
    frame: tuple[int, int] = (0, 0)
    """Tokens that the tokenizer puts before and after every text, such as BERT's [CLS] and [SEP]."""


class BehaviorModel(nn.Module):
    """A backbone with a purchase, an amount and a language head; what the text and the numbers tell is added.

    Without numbers, each token of the text has a weight of its own beside the backbone ("wide and deep", Cheng et al.
    2016): a few thousand shoppers are enough to learn what a word like `recency-q1` is worth by itself; numbers tell
    that better. The language head's matrix is the token embedding. All that reads the text begins at zero: a training
    begins at the biases, and a text then adds to what the numbers tell.

    Args:
        backbone: fresh or with weights.
        inputs: what is read beside the text.
        pretrained: whether the backbone comes from a checkpoint, and so is moved with care (see `groups`).
    """

    def __init__(self, backbone: PreTrainedModel, inputs: Inputs, *, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.inputs = inputs
        self.pretrained = pretrained
        self.architecture = architecture_of(backbone)
        width = backbone.config.hidden_size
        self.purchase = nn.Linear(width, 1)
        nn.init.zeros_(self.purchase.weight)
        nn.init.zeros_(self.purchase.bias)
        if inputs.amounts:
            self.amount = AmountHead(width)
        if "next_token" in self.heads and not self.architecture.causal:
            self.language = MaskedHead(backbone.config)
        if inputs.numbers is not None and self.number_names:
            dropout = getattr(backbone.config, self.architecture.dropouts[0])
            self.fusion = NumberFusion(inputs.numbers, answers=2 if inputs.amounts else 1, dropout=dropout)
        else:
            self.token_weight = nn.Embedding(backbone.config.vocab_size, 1)
            nn.init.zeros_(self.token_weight.weight)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The features that are read as numbers, in the order of `Batch.numbers_BF`."""
        return self.inputs.numbers.names if self.inputs.numbers is not None else ()

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that are on: purchase always, amount and next_token when there is something to learn them from."""
        has_language = self.architecture.causal or self.inputs.mask is not None
        return ("purchase", *(["amount"] * self.inputs.amounts), *(["next_token"] * has_language))

    def forward(self, batch: Batch) -> Outputs:
        """Read a batch: purchase and amount from each example's last real token, all its tokens and its numbers."""
        tokens_BT, lengths_B = _padded_right(batch), batch.lengths_B
        hidden_BTD = hidden_states(self.backbone, tokens_BT, lengths_B)
        return Outputs(
            hidden_BTD=right_to_left(hidden_BTD, lengths_B) if batch.left_padded else hidden_BTD,
            **vars(self.join(self._hear(batch, tokens_BT, at_last(hidden_BTD, lengths_B)), batch.numbers_BF)),
        )

    def score(self, batch: Batch) -> Answers:
        """Answer as `forward` does, in evaluation mode; faster, as it keeps no hidden states but the last."""
        return self.join(self.read_text(batch), batch.numbers_BF)

    def read_text(self, batch: Batch) -> torch.Tensor:
        """Return what the text by itself tells, text_BH: of the purchase and, with an amount head, of the amount.

        In evaluation mode. Nearly all the time of an answer goes into this, and no number plays a part in it.
        """
        tokens_BT = _padded_right(batch)
        return self._hear(batch, tokens_BT, last_states(self.backbone, tokens_BT, batch.lengths_B))

    def join(self, text_BH: torch.Tensor, numbers_BF: torch.Tensor) -> Answers:
        """Return what text and numbers tell together.

        Args:
            text_BH: what `read_text` gave.
            numbers_BF: in the order of `number_names`.
        """
        told_BH = text_BH + self.fusion(numbers_BF) if self.number_names else text_BH
        if not self.inputs.amounts:
            return Answers(purchase_B=told_BH[:, 0], amount_mean_B=None, amount_log_std_B=None)
        mean_B, log_std_B = self.amount.spread(told_BH[:, 1])
        return Answers(purchase_B=told_BH[:, 0], amount_mean_B=mean_B, amount_log_std_B=log_std_B)

    def _hear(self, batch: Batch, tokens_BT: torch.Tensor, last_BD: torch.Tensor) -> torch.Tensor:
        text_BH = self._weigh(last_BD)
        if self.number_names:
            return text_BH
        weights_BT = self.token_weight(tokens_BT).squeeze(2) * real_places(tokens_BT, batch.lengths_B)
        # Always as many places: how a sum of floats is split depends on how many there are.
        places = self.backbone.config.max_position_embeddings
        weights_B = pad(weights_BT, (0, max(places - weights_BT.shape[1], 0))).sum(1)
        return torch.cat([(text_BH[:, 0] + weights_B).unsqueeze(1), text_BH[:, 1:]], dim=1)

    def _weigh(self, last_BD: torch.Tensor) -> torch.Tensor:
        told = [self.purchase(last_BD), *([self.amount.text(last_BD)] if self.inputs.amounts else [])]
        return torch.cat(told, dim=1)

    def tell(
        self, last_BD: torch.Tensor, numbers_BF: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return what last hidden states and numbers tell: purchase_B, amount_mean_B, amount_log_std_B.

        With states of zero it is what the numbers tell by themselves.
        """
        told = self.join(self._weigh(last_BD), numbers_BF)
        return told.purchase_B, told.amount_mean_B, told.amount_log_std_B

    def draw_targets(self, lengths: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the positions that a step asks the language head about; none when it is off.

        Args:
            lengths: tokens of each of the B examples of a whole batch.
            seed: of the step.

        Returns:
            The example (0 to B - 1) and the place in it of each position, ascending; shapes (N,).
        """
        if "next_token" not in self.heads:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return draw_targets(lengths, seed, causal=self.architecture.causal, frame=self.inputs.frame)

    def next_token_loss(self, batch: Batch, hidden_BTD: torch.Tensor, positions_N: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, in nats, of what `draw_targets` asks for at the given positions.

        With GPT-2 that is the token that follows. With BERT it is the token that stands there, which is hidden first:
        the examples concerned are read once more, and torch's random state decides how.

        Args:
            batch: what `hidden_BTD` was read from.
            positions_N: flat positions into B x T, at least one.
        """
        tokens_BT = batch.tokens_BT
        if self.architecture.causal:
            logits_NV = self.next_token_logits(hidden_BTD.flatten(0, 1)[positions_N])
            return cross_entropy(logits_NV, tokens_BT.flatten()[positions_N + 1])
        assert self.inputs.mask is not None
        vocabulary = token_embedding(self.backbone).num_embeddings
        hidden_tokens_BT = hide(tokens_BT, positions_N, mask=self.inputs.mask, vocabulary=vocabulary)
        asked_N, place_N = positions_N // tokens_BT.shape[1], positions_N % tokens_BT.shape[1]
        rows_R, row_N = torch.unique(asked_N, return_inverse=True)
        rows_RT, lengths_R = hidden_tokens_BT[rows_R], batch.lengths_B[rows_R]
        if batch.left_padded:
            rows_RT = left_to_right(rows_RT, lengths_R)
            place_N = place_N - (tokens_BT.shape[1] - lengths_R[row_N])
        again_RTD = hidden_states(self.backbone, rows_RT, lengths_R)
        return cross_entropy(self.next_token_logits(again_RTD[row_N, place_N]), tokens_BT.flatten()[positions_N])

    def next_token_logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Return logits_NV over the vocabulary: of the token after each state with GPT-2, at each state with BERT."""
        tokens_VD = token_embedding(self.backbone).weight
        if self.architecture.causal:
            return hidden_ND @ tokens_VD.T
        logits_NV: torch.Tensor = self.language(hidden_ND, tokens_VD)
        return logits_NV


def build_scratch(config: ModelConfig, *, vocabulary: int, inputs: Inputs) -> BehaviorModel:
    """Return a freshly initialised model; torch's random state decides the weights.

    Args:
        config: architecture, size, longest text and dropout.
        vocabulary: number of token ids.
        inputs: what it reads beside the text.
    """
    architecture = ARCHITECTURES[config.architecture]
    backbone = build_backbone(architecture, scratch_sizes(config, vocabulary), dropout=config.dropout)
    return BehaviorModel(backbone, inputs)


def save_model(model: BehaviorModel, folder: Path, *, max_tokens: int) -> None:
    """Write `config.json` and `model.safetensors` into a folder; adapters are merged into the weights beside them."""
    inputs = model.inputs
    content = {
        "format": FORMAT,
        "max_tokens": max_tokens,
        "heads": list(model.heads),
        "numbers": inputs.numbers.model_dump() if inputs.numbers else None,
        "mask": inputs.mask,
        "frame": list(inputs.frame),
        "architecture": model.architecture.kind,
        "backbone": backbone_values(model.backbone),
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    weights = {name: tensor.contiguous() for name, tensor in merged_state(model).items()}
    save_file(weights, folder / "model.safetensors")


def load_model(folder: Path) -> BehaviorModel:
    """Read a bundle's model back, ready to score (no dropout).

    Raises:
        UserError: when the folder holds no model of this format.
    """
    content = read_config(folder)
    try:
        encoding = content["numbers"]
        inputs = Inputs(
            numbers=None if encoding is None else NumberEncoding.model_validate(encoding),
            amounts="amount" in content["heads"],
            mask=content["mask"],
            frame=tuple(content["frame"]),
        )
        backbone = build_backbone(ARCHITECTURES[content["architecture"]], content["backbone"], dropout=0.0)
        model = BehaviorModel(backbone, inputs)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except KeyError as error:
        raise _unreadable(folder, f"a config.json without {error}") from None
    except (OSError, SafetensorError, ValidationError, RuntimeError, TypeError, ValueError) as error:
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


def _padded_right(batch: Batch) -> torch.Tensor:
    return left_to_right(batch.tokens_BT, batch.lengths_B) if batch.left_padded else batch.tokens_BT


def _unreadable(folder: Path, found: str) -> UserError:
    return UserError(
        f"The model folder {folder.name} can't be read.",
        found=found.replace(str(folder), folder.name),
        expected=f"config.json and model.safetensors of the format {FORMAT}",
        next_step="train again; the pipeline makes the model anew",
    )
