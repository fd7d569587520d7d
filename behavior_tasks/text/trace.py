"""Traces: which part of a text each token comes from, for people who ask what the model has read.

In come a tokenizer and the parts of one text; out come exactly the tokens of `encode_parts`, each with the characters
that it stands for and the part that it begins in. The one thing to know: a text that is too long has lost its
beginning, so its first parts may have no token at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from behavior_tasks.text.encode import encode_parts
from behavior_tasks.text.parts import join_parts
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer

FRAME = -1
"""Part of a token that the tokenizer puts around every text."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One text as a model reads it."""

    parts: tuple[str, ...]
    """All parts, those that are cut off included."""
    ids: np.ndarray
    """Ids of the T tokens that are read, shape (T,)."""
    pieces: tuple[str, ...]
    """What each of them stands for, T of them: characters of the text, else the token's own name."""
    part_of: np.ndarray
    """The part that each of them begins in, shape (T,), int64; FRAME where it belongs to none."""
    cut: int
    """Tokens at the beginning that are not read, as the text is too long."""
    begin: int
    """Characters of the text before the first one that is read."""

    @property
    def read_parts(self) -> list[int]:
        """Places of the parts of which at least one token is read, rising."""
        return sorted({int(part) for part in self.part_of} - {FRAME})


def trace_tokens(tokenizer_folder: Path, parts: Sequence[str], max_tokens: int) -> Trace:
    """Trace the tokens of one text back to its parts.

    Args:
        tokenizer_folder: as for `encode_parts`.
        parts: of one text.
        max_tokens: the most tokens that are read.

    Raises:
        UserError: when the tokenizer can't be read.
    """
    ids, _ = encode_parts(tokenizer_folder, [list(parts)], max_tokens)
    tokenizer = load_tokenizer(tokenizer_folder)
    before, after = frame_of(tokenizer)
    text = join_parts(parts)
    whole = tokenizer.encode(text, add_special_tokens=False)
    cut = len(whole.ids) - (len(ids) - len(before) - len(after))
    spans = whole.offsets[cut:]
    # What is told of the tokens is wrong unless they are the same ones.
    assert ids[len(before) : len(ids) - len(after)].tolist() == whole.ids[cut:]
    begin = spans[0][0] if spans and cut else len(text) if cut else 0
    ends = list(accumulate(map(len, parts)))
    inner = np.searchsorted(ends, [start for start, _ in spans], side="right")
    # A token without characters can only stand behind the last one.
    inner = np.minimum(inner, max(len(parts) - 1, 0)).astype(np.int64)
    framed = [np.full(len(around), FRAME, dtype=np.int64) for around in (before, after)]
    return Trace(
        parts=tuple(parts),
        ids=ids,
        pieces=(
            *(_name(tokenizer, token) for token in before),
            *_pieces(tokenizer, text, whole.ids[cut:], spans),
            *(_name(tokenizer, token) for token in after),
        ),
        part_of=np.concatenate([framed[0], inner, framed[1]]),
        cut=cut,
        begin=begin,
    )


def _pieces(tokenizer: Tokenizer, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return what each token stands for; tokens that share a character, byte by byte, go by their own names."""
    shared = [
        any(0 <= other < len(spans) and spans[other] == span for other in (place - 1, place + 1))
        for place, span in enumerate(spans)
    ]
    return [
        _name(tokenizer, token) if alike or start == end else text[start:end]
        for token, (start, end), alike in zip(ids, spans, shared, strict=True)
    ]


def _name(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.id_to_token(token) or ""
