"""Joining: the tokens of texts from the tokens of their parts, each of which is looked at once.

In come texts as lists of parts that repeat, out come the same tokens that the tokenizer gives the whole texts, many
times faster. A part is made of words, a text of parts, and both are put together by number. The one thing to know:
only where `boundary.py` proves that nothing changes; neighbours of which it can't are taken as one, if need be until
a whole text is one word.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from behavior_tasks.text.boundary import SAFE, Boundaries
from behavior_tasks.text.parts import every_second, join_parts
from behavior_tasks.text.tokenizer import PIECES, frame_of, token_kind

WORDS = re.compile(r"[,，。：；（）、]?\s?[^\s,，。：；（）、]+|[,，。：；（）、]?\s?")
"""Where parts are cut further; a good cut saves time, a bad one is taken back."""
MOST_PARTS = 1 << 20
"""Known parts above which all are forgotten: where parts do not repeat, they would fill the memory."""
LOW = (1 << 32) - 1
"""Two numbers travel as one: the first in the upper bits, the second in these."""
SAMPLE = 32
"""Texts that a tokenizer's first call reads whole as well, and compares."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Texts as tokens."""

    tokens: np.ndarray
    """Ids of all texts behind one another, shape (all tokens,), uint16 or uint32."""
    offsets: np.ndarray
    """Where each text starts and the last one ends, shape (n + 1,), int64."""
    slowed: str | None = None
    """Why some parts, or all, had to be read together; None when none had to."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Texts as numbers of parts, or parts as numbers of words."""

    numbers: np.ndarray
    """Of all rows behind one another, int64."""
    starts: np.ndarray
    """Where each row starts and the last one ends, shape (n + 1,), int64."""


class _Table:
    """Strings by number, each with its tokens and with what it begins and ends with (see `Boundaries.edges`)."""

    def __init__(self, kind: np.dtype) -> None:
        self.texts: list[str] = []
        self.numbers: dict[str, int] = {}
        self.pool = np.zeros(0, dtype=kind)
        self.starts, self.lengths, self.heads, self.tails = (np.zeros(0, dtype=np.int64) for _ in range(4))

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return those of different strings that are new."""
        return [text for text in texts if text not in self.numbers]

    def add(self, texts: list[str], tokens: np.ndarray, lengths: np.ndarray, edges: np.ndarray) -> None:
        """Add new strings; `edges` has the shape (n, 2)."""
        self.numbers.update(zip(texts, range(len(self.texts), len(self.texts) + len(texts)), strict=True))
        self.texts += texts
        self.starts = np.append(self.starts, len(self.pool) + np.cumsum(lengths) - lengths)
        self.lengths = np.append(self.lengths, lengths)
        self.pool = np.append(self.pool, tokens)
        self.heads, self.tails = np.append(self.heads, edges[:, 0]), np.append(self.tails, edges[:, 1])

    def look_up(self, texts: Sequence[str]) -> np.ndarray:
        """Return the numbers of strings that are known, int64."""
        return np.fromiter(map(self.numbers.__getitem__, texts), dtype=np.int64, count=len(texts))

    def gather(self, rows: _Rows, room: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the last `room` tokens of each row, and their offsets."""
        lengths = self.lengths[rows.numbers]
        ends = np.append(0, np.cumsum(lengths))
        totals = np.diff(ends[rows.starts])
        # What begins before that which is kept of its row loses its beginning, or goes.
        kept_from = np.repeat(ends[rows.starts[1:]] - np.minimum(totals, room), np.diff(rows.starts))
        lost = np.clip(kept_from - ends[:-1], 0, lengths)
        kept = lengths - lost
        sources = self.starts[rows.numbers] + lost - (np.cumsum(kept) - kept)
        tokens = self.pool[np.repeat(sources, kept) + np.arange(int(kept.sum()))]
        return tokens, np.append(0, np.cumsum(np.minimum(totals, room)))


