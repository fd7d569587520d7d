"""Boundaries: where a text may be cut so that a tokenizer gives its pieces the tokens that it gives the whole.

In comes a tokenizer, out comes a yes or no for two neighbouring parts of a text. The one thing to know: yes is a
proof, never a guess. It holds for tokenizers whose steps look at a text from left to right and no further than the
next word, which `reason_against` makes sure of; any other tokenizer reads whole texts.

The proof. A tokenizer takes the added tokens out of a text, normalises what stands between them, splits that into
words (its pre-tokenizer), and turns every word into tokens by itself. So parts have the tokens of the whole if they
have its words. A word of a part changes in the whole only if it, or a word after it in the same part, grows over the
part's end; in these pre-tokenizers whatever lets an earlier word grow so far joins the last word of the one part with
the first word of the next, too. Hence it is enough that these two words, put together, are still split into the two.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Tokenizer

SAFE, UNSAFE = 0, 1
"""Numbers of two edges that are no words: an added token, which no word can reach into, and one that proves nothing."""
NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
"""They change one character at a time, but for marks that combine with the character before."""
PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "ByteLevel", "Split"}
STRIPPING = ("lstrip", "rstrip", "single_word")
"""Flags of added tokens that look at what stands beside them."""


class Boundaries:
    """What a tokenizer makes of the edges of parts.

    Args:
        patterns: regular expressions of `Split` for which the proof holds.
    """

    def __init__(self, tokenizer: Tokenizer, patterns: Iterable[str]) -> None:
        content = json.loads(tokenizer.to_str())
        self.reason_against = _reason_against(content, set(patterns))
        """Why this tokenizer can't be given parts; None when it can."""
        self._normalizer, self._splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self._added = _Added(content["added_tokens"])
        self._words: list[str] = ["", ""]
        self._numbers: dict[str, int] = {}

    def edges(self, part: str) -> tuple[int, int]:
        """Return the numbers of a part's first and last word, or SAFE or UNSAFE."""
        if not part or self._added.looks_around(part) or self._added.begins_in(part):
            return UNSAFE, UNSAFE
        segments = self._added.between(part)
        first = self._split(segments[0])
        last = first if len(segments) == 1 else self._split(segments[-1])
        head = SAFE if first is None else UNSAFE if self._combines(segments[0]) else self._first_word(*first)
        tail = SAFE if last is None else self._last_word(*last)
        return head, tail

    def holds(self, tail: int, head: int) -> bool:
        """Say whether a part that ends with `tail` and one that begins with `head` may be tokenised apart."""
        if UNSAFE in (tail, head):
            return False
        if SAFE in (tail, head):
            return True
        one, other = self._words[tail], self._words[head]
        return self._pieces(one + other) == [*self._pieces(one), *self._pieces(other)]

    def _split(self, segment: str) -> tuple[str, list[tuple[str, tuple[int, int]]]] | None:
        """Return a segment as it is normalised, and its words; None when the segment is empty."""
        if not segment:
            return None
        normal = self._normalizer.normalize_str(segment) if self._normalizer else segment
        return normal, self._splitter.pre_tokenize_str(normal)

    def _pieces(self, text: str) -> list[str]:
        return [piece for piece, _ in self._splitter.pre_tokenize_str(text)]

    def _first_word(self, normal: str, words: list[tuple[str, tuple[int, int]]]) -> int:
        return self._number(normal[: words[0][1][1]] if words else normal, [word for word, _ in words[:1]])

    def _last_word(self, normal: str, words: list[tuple[str, tuple[int, int]]]) -> int:
        return self._number(normal[words[-1][1][0] :] if words else normal, [word for word, _ in words[-1:]])

    def _number(self, word: str, expected: list[str]) -> int:
        """Number a word; one that is nothing, or is split in another way by itself, proves nothing."""
        if word not in self._numbers:
            good = word and self._pieces(word) == expected
            self._numbers[word] = len(self._words) if good else UNSAFE
            if good:
                self._words.append(word)
        return self._numbers[word]

    def _combines(self, segment: str) -> bool:
        """Whether a segment's first character may change together with one that stands before it."""
        if self._normalizer is None:
            return False
        first = unicodedata.normalize("NFKD", segment[0])[0]
        # Marks combine with what stands before; so do the second and the third letter of a Korean syllable.
        return unicodedata.category(first).startswith("M") or "\u1160" <= first <= "\u11ff"


class _Added:
    """The added tokens: words that are found in a text before anything else happens to it."""

    def __init__(self, tokens: list[dict[str, Any]]) -> None:
        plain = [[t["content"] for t in tokens if t["normalized"] is flag] for flag in (False, True)]
        self._stages = [pattern for contents in plain if (pattern := _any_of(contents))]
        self._around = _any_of(t["content"] for t in tokens if any(t[flag] for flag in STRIPPING))
        self._beginnings = {t["content"][:end] for t in tokens for end in range(1, len(t["content"]))}
        self._longest = max(map(len, self._beginnings), default=0)

    def between(self, text: str) -> list[str]:
        """Return what stands before, between and behind the added tokens of a text."""
        segments = [text]
        for pattern in self._stages:
            segments = [inner for segment in segments for inner in pattern.split(segment)]
        return segments

    def looks_around(self, text: str) -> bool:
        """Whether a text holds an added token that looks at what stands beside it."""
        return bool(self._around and self._around.search(text))

    def begins_in(self, text: str) -> bool:
        """Whether an added token may begin in a text and end behind it."""
        return any(text[-size:] in self._beginnings for size in range(1, min(self._longest, len(text)) + 1))


def _any_of(contents: Iterable[str]) -> re.Pattern[str] | None:
    """Return the pattern of the longest of some words at the first place where there is one."""
    words = sorted(contents, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None


def _reason_against(content: dict[str, Any], patterns: set[str]) -> str | None:
    """Say which step of a tokenizer looks too far; `content` is that of its tokenizer.json."""
    for step in _steps(content["normalizer"], "normalizers"):
        if step["type"] not in NORMALIZERS:
            return f"its normalizer {step['type']} may look at a whole text"
    splitters = list(_steps(content["pre_tokenizer"], "pretokenizers"))
    if not splitters:
        return "it has no pre-tokenizer, so words can grow to any length"
    for step in splitters:
        if step["type"] not in PRE_TOKENIZERS:
            return f"its pre-tokenizer {step['type']} may look at a whole text"
        if step.get("add_prefix_space"):
            return "its pre-tokenizer puts a blank before every text"
        if step["type"] == "Split" and (step["pattern"].get("Regex") not in patterns or step["invert"]):
            return "the regular expression of its pre-tokenizer is not known"
    if all(step["type"] == "ByteLevel" and not step["use_regex"] for step in splitters):
        return "its pre-tokenizer does not split"
    if content["model"].get("dropout"):
        return "its model draws tokens by chance"
    if content["normalizer"] and any(token["normalized"] for token in content["added_tokens"]):
        return "it has added tokens that are looked for after normalising"
    return None


def _steps(part: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    if part is None:
        return
    if part["type"] == "Sequence":
        for step in part[inner]:
            yield from _steps(step, inner)
    else:
        yield part
