"""Searching: texts from every place in; how often which kind of wanted word stands where out, never the word itself.

Readers (`search_files`, `search_databases`) hand over texts, each different one once with how often it occurs, and a
`Search` collects them until comparing is worth while. The one thing to know: nothing here knows what a file is, and
memory is bounded by COLLECTED however much is searched.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.pipeline.privacy.search_tokens import Places, among, fold, runs, split, texts_at
from behavior_tasks.pipeline.privacy.search_words import ID_WORDS, KINDS, PEOPLE, RAW_ID, Wanted

COLLECTED = 16 << 20
"""Bytes of text that are compared at a time."""
BESIDE = 4
"""Most bytes between `user_id` and the id that it names, e.g. `": "`."""
LONG_ENOUGH = 8
"""Bytes from which on a word counts in a file that is no text, where shorter ones come about by chance."""
Form = Literal["cells", "text", "json", "bytes"]
"""Cells of a table; running text; text in which bare numbers are figures, and ids stand in quotes; neither."""
LINE_END, NOTHING = (pa.scalar(text, pa.large_binary()) for text in (b"\n", b""))
QUOTES = np.isin(np.arange(256), [ord('"'), ord("'")])


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts of one place."""

    place: str
    """Below the state folder, or `database: table`."""
    kind: str
    """Of the place, e.g. `artifact clean`."""
    column: str
    """Empty where there is none."""
    values: pa.Array
    """Bytes."""
    counts: Places
    """How often each occurs there."""
    form: Form


@dataclass(frozen=True, order=True)
class Hit:
    """A wanted word was found."""

    place: str
    kind: str
    column: str
    what: str
    """One of KINDS."""
    count: int


@dataclass(kw_only=True)
class Searched:
    """How much of one kind of place was looked at."""

    places: int = 0
    """Files, or tables."""
    rows: int = 0
    """Of tables; text has none."""
    bytes: int = 0


@dataclass(kw_only=True)
class Found:
    """What a search found, and where it looked."""

    hits: list[Hit] = field(default_factory=list)
    searched: dict[str, Searched] = field(default_factory=dict)
    """Kind of place → how much of it."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Kind of place → why it was left out."""
    unseen: list[str] = field(default_factory=list)
    """What could not be looked at, or not told, in words."""

    def at(self, kind: str) -> Searched:
        """The tally of a kind of place."""
        return self.searched.setdefault(kind, Searched())