class Joiner:
    """A tokenizer that remembers the words and parts it has seen.

    Args:
        count_only: do not tokenise; `count` is all that is asked for.
    """

    def __init__(self, tokenizer: Tokenizer, *, count_only: bool = False) -> None:
        self._tokenizer, self._count_only, self._lock = tokenizer, count_only, Lock()
        self.kind = np.dtype(np.uint32) if count_only else token_kind(tokenizer)
        """uint16 or uint32."""
        self._before, self._after = frame_of(tokenizer)
        self._slowed: str | None = None
        self._sampled = count_only
        self._forget()
        self._against = self._boundaries.reason_against

    def encode(self, texts: pa.ListArray | Sequence[Sequence[str]], max_tokens: int) -> Encoded:
        """Encode texts, keeping at most `max_tokens` tokens of each: the frame, and between it the text's end.

        Args:
            texts: lists of parts, quickest as Arrow holds them.
        """
        lists = texts if isinstance(texts, pa.Array) else pa.array(texts, type=pa.list_(pa.string()))
        with self._lock:
            if not self._sampled:
                self._compare(lists[:SAMPLE])
            if self._against:
                read = self.encode_whole(_joined(lists), max_tokens)
                return Encoded(tokens=read.tokens, offsets=read.offsets, slowed=self._against)
            self._slowed = None
            tokens, offsets = self._parts.gather(self._read(lists), self._room(max_tokens))
            slowed = self._slowed
        if self._before or self._after:
            tokens, offsets = _put_frames(tokens, offsets, self._before, self._after)
        return Encoded(tokens=tokens, offsets=offsets, slowed=slowed)

    def encode_whole(self, texts: Sequence[str], max_tokens: int) -> Encoded:
        """Encode texts as the tokenizer itself does."""
        room = self._room(max_tokens)
        found = (encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False))
        kept = [[*self._before, *ids[max(len(ids) - room, 0) :], *self._after] for ids in found]
        offsets = np.append(0, np.cumsum(np.fromiter(map(len, kept), dtype=np.int64, count=len(kept))))
        return Encoded(tokens=np.fromiter(chain.from_iterable(kept), self.kind, int(offsets[-1])), offsets=offsets)

    def count(self, texts: pa.ListArray) -> Counter[str]:
        """Return how often which word comes in texts, where words are pieces that no token reaches beyond."""
        numbers, _ = self._parts.gather(self._read(texts), LOW)
        times = np.bincount(numbers, minlength=len(self._words.texts))
        return Counter({self._words.texts[place]: int(times[place]) for place in np.flatnonzero(times)})

    def _forget(self) -> None:
        self._boundaries = Boundaries(self._tokenizer, [PIECES])
        self._words, self._parts = _Table(self.kind), _Table(self.kind)
        self._proven, self._refuted = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def _room(self, max_tokens: int) -> int:
        return max(max_tokens - len(self._before) - len(self._after), 0)

    def _compare(self, sample: pa.ListArray) -> None:
        """Read some texts in both ways, lest a proof holds for tokenizers of another version only."""
        self._sampled = True
        if not self._against:
            whole = self.encode_whole(_joined(sample), LOW).tokens
            tokens, offsets = self._parts.gather(self._read(sample), LOW)
            framed, _ = _put_frames(tokens, offsets, self._before, self._after)
            if not np.array_equal(framed, whole):
                self._against = "in parts, a sample of texts got other tokens"

    def _read(self, lists: pa.ListArray) -> _Rows:
        """Return texts as numbers of parts, which may be put behind one another."""
        if len(self._parts.texts) > MOST_PARTS:
            self._forget()
        values = lists.flatten()
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        places = values.indices.to_numpy(zero_copy_only=True)
        starts = np.append(0, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=True), dtype=np.int64))
        there = np.bincount(places, minlength=len(values.dictionary)) > 0
        numbers = np.zeros(len(there), dtype=np.int64)
        numbers[there] = self._learn_parts(values.dictionary.filter(pa.array(there)).to_pylist())
        return self._prove(_Rows(numbers=numbers[places], starts=starts), self._parts, self._learn_parts)

    def _learn_parts(self, parts: list[str]) -> np.ndarray:
        """Return the numbers of different parts; new ones are made of their words."""
        if new := self._parts.missing(parts):
            cut = [WORDS.findall(part)[:-1] or [""] for part in new]
            self._learn_words(list(dict.fromkeys(chain.from_iterable(cut))))
            counts = np.fromiter(map(len, cut), dtype=np.int64, count=len(cut))
            numbers = self._words.look_up(list(chain.from_iterable(cut)))
            rows = _Rows(numbers=numbers, starts=np.append(0, np.cumsum(counts)))
            rows = self._prove(rows, self._words, self._learn_words)
            tokens, offsets = self._words.gather(rows, LOW)
            first, last = rows.numbers[rows.starts[:-1]], rows.numbers[rows.starts[1:] - 1]
            edges = np.stack([self._words.heads[first], self._words.tails[last]], axis=1)
            self._parts.add(new, tokens, np.diff(offsets), edges)
        return self._parts.look_up(parts)

    def _learn_words(self, words: list[str]) -> np.ndarray:
        """Return the numbers of different words; new ones are tokenised."""
        if new := self._words.missing(words):
            if self._count_only:
                ids = [[number] for number in range(len(self._words.texts), len(self._words.texts) + len(new))]
            else:
                ids = [found.ids for found in self._tokenizer.encode_batch_fast(new, add_special_tokens=False)]
            lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            tokens = np.fromiter(chain.from_iterable(ids), self.kind, int(lengths.sum()))
            edges = np.array([self._boundaries.edges(word) for word in new], dtype=np.int64)
            self._words.add(new, tokens, lengths, edges)
        return self._words.look_up(words)

    def _prove(self, rows: _Rows, table: _Table, learn: Callable[[list[str]], np.ndarray]) -> _Rows:
        """Take together what may not be put behind one another; each round at least halves what is to be done."""
        while (bad := self._unproven(rows, table)).any():
            # Of a run of these the first, the third and so on go to the one before.
            chosen = np.flatnonzero(every_second(bad))
            pairs = pa.array(rows.numbers[chosen - 1] << 32 | rows.numbers[chosen]).dictionary_encode()
            halves = [(table.texts[pair >> 32], table.texts[pair & LOW]) for pair in pairs.dictionary.to_pylist()]
            if table is self._parts:
                self._slowed = self._slowed or f'"{halves[0][0][-40:]}" and "{halves[0][1][:40]}"'
            joined = [one + other for one, other in halves]
            learn(list(dict.fromkeys(joined)))
            numbers = rows.numbers.copy()
            numbers[chosen - 1] = table.look_up(joined)[pairs.indices.to_numpy()]
            starts = rows.starts - np.searchsorted(chosen, rows.starts)
            rows = _Rows(numbers=np.delete(numbers, chosen), starts=starts)
        return rows

    def _unproven(self, rows: _Rows, table: _Table) -> np.ndarray:
        """Say of every place whether it may not stand behind the one before it, shape (all places,)."""
        tails, heads = table.tails[rows.numbers], table.heads[rows.numbers]
        keys = np.zeros(len(rows.numbers), dtype=np.int64)
        keys[1:] = tails[:-1] << 32 | heads[1:]
        # Nothing stands before the first of a row.
        keys[rows.starts[:-1][np.diff(rows.starts) > 0]] = SAFE << 32 | SAFE
        there = pc.unique(pa.array(keys)).to_numpy()
        new = there[~np.isin(there, self._proven) & ~np.isin(there, self._refuted)]
        holds = np.array([self._boundaries.holds(key >> 32, key & LOW) for key in new.tolist()], dtype=bool)
        self._proven, self._refuted = np.append(self._proven, new[holds]), np.append(self._refuted, new[~holds])
        bad = there[np.isin(there, self._refuted)]
        if not len(bad):
            return np.zeros(len(keys), dtype=bool)
        return pc.is_in(pa.array(keys), value_set=pa.array(bad)).to_numpy(zero_copy_only=False)


def _put_frames(
    body: np.ndarray, offsets: np.ndarray, before: Sequence[int], after: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens and offsets of texts that have `before` and `after` around them."""
    framed = offsets + (len(before) + len(after)) * np.arange(len(offsets))
    tokens = np.empty(int(framed[-1]), dtype=body.dtype)
    inner = np.ones(len(tokens), dtype=bool)
    for place, token in enumerate(before):
        tokens[framed[:-1] + place], inner[framed[:-1] + place] = token, False
    for place, token in enumerate(after[::-1], start=1):
        tokens[framed[1:] - place], inner[framed[1:] - place] = token, False
    tokens[inner] = body
    return tokens, framed


def _joined(lists: pa.ListArray) -> list[str]:
    return [join_parts(parts) for parts in lists.to_pylist()]
