"""Token sets: the artifact of `encode` on disk in, memory-mapped arrays of what the model reads out.

Nothing is read before it is needed, so opening takes the same moment at any size. The one thing to know: row i's
tokens are `tokens[offsets[i]:offsets[i + 1]]`, and its numbers are `numbers[i]`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from behavior_tasks.base.timeline import Split

ENCODING_FILE = "encoding.json"


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """What a model reads of n examples."""

    tokens: np.ndarray
    """Token ids of all examples behind one another, shape (all tokens,), uint16 or uint32."""
    offsets: np.ndarray
    """Where each example starts and the last one ends, shape (n + 1,), int64."""
    numbers: np.ndarray
    """The engineered features, shape (n, F), float32; NaN where one is undefined. F may be 0."""
    number_names: tuple[str, ...]
    """Their names, F of them."""

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """The encoded examples."""

    sequences: Sequences
    index: pd.DataFrame
    """example, shopper, split, cutoff, label, amount, weight; one row an example, in the order of the sequences."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open the artifact of `encode`."""
        names = json.loads((folder / ENCODING_FILE).read_bytes())["numbers"]
        return cls(
            sequences=Sequences(
                tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
                offsets=np.load(folder / "offsets.npy", mmap_mode="r"),
                numbers=np.load(folder / "numbers.npy", mmap_mode="r"),
                number_names=tuple(names),
            ),
            index=pd.read_parquet(folder / "index.parquet"),
        )

    def rows(self, split: Split) -> np.ndarray:
        """Return the row numbers of a split, rising, int64."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())
