"""Names: a shop's own words, letters, amounts and search words, each as one short piece of text.

In come raw words and numbers; out come words that can collide with nothing in a text: lower case, no blanks, no
punctuation but hyphens. The one thing to know: of search words only those that many shoppers use are told.
"""

import re
from collections.abc import Collection

import numpy as np

from behavior_tasks.data.search_words import MASK

LONGEST_NAME = 24
QUERY_WORDS = 5
POWERS = 11
"""Powers of two that counts are told in: 1, 2, 4, … 1024 or more."""
_BREAKS = re.compile(r"[\W_]+")


def slug(name: str) -> str:
    """Return a shop's own word as one short word; empty when nothing of it is left.

    >>> slug("Home & Garden"), slug(" WHITE HANGING HEART T-LIGHT HOLDER "), slug("[x]"), slug("厨房 用品")
    ('home-garden', 'white-hanging-heart-t-li', 'x', '厨房-用品')
    """
    return _BREAKS.sub("-", name.lower()).strip("-")[:LONGEST_NAME].rstrip("-")


def query_words(query: str, known: Collection[str], masked: str, joint: str) -> str:
    """Return the words of a search that a text may hold; empty when none of them is known.

    Args:
        query: search words of clean events, parted by blanks.
        known: words that enough shoppers use; a name or an address is hardly among them.
        masked: what stands for what was masked.
        joint: what stands between words.

    >>> query_words("red mug * for joan *email", {"red", "mug", "for"}, "hidden", " ")
    'red mug hidden for'
    """
    words = (
        masked if word.startswith(MASK) else word for word in query.split(" ") if word in known or word.startswith(MASK)
    )
    kept = list(dict.fromkeys(words))[:QUERY_WORDS]
    return joint.join(kept) if kept != [masked] else ""


def letters(number: int) -> str:
    """Return a product's letters, as the columns of a spreadsheet; A, number 0, is the shopper.

    >>> letters(1), letters(25), letters(26), letters(701), letters(702)
    ('B', 'Z', 'AA', 'ZZ', 'AAA')
    """
    text = ""
    number += 1
    while number > 0:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("A") + digit) + text
    return text


def amount_keys(amounts: np.ndarray) -> np.ndarray:
    """Return small whole numbers that name amounts in two significant digits (`amount_word`); below zero is none.

    Args:
        amounts: shape (n,), float.

    Returns:
        Shape (n,), int64; -1 where there is none.
    """
    size = np.maximum(amounts, 10.0)
    # The logarithm of a power of ten can come out just below a whole number.
    power = np.floor(np.log10(size) + 1e-9).astype(np.int64) - 1
    large = 200 + power * 100 + np.floor(amounts / 10.0**power + 0.5).astype(np.int64)
    small = np.floor(amounts * 100 + 0.5).astype(np.int64)
    middle = 100 + np.floor(amounts * 10 + 0.5).astype(np.int64)
    keys = np.where(amounts < 0.995, small, np.where(amounts < 9.95, middle, large))
    return np.where(amounts < 0, -1, keys)


def amount_word(key: int) -> str:
    """Return the amount that a key names, without a trailing zero.

    >>> [amount_word(int(key)) for key in amount_keys(np.array([0, 0.85, 2.54, 9.96, 12.5, 117, 999_999]))]
    ['0', '0.85', '2.5', '10', '13', '120', '1000000']
    """
    if key < 100:
        return f"{key / 100:.2f}".rstrip("0").rstrip(".") or "0"
    if key < 200:
        return f"{(key - 100) / 10:.1f}".removesuffix(".0")
    # A mantissa of 100 stands for the next power, which is the same number.
    power, mantissa = divmod(key - 200, 100)
    return str(mantissa * 10**power) if mantissa else str(100 * 10 ** (power - 1))


def power_of_two(count: int) -> int:
    """Return the largest power of two that is not above a count, at most 2 ** (POWERS - 1).

    >>> [power_of_two(count) for count in (1, 3, 4, 5000)]
    [1, 2, 4, 1024]
    """
    return 1 << min(count.bit_length() - 1, POWERS - 1)
