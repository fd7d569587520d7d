"""The language head: hidden states in, logits over the vocabulary out; and what of a text is asked in a step.

GPT-2 is asked for the token that follows (causal). BERT sees the whole text, so tokens are hidden from it and it is
asked for those (masked, Devlin et al. 2019). Hiding changes what is read, and a purchase must be told from the text as
it is, so hidden tokens need a pass of their own; a part of the examples keeps that cheap.

Shapes: B examples, T tokens, N positions chosen from B x T, D width of the hidden state, V vocabulary.
"""

import math

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

CAUSAL_SHARE = 0.25
"""Share of the positions whose next token is asked for in a step, drawn anew each step. The mean over a random part
is an unbiased estimate of the mean over all, and the vocabulary's logits are a third of a small model's cost."""
MASKED_EXAMPLES_SHARE = 0.25
"""Share of the examples that are read once more with hidden tokens in a step."""
MASKED_SHARE = 0.15
"""Share of their tokens that are asked for; of these, as BERT was trained, so many are hidden, and so many replaced."""
HIDDEN, REPLACED = 0.8, 0.1


class MaskedHead(nn.Module):
    """BERT's own head: hidden_ND becomes the logits of the tokens that were hidden there.

    Its names are those of a checkpoint's `cls.predictions`, from which it is filled when the checkpoint has them.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        nn.init.normal_(self.transform.dense.weight, std=config.initializer_range)
        nn.init.zeros_(self.transform.dense.bias)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden_ND: torch.Tensor, tokens_VD: torch.Tensor) -> torch.Tensor:
        """Return logits_NV; the matrix is the embedding of the tokens."""
        logits_NV: torch.Tensor = self.transform(hidden_ND) @ tokens_VD.T + self.bias
        return logits_NV


def draw_targets(
    lengths: np.ndarray, seed: int, *, causal: bool, frame: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the positions that a step asks about, of a whole batch at once.

    Args:
        lengths: tokens of each of the B examples.
        seed: of the step.
        causal: ask for the token that follows a position, else for the one that stands there.
        frame: tokens that the tokenizer puts before and after every text, such as [CLS] and [SEP]; never asked for.

    Returns:
        The example (0 to B - 1) and the place in it of each drawn position, ascending; shapes (N,).
    """
    random = np.random.default_rng(seed)
    if causal:
        return _draw(lengths - 1, CAUSAL_SHARE, random)
    asked = random.random(len(lengths)) < MASKED_EXAMPLES_SHARE
    if not asked.any():
        asked[random.integers(len(lengths))] = True
    examples, places = _draw(np.where(asked, np.maximum(lengths - sum(frame), 0), 0), MASKED_SHARE, random)
    return examples, places + frame[0]


def hide(tokens_BT: torch.Tensor, positions_N: torch.Tensor, *, mask: int, vocabulary: int) -> torch.Tensor:
    """Return the tokens with 80 % of the positions hidden, 10 % replaced by any token and 10 % as they were.

    Drawn on the CPU from torch's random state: the same on every device, and after a resume.
    """
    count = len(positions_N)
    chance_N = torch.rand(count)
    any_N = torch.randint(vocabulary, (count,))
    old_N = tokens_BT.flatten()[positions_N]
    new_N = torch.where(
        (chance_N < HIDDEN).to(old_N.device),
        mask,
        torch.where((chance_N < HIDDEN + REPLACED).to(old_N.device), any_N.to(old_N.device), old_N),
    )
    return tokens_BT.flatten().scatter(0, positions_N, new_N).view_as(tokens_BT)


def _draw(counts: np.ndarray, share: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a share, rounded up, of all places, of which each example has the given count."""
    ends = np.cumsum(counts)
    total = int(ends[-1])
    drawn = np.sort(random.choice(total, math.ceil(total * share), replace=False, shuffle=False))
    examples = np.searchsorted(ends, drawn, side="right")
    return examples, drawn - (ends - counts)[examples]
