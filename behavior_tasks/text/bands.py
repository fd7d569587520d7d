"""Bands: every word that a list of bands can give, and the number from which each holds; and numbers of quantiles.

In come bands of a template, out come rising edges and their words, so that a column of numbers becomes words by one
search among the edges.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from behavior_tasks.text.words import Band


def band_table(bands: Sequence[Band], *, most: float) -> tuple[np.ndarray, list[str]]:
    """Return where each word begins and the words, for numbers from 0 to `most`.

    Returns:
        Edges, shape (words - 1,), rising; a number x has the word `np.searchsorted(edges, x, side="right")`.

    >>> edges, words = band_table([Band(below=2, words="few"), Band(unit=2, words="{count} pairs")], most=6.5)
    >>> edges.tolist(), words
    ([2.0, 4.0, 6.0], ['few', '1 pairs', '2 pairs', '3 pairs'])
    """
    starts, words, low = [], [], 0.0
    for band in bands:
        high = most if band.below is None else band.below
        if band.unit is None:
            starts.append(low)
            words.append(band.words)
        else:
            first, last = math.floor(low / band.unit), math.floor(max(high, low) / band.unit)
            for count in range(first, last + 1):
                start = max(low, count * band.unit)
                if band.below is None or start < band.below:
                    starts.append(start)
                    words.append(band.words.format(count=count))
        low = low if band.below is None else band.below
    return np.array(starts[1:], dtype=np.float64), words


def quantile_numbers(edges: Sequence[float], values: ArrayLike) -> np.ndarray:
    """Return which quantile values lie in, counted from 1; a value at an edge belongs to the one below.

    >>> quantile_numbers([2.0, 5.0], [1.0, 2.0, 2.5, 9.0]).tolist()
    [1, 1, 2, 3]
    """
    return np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="left") + 1


def band_words(bands: Sequence[Band], *, most: float) -> list[str]:
    """Return every word that bands can give for numbers from 0 to `most`."""
    return band_table(bands, most=most)[1]