class Search:
    """A search under way: take texts, then finish."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._waiting: list[Texts] = []
        self._bytes = 0
        self._counts: Counter[tuple[str, str, str, str]] = Counter()
        self._beside = pa.array(sorted({fold(word) for word in wanted.short.to_pylist()}), pa.large_binary())

    def take(self, texts: Texts) -> None:
        """Compare texts, now or later."""
        if not len(texts.values):
            return
        self._waiting.append(texts)
        self._bytes += texts.values.nbytes
        if self._bytes >= COLLECTED:
            self._compare()

    def finish(self) -> list[Hit]:
        """Compare what is left and return all hits."""
        self._compare()
        return sorted(Hit(*where, count) for where, count in self._counts.items())

    def _compare(self) -> None:
        for texts in self._waiting:
            if texts.form == "cells":
                self._compare_cells(texts)
        if self._waiting:
            self._compare_words()
        self._waiting, self._bytes = [], 0

    def _add(self, texts: Texts, what: str, count: int) -> None:
        if count:
            self._counts[texts.place, texts.kind, texts.column, what] += count

    def _compare_cells(self, texts: Texts) -> None:
        """Count cells that are a short id as a whole."""
        short = self._wanted.short
        if not self._wanted.is_about_people(texts.column):
            short = short.filter(self._wanted.anywhere)
        hits = among(texts.values, short)
        if len(hits):
            is_hit = pc.is_in(texts.values, value_set=hits).to_numpy(zero_copy_only=False)
            self._add(texts, RAW_ID, int(texts.counts[is_hit].sum()))

    def _compare_words(self) -> None:
        """Count words of all waiting texts together."""
        lined = [pc.binary_join_element_wise(texts.values, LINE_END, NOTHING) for texts in self._waiting]
        held = pa.concat_arrays(lined)
        offsets = np.frombuffer(held.buffers()[1], np.int64)[held.offset : held.offset + len(held) + 1]
        data = fold(memoryview(held.buffers()[2])[offsets[0] : offsets[-1]].tobytes())
        lines = _Lines(texts=self._waiting, offsets=offsets - offsets[0], data=data)
        starts, ends = split(data)
        for parts, (words, kinds) in self._wanted.telling.items():
            lengths = np.unique(np.asarray(pc.binary_length(words)))
            for some_starts, some_ends in runs(starts, ends, parts):
                fits = np.isin(some_ends - some_starts, lengths)
                self._count(lines, some_starts[fits], some_ends[fits], words, kinds)
        self._count_beside(lines, starts, ends)

    def _count(self, lines: "_Lines", starts: Places, ends: Places, words: pa.Array, kinds: pa.Array) -> None:
        """Count those of some words that are wanted and tell themselves where they stand."""
        texts = texts_at(lines.buffer, starts, ends)
        hits = among(texts, words)
        if not len(hits):
            return
        places = np.flatnonzero(pc.is_in(texts, value_set=hits).to_numpy(zero_copy_only=False))
        found = texts.take(pa.array(places))
        numbers = pc.take(kinds, pc.index_in(found, value_set=words)).to_numpy(zero_copy_only=False)
        starts, forms = starts[places], lines.forms(starts[places])
        is_figure = np.array([word.isdigit() for word in found.to_pylist()])
        before = np.frombuffer(lines.data, np.uint8)[np.maximum(starts - 1, 0)]
        told = ~((forms == "json") & is_figure & ~QUOTES[before])
        told &= ~((forms == "bytes") & (ends[places] - starts < LONG_ENOUGH))
        for number in np.unique(numbers[told]):
            self._add_all(lines, starts[told & (numbers == number)], KINDS[number])

    def _count_beside(self, lines: "_Lines", starts: Places, ends: Places) -> None:
        """Count short ids right behind a word such as `user` or `user_id`."""
        if not len(self._beside) or len(starts) < 2:
            return
        others = _named(lines, starts, ends)
        others = others[starts[others] - ends[others - 1] <= BESIDE]
        texts = texts_at(lines.buffer, starts[others], ends[others])
        hits = among(texts, self._beside)
        if len(hits):
            others = others[pc.is_in(texts, value_set=hits).to_numpy(zero_copy_only=False)]
            same_line = [b"\n" not in lines.data[ends[place - 1] : starts[place]] for place in others]
            others = others[np.array(same_line, bool)]
            self._add_all(lines, starts[others][lines.forms(starts[others]) != "bytes"], RAW_ID)

    def _add_all(self, lines: "_Lines", starts: Places, what: str) -> None:
        """Add words that begin at some bytes to the counts of the texts that they stand in."""
        numbers, counts = lines.locate(starts)
        for number in np.unique(numbers):
            self._add(lines.texts[number], what, int(counts[numbers == number].sum()))


class _Lines:
    """Waiting texts as one run of bytes, one text a line."""

    def __init__(self, *, texts: list[Texts], offsets: Places, data: bytes) -> None:
        self.texts, self.data, self.buffer = texts, data, pa.py_buffer(data)
        self._offsets = offsets
        self._first = np.cumsum([0, *(len(one.values) for one in texts)])
        self._counts = np.concatenate([one.counts for one in texts])
        self._forms = np.array([one.form for one in texts])

    def locate(self, starts: Places) -> tuple[Places, Places]:
        """Return, of bytes, the place of the texts they belong to, and how often that text occurs."""
        line = np.searchsorted(self._offsets, starts, side="right") - 1
        return np.searchsorted(self._first, line, side="right") - 1, self._counts[line]

    def forms(self, starts: Places) -> npt.NDArray[np.str_]:
        """Return, of bytes, the form of the texts they belong to."""
        return self._forms[self.locate(starts)[0]]


def _named(lines: _Lines, starts: Places, ends: Places) -> Places:
    """Return the places of the words that stand behind a word such as `user`, or behind that and `id`, rising."""
    is_name = _are(lines, starts, ends, PEOPLE)
    is_id = _are(lines, starts, ends, ID_WORDS)
    behind = np.zeros(len(starts), bool)
    behind[1:] = is_name[:-1]
    named = behind & ~is_id
    named[1:] |= (behind & is_id)[:-1]
    return np.flatnonzero(named).astype(np.int64)


def _are(lines: _Lines, starts: Places, ends: Places, words: Collection[str]) -> npt.NDArray[np.bool_]:
    """Return which words are among some."""
    fits = np.flatnonzero(ends - starts <= max(map(len, words)))
    texts = texts_at(lines.buffer, starts[fits], ends[fits])
    known = pc.is_in(texts, value_set=pa.array([word.encode() for word in words], pa.large_binary()))
    answer = np.zeros(len(starts), bool)
    answer[fits] = known.to_numpy(zero_copy_only=False)
    return answer
