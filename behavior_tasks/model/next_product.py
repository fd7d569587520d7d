"""The language model's reading of what comes next: open texts in, the probability of each word that may follow out.

A word is read by the first token that tells it from the others; words that share it share its probability by given
weights. The one thing to know: that costs one pass for each text, however many words may follow, and it is exact for
words of one token, which popular products, letters and categories are under a tokenizer that was trained on the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Self

import numpy as np
import torch
from tokenizers import Tokenizer

from behavior_tasks.model.backbones import at_last, hidden_states
from behavior_tasks.model.batches import lengths_of, make_batch, scoring_batches
from behavior_tasks.model.device import DeviceName, pinned_threads
from behavior_tasks.model.last_state import last_states
from behavior_tasks.model.predict import Scorer
from behavior_tasks.text.encode import encode_texts
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer
from behavior_tasks.text.tokens import Sequences


@dataclass(frozen=True, kw_only=True)
class NextReader:
    """A model bundle with a language head, that is loaded once and asked often."""

    scorer: Scorer
    tokenizer: Tokenizer

    @classmethod
    def load(cls, model_folder: Path, *, device: DeviceName = "auto", threads: int = 1) -> Self | None:
        """Load a language model's bundle; None when it learned no language."""
        scorer = Scorer.load(model_folder, device=device, threads=threads)
        if "next_token" not in scorer.model.heads:
            return None
        return cls(scorer=scorer, tokenizer=load_tokenizer(model_folder / "tokenizer"))

    def read(self, texts: Sequence[str], lead: str, words: Sequence[str], weights: np.ndarray) -> np.ndarray:
        """Return how probable it is that each word follows a text and a lead, and not another of the words.

        Args:
            texts: n texts; what is too long loses its beginning.
            lead: stands between each text and the word; may be empty.
            words: W words, no two the same.
            weights: of words that share a token, shape (W,), above zero.

        Returns:
            Shape (n, W), float32; rows sum to one where there are words.
        """
        if not len(texts) or not words:
            return np.zeros((len(texts), len(words)), dtype=np.float32)
        tails = [self.tokenizer.encode(lead + word, add_special_tokens=False).ids for word in words]
        shared = [ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, zip(*tails, strict=False))]
        # A word that is the beginning of another ends where the other goes on; both stand for their last common token.
        if shared and any(len(tail) == len(shared) for tail in tails):
            shared = shared[:-1]
        asked, place = np.unique([tail[len(shared)] for tail in tails], return_inverse=True)
        share = weights / np.bincount(place, weights=weights)[place]
        sequences, suffix = self._sequences(texts, shared)
        logits = self._logits(sequences, asked, suffix)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray((odds / odds.sum(axis=1, keepdims=True))[:, place] * share, dtype=np.float32)

    def _sequences(self, texts: Sequence[str], shared: list[int]) -> tuple[Sequences, int]:
        """Put the shared tokens behind each text, and BERT's hidden token, before what ends every text."""
        model = self.scorer.model
        tail = [*shared] if model.architecture.causal else [*shared, model.inputs.mask]
        suffix = frame_of(self.tokenizer)[1]
        limit = self.scorer.max_tokens - len(tail)
        tokens, offsets = encode_texts(self.scorer.folder / "tokenizer", texts, limit)
        rows = [np.concatenate([tokens[begin : end - len(suffix)], tail, suffix]) for begin, end in pairwise(offsets)]
        ends = np.cumsum([0, *map(len, rows)])
        every = np.concatenate(rows).astype(np.int64)
        numbers = np.zeros((len(rows), 0), dtype=np.float32)
        return Sequences(tokens=every, offsets=ends, numbers=numbers, number_names=()), len(suffix)

    def _logits(self, sequences: Sequences, asked: np.ndarray, suffix: int) -> np.ndarray:
        model, device = self.scorer.model, self.scorer.device
        found = np.empty((len(sequences), len(asked)), dtype=np.float64)
        with pinned_threads(self.scorer.threads), torch.inference_mode():
            for chosen in scoring_batches(lengths_of(sequences.offsets)):
                batch = make_batch(sequences, chosen).to(device)
                if model.architecture.causal:
                    state_BD = last_states(model.backbone, batch.tokens_BT, batch.lengths_B)
                else:
                    hidden_BTD = hidden_states(model.backbone, batch.tokens_BT, batch.lengths_B)
                    state_BD = at_last(hidden_BTD, batch.lengths_B - suffix)
                found[chosen] = model.next_token_logits(state_BD)[:, asked].double().cpu().numpy()
        return found
