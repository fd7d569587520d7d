"""The parts of a text: what `verbalize` writes of an example, and how the text is got from it.

A text is exactly its parts, one after the other, with nothing in between. They are words and groups of words that
come again in other texts, so that they are stored once and turned into tokens once. The one thing to know: where two
parts meet, a tokenizer parts words too, as a blank, a bracketed word, or a change between letters and punctuation is
there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from behavior_tasks.text.history import spread

TEXT_SQL = "array_to_string(parts, '')"
"""SQL of the text of a row of `texts`."""
BLANK, PUNCTUATION, LETTER, BRACKET = 0, 1, 2, 3


def join_parts(parts: Iterable[str]) -> str:
    """Return the text of an example.

    >>> join_parts(["User A", " browsed product B", ", 2 days later"])
    'User A browsed product B, 2 days later'
    """
    return "".join(parts)


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Rows of parts, each part as its place in a `PartTable`."""

    counts: np.ndarray
    """Parts of each row, shape (rows,)."""
    codes: np.ndarray
    """All parts, one row after the other, shape (all parts,), int32."""

    @classmethod
    def of_table(cls, codes: np.ndarray) -> "Ragged":
        """Take the parts of each row of shape (rows, most parts), where a part below zero is none."""
        there = codes >= 0
        return cls(counts=there.sum(axis=1), codes=codes[there])

    def grouped(self, group: np.ndarray, groups: int) -> "Ragged":
        """Join the rows of each group; `group` rises, shape (rows,)."""
        counts = np.bincount(group, weights=self.counts, minlength=groups).astype(np.int64)
        return Ragged(counts=counts, codes=self.codes)

    def take(self, rows: np.ndarray) -> "Ragged":
        """Return these rows, any of them as often as it is named."""
        if len(rows) == len(self.counts) and np.array_equal(rows, np.arange(len(rows))):
            return self
        starts, counts = np.cumsum(self.counts) - self.counts, self.counts[rows]
        return Ragged(counts=counts, codes=self.codes[spread(starts[rows], counts)])


def side_by_side(blocks: Sequence[Ragged]) -> Ragged:
    """Return rows that hold the parts of the blocks' rows, one block after the other."""
    counts = np.sum([block.counts for block in blocks], axis=0)
    at = np.cumsum(counts) - counts
    codes = np.empty(int(counts.sum()), dtype=np.int32)
    for block in blocks:
        codes[spread(at, block.counts)] = block.codes
        at = at + block.counts
    return Ragged(counts=counts, codes=codes)


class PartTable:
    """Every different part, numbered in the order in which it first comes up."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, text: str) -> int:
        """Return the number of a part; -1 for an empty one, which is none."""
        if not text:
            return -1
        if (known := self._codes.get(text)) is None:
            known = self._codes[text] = len(self.texts)
            self.texts.append(text)
        return known

    def codes(self, keys: np.ndarray, word: Callable[[int], str]) -> np.ndarray:
        """Return the part of each key: `word` is asked once for each that occurs.

        Args:
            keys: small whole numbers; below zero is none.

        Returns:
            Codes of the shape of `keys`, int32.
        """
        top = int(keys.max(initial=-1))
        # The last place answers for -1.
        found = np.full(top + 2, -1, dtype=np.int32)
        present = np.flatnonzero(np.bincount(keys[keys >= 0].ravel(), minlength=1))
        for key in present if top >= 0 else ():
            found[key] = self.code(word(int(key)))
        return found[keys]

    def joined(self, rows: Ragged) -> Ragged:
        """Join the parts between which a tokenizer might see one word, and take the blank from each row's start."""
        rows = self._stripped(rows)
        counts, codes = rows.counts, rows.codes
        while True:
            begins, ends = np.array([part_edges(text) for text in self.texts], dtype=np.int8).reshape(-1, 2).T
            left, right = codes[:-1], codes[1:]
            glued = np.zeros(len(codes), dtype=bool)
            glued[1:] = (begins[right] == ends[left]) & (begins[right] != BLANK)
            row = np.repeat(np.arange(len(counts)), counts)
            glued[1:] &= row[1:] == row[:-1]
            if not glued.any():
                return Ragged(counts=counts, codes=codes)
            # Of a run of parts to join, two by two, from the left.
            glued = every_second(glued)
            second = np.flatnonzero(glued)
            keys, place = np.unique(
                codes[second - 1].astype(np.int64) * len(self.texts) + codes[second], return_inverse=True
            )
            pairs = [self.texts[key // len(self.texts)] + self.texts[key % len(self.texts)] for key in keys.tolist()]
            codes = codes.copy()
            codes[second - 1] = np.array([self.code(text) for text in pairs], dtype=np.int32)[place]
            counts = counts - np.bincount(row[second], minlength=len(counts))
            codes = codes[~glued]

    def _stripped(self, rows: Ragged) -> Ragged:
        starts = (np.cumsum(rows.counts) - rows.counts)[rows.counts > 0]
        codes = rows.codes.copy()
        codes[starts] = self.codes(codes[starts], lambda code: self.texts[code].lstrip(" "))
        return Ragged(counts=rows.counts, codes=codes)

    def column(self, rows: Ragged) -> pa.ListArray:
        """Return the parts as an Arrow column of lists of texts, dictionary-encoded."""
        used = np.bincount(rows.codes, minlength=len(self.texts)) > 0
        texts = pa.array([text for text, is_used in zip(self.texts, used, strict=True) if is_used], type=pa.string())
        places = (np.cumsum(used) - 1).astype(np.int32)
        values = pa.DictionaryArray.from_arrays(pa.array(places[rows.codes]), texts)
        return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(rows.counts)).astype(np.int32)), values)


def spaced(text: str, blank: str) -> str:
    """Return a word as it is added to a text: with a blank before it, where one belongs.

    >>> spaced("mug", " "), spaced("(kitchen)", " "), spaced(", then", " "), spaced("[buy]", " "), spaced("杯子", "")
    (' mug', ' (kitchen)', ', then', '[buy]', '杯子')
    """
    if not text or text[0] in "[,.;:!?" or text[0].isspace():
        return text
    return blank + text


def part_edges(text: str) -> tuple[int, int]:
    """What a part begins and ends with; a bracketed word is never one with its neighbours."""
    begin = BLANK if text[0] in " [" else LETTER if text[0].isalnum() or text[0] == "_" else PUNCTUATION
    end = BRACKET if text[-1] == "]" else LETTER if text[-1].isalnum() or text[-1] == "_" else PUNCTUATION
    return begin, end


def every_second(flags: np.ndarray) -> np.ndarray:
    """Say of each true flag whether it is the first, third, … of its run.

    >>> every_second(np.array([True, True, True, False, True])).tolist()
    [True, False, True, False, True]
    """
    places = np.arange(len(flags))
    last_false = np.maximum.accumulate(np.where(flags, -1, places))
    return flags & ((places - last_false) % 2 == 1)
