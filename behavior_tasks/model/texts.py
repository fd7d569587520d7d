"""What a language model makes of texts before it reads them: texts in parts in; their lengths and unknown tokens out.

An unknown token is the tokenizer's own word for that, or, where it takes anything letter by letter, a single letter:
so it reads words that none of the texts it was trained on held. The one thing to know: the length is that of the whole
text, so a text that the model reads without its beginning is seen to be long.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from behavior_tasks.text.encode import encode_parts
from behavior_tasks.text.tokenizer import load_tokenizer

UNKNOWN_WORDS = ("[UNK]", "<unk>")
WHOLE = 1 << 20
"""Tokens at which a text would be cut: longer than any."""


def text_figures(model_folder: Path, parts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of tokens of each text, int64 (n,), and which share of them is unknown, float64 (n,).

    Args:
        model_folder: a language model's, with its tokenizer.
        parts: n texts in parts.
    """
    folder = model_folder / "tokenizer"
    tokens, offsets = encode_parts(folder, parts, WHOLE)
    seen = np.concatenate([[0], np.cumsum(_unknown(folder)[tokens])])
    lengths = np.diff(offsets)
    return lengths, (seen[offsets[1:]] - seen[offsets[:-1]]) / np.maximum(lengths, 1)


@lru_cache(maxsize=2)
def _unknown(folder: Path) -> np.ndarray:
    """Return for each token id whether it is unknown, int64 (vocabulary,)."""
    words = load_tokenizer(folder).get_vocab(with_added_tokens=True)
    result = np.zeros(max(words.values(), default=-1) + 1, dtype=np.int64)
    for word, number in words.items():
        result[number] = word in UNKNOWN_WORDS or (len(word) == 1 and not word.isascii()) or _is_letter(word)
    return result


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isascii() and word.isalpha()
