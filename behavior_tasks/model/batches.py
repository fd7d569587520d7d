"""Batches: token sequences of unequal length in, padded rectangles of similar length out.

Rows are sorted by length within shuffled chunks, so that little is padded and the order stays random. The order
depends on nothing but (seed, epoch), so a resumed training meets exactly the batches it would have met. A batch that
is too large for the memory is cut into pieces within a budget of padded tokens; that changes no result.

Shapes: B examples in a batch, T tokens of the longest of them, F numbers, N target positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.text.tokens import Sequences

CHUNK_BATCHES = 40
"""Batches per chunk within which rows are sorted by length."""
SCORING_BATCH_TOKENS = 8192
"""Padded tokens per batch when nothing is learned; bounds memory whatever the lengths."""
PADDING = 0
"""What stands behind the last real token. Any id does: nothing reads it (see `network`)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples side by side, padded to the longest."""

    tokens_BT: torch.Tensor
    lengths_B: torch.Tensor
    """Real tokens per example, at least 1."""
    numbers_BF: torch.Tensor
    """The engineered features, float32; NaN where one is undefined. F may be 0."""
    left_padded: bool = False
    """Whether padding stands before the real tokens instead of after them."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(
            tokens_BT=self.tokens_BT.to(device),
            lengths_B=self.lengths_B.to(device),
            numbers_BF=self.numbers_BF.to(device),
            left_padded=self.left_padded,
        )


def lengths_of(offsets: np.ndarray) -> np.ndarray:
    """Return the number of tokens of every row, at least 1: an empty text reads as one padding token."""
    return np.maximum(np.diff(offsets), 1)


def number_places(sequences: Sequences, names: tuple[str, ...]) -> list[int]:
    """Return the columns of the sequences' numbers that a model reads, in its order.

    Raises:
        UserError: when one of them is not there.
    """
    places = {name: place for place, name in enumerate(sequences.number_names)}
    missing = [name for name in names if name not in places]
    if missing:
        raise UserError(
            "The model reads numbers that these examples do not have.",
            found=f"no {', '.join(missing)}",
            next_step="train again, or encode with model.numbers=true",
        )
    return [places[name] for name in names]


def make_batch(sequences: Sequences, rows: np.ndarray, places: list[int] | None = None, *, width: int = 0) -> Batch:
    """Put rows side by side.

    Args:
        sequences: of n examples.
        rows: row numbers, shape (B,).
        places: columns of the numbers that are wanted, see `number_places`; None: all.
        width: fewest places that each is padded to.
    """
    # A view that is no memory map any more: numpy makes every slice of a memory map a memory map, which is slow.
    tokens, offsets = np.asarray(sequences.tokens), np.asarray(sequences.offsets)
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    lengths = np.maximum(counts, 1)
    padded = np.full((len(rows), max(int(lengths.max()), width)), PADDING, dtype=np.int64)
    for place, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        padded[place, :count] = tokens[start : start + count]
    # Of a memory map, no more numbers are read than a batch has.
    numbers = sequences.numbers[rows] if places is None else sequences.numbers[rows][:, places]
    return Batch(
        tokens_BT=torch.from_numpy(padded),
        lengths_B=torch.from_numpy(lengths.astype(np.int64)),
        numbers_BF=torch.from_numpy(np.array(numbers, dtype=np.float32)),
    )


def epoch_batches(rows: np.ndarray, lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the row numbers of every batch of one epoch, in order; within a batch the shortest comes first.

    Args:
        rows: row numbers to go through, shape (n,).
        lengths: tokens of each of these rows, shape (n,).
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(rows))
    chunk = batch_size * CHUNK_BATCHES
    batches = []
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [rows[part[i : i + batch_size]] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def pieces_within(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Yield positions into `lengths`, shortest first, in pieces of at most so many padded tokens.

    A sequence that is longer than the budget by itself is a piece of its own.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * lengths[order[end]] <= budget:
            end += 1
        yield order[start:end]
        start = end


def scoring_batches(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Yield positions into `lengths`, shortest first, as batches for when nothing is learned."""
    return pieces_within(lengths, SCORING_BATCH_TOKENS)
