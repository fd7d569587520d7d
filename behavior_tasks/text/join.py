"""Joining: the tokens of texts from the tokens of their parts, each of which is tokenised once.

In come texts as lists of parts that repeat, out come the same tokens that the tokenizer gives the whole texts, many
times faster. The one thing to know: parts are put together only where `boundary.py` proves that nothing changes.
Neighbours of which it can't are taken as one longer part; a text of which too much stays unproven is read whole.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from behavior_tasks.text.boundary import SAFE, Boundaries
from behavior_tasks.text.parts import join_parts
from behavior_tasks.text.tokenizer import PIECES, frame_of, token_kind

ROUNDS = 3
"""How often neighbours are taken together: each time the parts that do so at least halve in number."""
MOST_PARTS = 1 << 20
"""Known parts above which all are forgotten; parts that do not repeat would fill the memory."""
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
    whole: int = 0
    """How many of the texts were read whole."""
    reason: str | None = None
    """Why they were."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Texts as numbers of parts."""

    parts: np.ndarray
    """Of all texts behind one another, int64."""
    starts: np.ndarray
    """Where each text starts and the last one ends, shape (n + 1,), int64."""


class Joiner:
    """A tokenizer that remembers the parts it has seen."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._kind = tokenizer, token_kind(tokenizer)
        self._boundaries = Boundaries(tokenizer, [PIECES])
        self._reason = self._boundaries.reason_against
        self._sampled = False
        self._forget()

    def encode(self, texts: pa.ListArray | Sequence[Sequence[str]], max_tokens: int) -> Encoded:
        """Encode texts, keeping at most `max_tokens` tokens of each: the frame, and between it the text's end.

        Args:
            texts: lists of parts; quickest as Arrow's lists of a dictionary's codes.
        """
        lists = texts if isinstance(texts, pa.Array) else pa.array(texts, type=pa.list_(pa.string()))
        if self._reason:
            return self._read_whole(lists, max_tokens)
        rows, bad = self._prove(lists)
        tokens, offsets = self._gather(rows, max_tokens)
        encoded = Encoded(tokens=tokens, offsets=offsets)
        if bad.any():
            encoded = self._mend(encoded, rows, bad, max_tokens)
        if not self._sampled:
            self._sampled = True
            first = encode_whole(self._tokenizer, _joined(lists[:SAMPLE]), max_tokens)
            if first[0].tolist() != encoded.tokens[: len(first[0])].tolist():
                self._reason = "a sample of texts got other tokens in parts than as a whole"
                return self._read_whole(lists, max_tokens)
        return encoded

    def count(self, texts: pa.ListArray) -> Counter[str]:
        """Return how often parts come, taken together where they must be; their words are the words of the texts."""
        rows, bad = self._prove(texts)
        chosen, whole = self._whole(rows, bad)
        counts = Counter(whole)
        inner = np.repeat(~np.isin(np.arange(len(texts)), chosen), np.diff(rows.starts))
        numbers, times = np.unique(rows.parts[inner], return_counts=True)
        for number, n in zip(numbers.tolist(), times.tolist(), strict=True):
            counts[self._texts[number]] += n
        return counts

    def _prove(self, lists: pa.ListArray) -> tuple[_Rows, np.ndarray]:
        """Return texts in parts, and which of these may still not be put behind the one before it."""
        if len(self._texts) > MOST_PARTS:
            self._forget()
        rows = self._read(lists)
        bad = self._unproven(rows)
        for _ in range(ROUNDS):
            if not bad.any():
                break
            rows = self._merge(rows, bad)
            bad = self._unproven(rows)
        return rows, bad

    def _whole(self, rows: _Rows, bad: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return the places of the texts that can't be put together, and these texts."""
        chosen = np.unique(np.searchsorted(rows.starts, np.flatnonzero(bad), side="right") - 1)
        pairs = zip(rows.starts[chosen], rows.starts[chosen + 1], strict=True)
        return chosen, ["".join(self._texts[n] for n in rows.parts[start:end]) for start, end in pairs]

    def _forget(self) -> None:
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._pool = np.zeros(0, dtype=self._kind)
        self._starts, self._lengths, self._heads, self._tails = (np.zeros(0, dtype=np.int64) for _ in range(4))

    def _learn(self, parts: Sequence[str]) -> np.ndarray:
        """Return the numbers of parts, tokenising those that are new."""
        new = [part for part in dict.fromkeys(parts) if part not in self._numbers]
        if new:
            self._numbers.update(zip(new, range(len(self._texts), len(self._texts) + len(new)), strict=True))
            self._texts += new
            ids = [found.ids for found in self._tokenizer.encode_batch_fast(new, add_special_tokens=False)]
            lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            edges = np.array([self._boundaries.edges(part) for part in new], dtype=np.int64)
            self._starts = np.append(self._starts, len(self._pool) + np.cumsum(lengths) - lengths)
            self._lengths = np.append(self._lengths, lengths)
            self._pool = np.append(self._pool, np.fromiter(chain.from_iterable(ids), self._kind, int(lengths.sum())))
            self._heads, self._tails = np.append(self._heads, edges[:, 0]), np.append(self._tails, edges[:, 1])
        return np.fromiter((self._numbers[part] for part in parts), dtype=np.int64, count=len(parts))

    def _read(self, lists: pa.ListArray) -> _Rows:
        """Return lists of parts as numbers; a part that is empty is left out."""
        values = lists.flatten()
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        places = values.indices.to_numpy(zero_copy_only=True).astype(np.int64)
        starts = np.append(0, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=True), dtype=np.int64))
        there = np.zeros(len(values.dictionary), dtype=bool)
        there[places] = True
        words = values.dictionary.filter(pa.array(there)).to_pylist()
        numbers = np.full(len(there), -1, dtype=np.int64)
        numbers[there] = self._learn(words)
        if "" in words:
            there[there] = [bool(word) for word in words]
            kept = there[places]
            starts = np.append(0, np.cumsum(kept))[starts]
            places = places[kept]
        return _Rows(parts=numbers[places], starts=starts)

    def _unproven(self, rows: _Rows) -> np.ndarray:
        """Say of every part whether it may not be put behind the one before it, shape (parts,)."""
        tails, heads = self._tails[rows.parts], self._heads[rows.parts]
        keys = np.zeros(len(rows.parts), dtype=np.int64)
        keys[1:] = tails[:-1] << 32 | heads[1:]
        # Nothing stands before a text's first part.
        keys[rows.starts[:-1][np.diff(rows.starts) > 0]] = SAFE << 32 | SAFE
        bad = [key for key in pc.unique(pa.array(keys)).to_pylist() if not self._boundaries.holds(key >> 32, key & LOW)]
        if not bad:
            return np.zeros(len(keys), dtype=bool)
        return pc.is_in(pa.array(keys), value_set=pa.array(bad)).to_numpy(zero_copy_only=False)

    def _merge(self, rows: _Rows, bad: np.ndarray) -> _Rows:
        """Take parts together with the one before them: of a run of unproven ones the first, the third, and so on."""
        places = np.arange(len(bad))
        before = np.maximum.accumulate(np.where(bad, -1, places))
        chosen = np.flatnonzero(bad & ((places - before) % 2 == 1))
        pairs = pa.array(rows.parts[chosen - 1] << 32 | rows.parts[chosen]).dictionary_encode()
        joined = [self._texts[pair >> 32] + self._texts[pair & LOW] for pair in pairs.dictionary.to_pylist()]
        parts = rows.parts.copy()
        parts[chosen - 1] = self._learn(joined)[pairs.indices.to_numpy()]
        return _Rows(parts=np.delete(parts, chosen), starts=rows.starts - np.searchsorted(chosen, rows.starts))

    def _gather(self, rows: _Rows, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Put the tokens of all parts behind one another and give every text its frame."""
        before, after = (np.array(ids, dtype=self._kind) for ids in frame_of(self._tokenizer))
        room = max(max_tokens - len(before) - len(after), 0)
        lengths = self._lengths[rows.parts]
        ends = np.append(0, np.cumsum(lengths))
        totals = np.diff(ends[rows.starts])
        # A part that begins before what is kept of its text loses its beginning, or goes.
        first_kept = np.repeat(ends[rows.starts[1:]] - np.minimum(totals, room), np.diff(rows.starts))
        lost = np.clip(first_kept - ends[:-1], 0, lengths)
        kept = lengths - lost
        sources = self._starts[rows.parts] + lost - (np.cumsum(kept) - kept)
        body = self._pool[np.repeat(sources, kept) + np.arange(int(kept.sum()))]
        offsets = np.append(0, np.cumsum(np.minimum(totals, room)))
        if not len(before) + len(after):
            return body, offsets
        return _put_frames(body, offsets, before, after)

    def _mend(self, encoded: Encoded, rows: _Rows, bad: np.ndarray, max_tokens: int) -> Encoded:
        """Read the texts whole that hold a part which may not be put behind the one before it."""
        first = int(np.flatnonzero(bad)[0])
        one, other = (self._texts[rows.parts[place]][-40:] for place in (first - 1, first))
        chosen, whole = self._whole(rows, bad)
        tokens, offsets = encode_whole(self._tokenizer, whole, max_tokens)
        lengths = np.diff(encoded.offsets)
        is_whole = np.zeros(len(lengths), dtype=bool)
        is_whole[chosen] = True
        kept = encoded.tokens[np.repeat(~is_whole, lengths)]
        lengths[chosen] = np.diff(offsets)
        replaced = np.repeat(is_whole, lengths)
        mended = np.empty(len(replaced), dtype=self._kind)
        mended[replaced], mended[~replaced] = tokens, kept
        return Encoded(
            tokens=mended,
            offsets=np.append(0, np.cumsum(lengths)),
            whole=len(chosen),
            reason=f'a word may reach from "{one}" into "{other}"',
        )

    def _read_whole(self, lists: pa.ListArray, max_tokens: int) -> Encoded:
        tokens, offsets = encode_whole(self._tokenizer, _joined(lists), max_tokens)
        return Encoded(tokens=tokens, offsets=offsets, whole=len(lists), reason=self._reason)


def encode_whole(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts as the tokenizer itself does; tokens and offsets as in `Encoded`."""
    before, after = frame_of(tokenizer)
    room = max(max_tokens - len(before) - len(after), 0)
    found = (encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False))
    kept = [[*before, *ids[max(len(ids) - room, 0) :], *after] for ids in found]
    offsets = np.append(0, np.cumsum(np.fromiter(map(len, kept), dtype=np.int64, count=len(kept))))
    return np.fromiter(chain.from_iterable(kept), dtype=token_kind(tokenizer), count=int(offsets[-1])), offsets


def _put_frames(
    body: np.ndarray, offsets: np.ndarray, before: np.ndarray, after: np.ndarray
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
