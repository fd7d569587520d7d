"""Words in running text: bytes in; where its words begin and end, and which of them are wanted, out.

A word is a run of ASCII letters and digits, or one of other letters; a dot between two digits belongs to it, so that
the fraction of a number is no word. The one thing to know: all of it is array arithmetic, 100 MB or more a second, and
what is wanted may be millions of words: a wanted word of several parts, such as an e-mail address, is sought among
all runs of as many parts.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Places = npt.NDArray[np.int64]
MOST_PARTS = 8
"""Parts of a wanted word; of a longer one only its first ones are compared."""
SEPARATOR, LETTER, OTHER = 0, 1, 2
"""Classes of bytes: between words, ASCII letters and digits, all other letters."""
DOT = ord(".")


def _classes() -> npt.NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    for byte in range(256):
        if byte >= 128:
            classes[byte] = OTHER
        elif chr(byte).isalnum():
            classes[byte] = LETTER
    return classes


CLASSES = _classes()
DIGITS = (np.arange(256) >= ord("0")) & (np.arange(256) <= ord("9"))
LOWER = bytes(byte + 32 if ord("A") <= byte <= ord("Z") else byte for byte in range(256))


def fold(data: bytes) -> bytes:
    """Return bytes with ASCII letters in lower case, each in its place.

    >>> fold("Ärger mit ID-7".encode()).decode()
    'Ärger mit id-7'
    """
    return data.translate(LOWER)


def split(data: bytes | memoryview) -> tuple[Places, Places]:
    """Return where the words of a text begin and end.

    >>> [b"u17@shop.de: 12.5"[s:e] for s, e in zip(*split(b"u17@shop.de: 12.5"), strict=True)]
    [b'u17', b'shop', b'de', b'12.5']
    """
    held = np.frombuffer(data, np.uint8)
    if not len(held):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    classes = CLASSES[held]
    dots = np.flatnonzero(held == DOT)
    dots = dots[(dots > 0) & (dots < len(held) - 1)]
    classes[dots[DIGITS[held[dots - 1]] & DIGITS[held[dots + 1]]]] = LETTER
    edges = np.flatnonzero(classes[1:] != classes[:-1]) + 1
    starts = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(held)]])
    words = classes[starts] != SEPARATOR
    return starts[words], ends[words]


def parts_of(word: bytes) -> int:
    """Return how many words a wanted word is; 0: it is none, so running text can't be searched for it."""
    return len(split(word)[0])


def runs(starts: Places, ends: Places, parts: int) -> Iterator[tuple[Places, Places]]:
    """Yield where all runs of so many words begin and end; no two runs of one answer overlap."""
    for phase in range(parts):
        last = ends[phase + parts - 1 :: parts]
        yield starts[phase::parts][: len(last)], last


def texts_at(data: pa.Buffer, starts: Places, ends: Places) -> pa.Array:
    """Return the texts at some places, which rise and do not overlap, as an array of bytes."""
    if not len(starts):
        return pa.array([], pa.large_binary())
    offsets = np.empty(2 * len(starts), np.int64)
    offsets[0::2], offsets[1::2] = starts, ends
    both = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), data])
    return both.take(pa.array(np.arange(0, len(offsets) - 1, 2)))


def among(texts: pa.Array, wanted: pa.Array) -> pa.Array:
    """Return the different texts that are wanted; the smaller of the two becomes the table that is looked up in."""
    if not len(texts) or not len(wanted):
        return texts.slice(0, 0)
    different = pc.unique(texts)
    if len(different) > len(wanted):
        return different.filter(pc.is_in(different, value_set=wanted))
    return wanted.filter(pc.is_in(wanted, value_set=different))
