"""Sentences that the applications wrote in English: one in; the same in the reader's language, where it is known, out.

`phrases.zh.yaml` holds whole sentences and patterns with figures in them. The one thing to know: what is not known
stays as it is, for a name of the shop's own is no sentence of ours.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
PLACE = re.compile(r"\\\{(\w+)\\\}")
ANYTHING, FIGURES = ".+?", r"[−+\-\d.,]*\d"
PLACES = {"n": FIGURES, "n2": FIGURES}
"""What a place takes."""


def phrase(language: str, words: str) -> str:
    """Return a sentence in a language.

    >>> phrase("zh", "2 left in the cart, the last 1.5 days ago"), phrase("en", "popular in the shop")
    ('购物车里还有 2 件，最近一次在 1.5 天前', 'popular in the shop')
    """
    whole, patterns = _known(language)
    if words in whole:
        return whole[words]
    for pattern, other in patterns:
        words = pattern.sub(other, words)
    return words


@cache
def _known(language: str) -> tuple[Mapping[str, str], Sequence[tuple[re.Pattern[str], str]]]:
    file = FOLDER / f"phrases.{language}.yaml"
    if not file.is_file():
        return {}, ()
    content = yaml.safe_load(file.read_bytes())
    return content["whole"], [(_pattern(words), _filled(other)) for words, other in content["parts"].items()]


def _pattern(words: str) -> re.Pattern[str]:
    """Return what finds words with `{places}` anywhere in a sentence."""
    found = PLACE.sub(lambda at: f"(?P<{at[1]}>{PLACES.get(at[1], ANYTHING)})", re.escape(words))
    return re.compile(rf"(?<!\w){found}(?!\w)")


def _filled(other: str) -> str:
    return re.sub(r"\{(\w+)\}", r"\\g<\1>", other)
