import numpy as np

from behavior_tasks.model.batches import (
    SCORING_BATCH_TOKENS,
    epoch_batches,
    make_batch,
    pieces_within,
    scoring_batches,
)
from behavior_tasks.text.tokens import Sequences

TOKENS = np.array([5, 6, 7, 8, 9, 10], dtype=np.uint16)
OFFSETS = np.array([0, 3, 3, 4, 6])
NUMBERS = np.array([[1, 2], [3, np.nan], [5, 6], [7, 8]], dtype=np.float32)
SEQUENCES = Sequences(tokens=TOKENS, offsets=OFFSETS, numbers=NUMBERS, number_names=("a", "b"))


def test_rows_stand_side_by_side_padded_on_the_right() -> None:
    batch = make_batch(SEQUENCES, np.array([3, 0, 2]))
    assert batch.tokens_BT.tolist() == [[9, 10, 0], [5, 6, 7], [8, 0, 0]]
    assert batch.lengths_B.tolist() == [2, 3, 1]


def test_an_empty_text_reads_as_one_padding_token() -> None:
    batch = make_batch(SEQUENCES, np.array([1]))
    assert batch.tokens_BT.tolist() == [[0]]
    assert batch.lengths_B.tolist() == [1]


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own() -> None:
    rows = np.arange(100, 1100)
    lengths = np.random.default_rng(0).integers(5, 200, 1000)
    first = epoch_batches(rows, lengths, batch_size=8, seed=1, epoch=0)
    again = epoch_batches(rows, lengths, batch_size=8, seed=1, epoch=0)
    second = epoch_batches(rows, lengths, batch_size=8, seed=1, epoch=1)
    other = epoch_batches(rows, lengths, batch_size=8, seed=2, epoch=0)

    assert sorted(np.concatenate(first)) == rows.tolist()
    assert [b.tolist() for b in first] == [b.tolist() for b in again]
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    assert [b.tolist() for b in first] != [b.tolist() for b in other]


def test_batches_of_similar_length_waste_little_on_padding() -> None:
    rows = np.arange(2000)
    lengths = np.random.default_rng(0).integers(20, 200, 2000)
    batches = epoch_batches(rows, lengths, batch_size=16, seed=1, epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert padded < 1.1 * lengths.sum()
    # Short and long batches alternate; an epoch does not go from short to long.
    sizes = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(sizes, range(len(sizes)))[0, 1]) < 0.5


def test_scoring_batches_cover_all_within_the_token_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 900, 300)
    batches = list(scoring_batches(lengths))
    assert sorted(np.concatenate(batches)) == list(range(300))
    assert all(lengths[batch].max() * len(batch) <= SCORING_BATCH_TOKENS for batch in batches)
    assert len(batches) < 1.5 * lengths.sum() / SCORING_BATCH_TOKENS + 1


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    batches = list(scoring_batches(np.array([SCORING_BATCH_TOKENS + 1, 5])))
    assert [batch.tolist() for batch in batches] == [[1], [0]]


def test_pieces_hold_every_row_once_within_the_budget_and_the_longest_alone() -> None:
    lengths = np.array([7, 3, 30, 4, 4, 9])
    pieces = [piece.tolist() for piece in pieces_within(lengths, budget=14)]
    assert pieces == [[1, 3, 4], [0], [5], [2]]
    assert [piece.tolist() for piece in pieces_within(lengths, budget=1000)] == [[1, 3, 4, 0, 5, 2]]
