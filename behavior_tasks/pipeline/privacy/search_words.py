"""What is searched for: raw ids, addresses, keys or pseudonyms in; the same, sorted by where each can be told, out.

A short id is hard to tell from a number: 17850 is a shopper and also a count. The one thing to know is the rule: a
word that tells itself is a hit wherever it stands; a short one only where a cell of a table, or a name such as
`user_id` before it, says what it is; and an id that the log also uses for something else only in a column of people.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.pipeline.privacy.search_tokens import MOST_PARTS, fold, split, texts_at

RAW_ID, EMAIL, PHONE, CARD, NATIONAL_ID = "raw id", "e-mail address", "phone number", "card number", "national id"
SECRET, PSEUDONYM = "secret", "pseudonym"
KINDS = (RAW_ID, EMAIL, PHONE, CARD, NATIONAL_ID, SECRET, PSEUDONYM)
TELLING_DIGITS, TELLING_LETTERS, SHORTEST_CELL = 7, 4, 4
"""Characters from which on an id of digits, and one with letters, tells itself; and one is sought in any cell."""
_ROLES = ("user", "shopper", "customer", "visitor", "client", "member", "buyer", "account", "person")
PEOPLE = frozenset({"uid", *_ROLES, *(f"{role}id" for role in _ROLES)})
"""Words of columns that hold people, and of names before an id."""
ID_WORDS = frozenset({"id", "ids", "no", "number"})
ROWS = frozenset({"found", "text"})
"""Columns of the quarantine, which hold parts of the log's own rows."""
PACKAGE = Path(__file__).resolve().parents[2]
ONE_PART = re.compile(rb"[a-z0-9]+")
OWN_FILES = (".py", ".html", ".md", ".yaml")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Words that are searched for."""

    telling: Mapping[int, tuple[pa.Array, pa.Array]]
    """Number of parts → the words that tell themselves, in lower case, and the place of each one's kind in KINDS."""
    short: pa.Array
    """Ids that are told by their place only, as they are, as bytes."""
    anywhere: pa.Array
    """Of `short`, as truth values: those that count in any cell of a table, not only in one about people."""
    asked: Mapping[str, int]
    """Kind → different words that were asked for."""
    in_cells: int = 0
    """Ids that count in any cell of a table and behind a word such as `user_id`, not in running text."""
    in_columns: int = 0
    """Ids that count in columns about people and behind such a word only."""
    person_columns: frozenset[str] = field(default_factory=frozenset)
    """Columns of the source that hold ids, beside those whose name says so."""

    def is_about_people(self, column: str) -> bool:
        """Whether a column's cells name people, or are parts of the log's rows.

        >>> want({}).is_about_people("user_id"), want({}).is_about_people("product_id")
        (True, False)
        """
        name = column.lower()
        if name in self.person_columns or name in ROWS:
            return True
        starts, ends = split(name.encode())
        return any(name.encode()[s:e].decode() in PEOPLE for s, e in zip(starts, ends, strict=True))


def want(
    words: Mapping[str, Collection[str] | pa.Array],
    *,
    used_otherwise: pa.Array | None = None,
    person_columns: Iterable[str] = (),
) -> Wanted:
    """Return words ready to be searched for.

    Args:
        words: kind, one of KINDS, → different words.
        used_otherwise: values that other columns of the log have too, in lower case, as bytes; they can't be told.
        person_columns: the source's own names of the columns that hold ids.
    """
    telling: dict[int, list[tuple[bytes, int]]] = {}
    short: list[bytes] = []
    anywhere: list[bool] = []
    told_in = {True: 0, False: 0}
    doubtful = _program_words() | (set(used_otherwise.to_pylist()) if used_otherwise is not None else set())
    for kind, some in words.items():
        number = KINDS.index(kind)
        for word in some.to_pylist() if isinstance(some, pa.Array) else some:
            raw = word.encode()
            folded = fold(raw)
            parts = 1 if ONE_PART.fullmatch(folded) else len(split(folded)[0])
            is_doubtful = kind == RAW_ID and folded in doubtful
            if parts and not is_doubtful and (kind != RAW_ID or _tells_itself(word)):
                telling.setdefault(min(parts, MOST_PARTS), []).append((_beginning(folded, parts), number))
                if kind == RAW_ID and word.isdigit():
                    telling.setdefault(1, []).append((folded + b".0", number))
            elif kind == RAW_ID:
                forms = [raw, raw + b".0"] if word.isdigit() else [raw]
                short += forms
                is_told = not is_doubtful and len(word) >= SHORTEST_CELL
                anywhere += [is_told] * len(forms)
                told_in[is_told] += 1
    return Wanted(
        telling={parts: _arrays(found) for parts, found in sorted(telling.items())},
        short=pa.array(short, pa.large_binary()),
        anywhere=pa.array(anywhere, pa.bool_()),
        asked={kind: len(some) for kind, some in words.items()},
        in_cells=told_in[True],
        in_columns=told_in[False],
        person_columns=frozenset(name.lower() for name in person_columns),
    )


def names_ids(column: str) -> bool:
    """Whether a column's name says that it holds ids of people and nothing else, so that its numbers are searched too.

    >>> names_ids("user_id"), names_ids("CustomerID"), names_ids("shopper_count")
    (True, True, False)
    """
    name = fold(column.encode())
    words = {name[s:e].decode(errors="replace") for s, e in zip(*split(name), strict=True)}
    return bool(words & PEOPLE) and words <= PEOPLE | ID_WORDS


def _tells_itself(word: str) -> bool:
    if word.isdigit():
        return len(word) >= TELLING_DIGITS
    return len(word) >= TELLING_LETTERS and any(letter.isascii() and letter.isalnum() for letter in word)


def _beginning(folded: bytes, parts: int) -> bytes:
    """Return a word from the first of its parts to the last that is compared."""
    if parts == 1 and ONE_PART.fullmatch(folded):
        return folded
    starts, ends = split(folded)
    return folded[starts[0] : ends[min(parts, MOST_PARTS) - 1]]


def _arrays(found: list[tuple[bytes, int]]) -> tuple[pa.Array, pa.Array]:
    kinds = dict(reversed(found))  # the first kind of a word stays
    return pa.array(list(kinds), pa.large_binary()), pa.array(list(kinds.values()), pa.int8())


@cache
def _program_words() -> frozenset[bytes]:
    """Return the words that this program itself writes: an id that is one of them, such as `guest`, can't be told."""
    found: set[bytes] = set()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in OWN_FILES:
            data = fold(path.read_bytes())
            found.update(words_in(data).to_pylist())
    return frozenset(word for word in found if not word.isdigit())


def words_in(data: bytes) -> pa.Array:
    """Return the different words of a text in lower case, as bytes."""
    starts, ends = split(data)
    return pc.unique(texts_at(pa.py_buffer(data), starts, ends))
