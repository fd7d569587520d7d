"""Surprise: a model bundle and texts in pieces in; how little the model expected each piece out.

A causal model gives every token a probability, given all that stands before it; its negative logarithm is the token's
surprise. The one thing to know: some tokens are hard to tell for anybody, such as the hour of the next visit, so beside
the surprise stand its mean and its variance under the model itself, against which it can be held.

Shapes: B texts, T tokens of the longest, N places whose next token is asked for, D width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from tokenizers import Tokenizer

from behavior_tasks.model.backbones import hidden_states
from behavior_tasks.model.batches import lengths_of, make_batch, scoring_batches
from behavior_tasks.model.device import DeviceName, pick_device, pinned_threads
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.model.network import BehaviorModel, load_model, read_config
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer
from behavior_tasks.text.tokens import Sequences

MOST_LOGITS = 1 << 24
"""Logits that are held at a time, four bytes each."""
UNREAD = -1
"""Piece of a token that nobody asks about."""


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """What the model thinks of the pieces, all texts' pieces behind one another; arrays of shape (pieces,)."""

    tokens: np.ndarray
    """Tokens of the piece that were read; 0 where it was not asked about, or the text was cut behind it."""
    nats: np.ndarray
    """Sum of the tokens' surprise."""
    expected: np.ndarray
    """What the model expected this sum to be: the entropy of its answers."""
    variance: np.ndarray
    """What it expected the square of the difference to be, if each token were independent of the others."""


@dataclass(frozen=True, kw_only=True)
class SurpriseReader:
    """A causal model that is loaded once and asked often."""

    model: BehaviorModel
    tokenizer: Tokenizer
    max_tokens: int
    device: torch.device
    threads: int

    @classmethod
    def load(cls, model_folder: Path, *, device: DeviceName = "auto", threads: int = 2) -> Self:
        """Load a bundle that `reads_causally`.

        Args: as for `Scorer.load`.

        Raises:
            UserError: when the bundle can't be read, or a GPU is asked for and there is none.
        """
        place = pick_device(device)
        return cls(
            model=load_model(model_folder).to(place),
            tokenizer=load_tokenizer(model_folder / "tokenizer"),
            max_tokens=int(read_config(model_folder)["max_tokens"]),
            device=place,
            threads=threads,
        )

    def read(self, texts: Sequence[Sequence[str]], asked: np.ndarray) -> Surprise:
        """Return how surprising pieces are, given all that stands before them in their text.

        Args:
            texts: pieces that make each text; a text that is too long loses its beginning.
            asked: of all pieces behind one another, which are wanted, bool, shape (pieces,).

        A token belongs to the piece in which it begins. A text's first token has nothing before it and counts nowhere.
        """
        tokens, offsets, piece = self._encode(texts, asked)
        sums = np.zeros((4, len(asked)), dtype=np.float64)
        sequences = Sequences(
            tokens=tokens, offsets=offsets, numbers=np.zeros((len(texts), 0), dtype=np.float32), number_names=()
        )
        with pinned_threads(self.threads), torch.inference_mode():
            for rows in scoring_batches(lengths_of(offsets)):
                batch = make_batch(sequences, rows, [])
                pieces_BT = np.full(batch.tokens_BT.shape, UNREAD, dtype=np.int64)
                for place, row in enumerate(rows.tolist()):
                    pieces_BT[place, : offsets[row + 1] - offsets[row]] = piece[offsets[row] : offsets[row + 1]]
                pieces_BT[:, 0] = UNREAD
                found = np.argwhere(pieces_BT != UNREAD)
                if len(found):
                    told = self._told(batch.to(self.device).tokens_BT, batch.lengths_B.to(self.device), found)
                    of = pieces_BT[found[:, 0], found[:, 1]]
                    for place, values in enumerate((np.ones(len(of)), *told)):
                        sums[place] += np.bincount(of, weights=values, minlength=len(asked))
        return Surprise(tokens=sums[0].astype(np.int64), nats=sums[1], expected=sums[2], variance=sums[3])

    def _encode(self, texts: Sequence[Sequence[str]], asked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens and offsets of the texts, and for each token the number of its piece, UNREAD if not asked."""
        whole = self.tokenizer.encode_batch(["".join(pieces) for pieces in texts], add_special_tokens=False)
        # What a checkpoint's tokenizer puts before and after a text takes room, as it does in training.
        before, after = frame_of(self.tokenizer)
        room = self.max_tokens - len(before) - len(after)
        ids, owners, lengths, first = [], [], [], 0
        for encoding, pieces in zip(whole, texts, strict=True):
            begins = np.array([start for start, _ in encoding.offsets[-room:]], dtype=np.int64)
            inner = np.searchsorted(np.cumsum([len(text) for text in pieces]), begins, side="right")
            owner = first + np.minimum(inner, len(pieces) - 1)
            ids.append(np.array([*before, *encoding.ids[-room:]], dtype=np.int64))
            owners.append(np.append(np.full(len(before), UNREAD), np.where(asked[owner], owner, UNREAD)))
            lengths.append(len(before) + len(owner))
            first += len(pieces)
        empty = [np.zeros(0, dtype=np.int64)]
        return np.concatenate(ids or empty), np.append(0, np.cumsum(lengths)), np.concatenate(owners or empty)

    def _told(
        self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return surprise, its mean and its variance of the tokens at (text, place), each of shape (N,)."""
        hidden_BTD = hidden_states(self.model.backbone, tokens_BT, lengths_B)
        row_N, place_N = (torch.from_numpy(column.copy()).to(self.device) for column in found.T)
        states_ND, wanted_N = hidden_BTD[row_N, place_N - 1], tokens_BT[row_N, place_N]
        told: list[torch.Tensor] = []
        vocabulary = self.model.backbone.config.vocab_size
        for states, wanted in zip(
            *(values.split(max(1, MOST_LOGITS // vocabulary)) for values in (states_ND, wanted_N)), strict=True
        ):
            logs_NV = self.model.next_token_logits(states).log_softmax(1)
            shares_NV = logs_NV.exp()
            mean_N = -(shares_NV * logs_NV).sum(1)
            spread_N = (shares_NV * logs_NV.square()).sum(1) - mean_N.square()
            nats_N = -logs_NV.gather(1, wanted.unsqueeze(1)).squeeze(1)
            told.append(torch.stack([nats_N, mean_N, spread_N.clamp(min=0)]))
        nats, mean, spread = torch.cat(told, dim=1).double().cpu().numpy()
        return nats, mean, spread


def reads_causally(model_folder: Path) -> bool:
    """Whether a model folder holds a network that tells each token from those before it: GPT-2, not BERT."""
    return not is_boosting(model_folder) and read_config(model_folder)["architecture"] == "gpt2"
