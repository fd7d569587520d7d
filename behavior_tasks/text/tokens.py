"""Token sets: the artifact of `encode` on disk in, memory-mapped arrays of what the model reads out.

Nothing is read before it is needed, so opening takes the same moment at any size. The one thing to know: row i's
tokens are `tokens[offsets[i]:offsets[i + 1]]`, and its numbers are `numbers[i]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import hash_file, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.timeline import Split
from behavior_tasks.text.token_files import map_array

ENCODING_FILE = "encoding.json"
INDEX_FILE = "index.parquet"
TOKENIZER_FOLDER = "tokenizer"
TOKENIZER_FILE = "tokenizer.json"
INDEX_COLUMNS = ("example", "shopper", "split", "cutoff", "label", "amount", "weight")


class Encoding(BaseModel):
    """What the files of a token set must agree with; kept as `encoding.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int
    tokens: int
    vocabulary: int
    """Every token id is below it."""
    numbers: tuple[str, ...]
    """Names of the columns of the numbers."""
    tokenizer: str
    """SHA-256 of tokenizer.json: other tokenizers give the same ids other meanings."""
    mask: int | None
    """Id of the token that stands for a hidden one; None where the tokenizer has none."""

    def save(self, folder: Path) -> None:
        """Write it beside the files that it is about."""
        write_durably(folder / ENCODING_FILE, self.model_dump_json(indent=2).encode())


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
    encoding: Encoding
    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open the artifact of `encode`.

        Raises:
            UserError: when its files are missing, damaged, or of another encoding.
        """
        encoding = _read_encoding(folder)
        sequences = Sequences(
            tokens=_open_array(folder / "tokens.npy"),
            offsets=_open_array(folder / "offsets.npy"),
            numbers=_open_array(folder / "numbers.npy"),
            number_names=encoding.numbers,
        )
        _check(folder, encoding, sequences)
        return cls(sequences=sequences, encoding=encoding, folder=folder)

    @cached_property
    def index(self) -> pd.DataFrame:
        """INDEX_COLUMNS, one row an example, in the order of the sequences; read when first asked for."""
        return self.read_index(INDEX_COLUMNS)

    def read_index(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return some columns of the index, which of millions of examples is much quicker than all."""
        return pd.read_parquet(self.folder / INDEX_FILE, columns=list(columns))

    @cached_property
    def _splits(self) -> pd.Series:
        return self.read_index(["split"])["split"]

    def rows(self, split: Split) -> np.ndarray:
        """Return the row numbers of a split, rising, int64."""
        return np.flatnonzero((self._splits == split).to_numpy())


def _read_encoding(folder: Path) -> Encoding:
    try:
        return Encoding.model_validate_json((folder / ENCODING_FILE).read_bytes())
    except FileNotFoundError:
        raise _damaged(folder, f"no {ENCODING_FILE}") from None
    except ValidationError as error:
        raise _damaged(folder, f"{ENCODING_FILE}: {error.errors()[0]['msg']}") from None


def _open_array(path: Path) -> np.ndarray:
    try:
        return map_array(path)
    except FileNotFoundError:
        raise _damaged(path.parent, f"no {path.name}") from None
    except (ValueError, EOFError) as error:
        raise _damaged(path.parent, f"{path.name}: {error}") from None


def _check(folder: Path, encoding: Encoding, sequences: Sequences) -> None:
    """Refuse arrays that do not belong together, looking at shapes and ends only."""
    examples, names = encoding.examples, encoding.numbers
    for name, array, kind, shape in (
        ("tokens.npy", sequences.tokens, "u", (encoding.tokens,)),
        ("offsets.npy", sequences.offsets, "i", (examples + 1,)),
        ("numbers.npy", sequences.numbers, "f", (examples, len(names))),
    ):
        if array.shape != shape:
            raise _damaged(folder, f"{name} of the shape {array.shape}", f"{shape}, as {ENCODING_FILE} says")
        if array.dtype.kind != kind:
            raise _damaged(folder, f"{name} of {array.dtype}")
    ends = int(sequences.offsets[0]), int(sequences.offsets[-1])
    if ends != (0, encoding.tokens):
        raise _damaged(folder, f"offsets.npy from {ends[0]} to {ends[1]}", f"from 0 to {encoding.tokens}")
    tokenizer = folder / TOKENIZER_FOLDER / TOKENIZER_FILE
    if not tokenizer.is_file():
        raise _damaged(folder, f"no {TOKENIZER_FOLDER}/{TOKENIZER_FILE}")
    if hash_file(tokenizer) != encoding.tokenizer:
        raise _damaged(folder, "tokens of another tokenizer than the one beside them")
    if (rows := _index_rows(folder)) != encoding.examples:
        raise _damaged(folder, f"{INDEX_FILE} of {rows} rows", f"{encoding.examples}, as {ENCODING_FILE} says")


def _index_rows(folder: Path) -> int:
    try:
        return int(pq.read_metadata(folder / INDEX_FILE).num_rows)
    except FileNotFoundError:
        raise _damaged(folder, f"no {INDEX_FILE}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(folder, f"{INDEX_FILE}: {(str(error).splitlines() or ['?'])[0]}") from None


def _damaged(folder: Path, found: str, expected: str | None = None) -> UserError:
    return UserError(
        f"The encoded texts in {folder.parent.name}/{folder.name} can't be used.",
        found=found,
        expected=expected or "files that `encode` wrote together",
        next_step=f"delete artifacts/{folder.parent.name}/{folder.name} in the state folder and run again",
    )
