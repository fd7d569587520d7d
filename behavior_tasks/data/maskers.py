"""Maskers: free text of a log without what tells who somebody is.

In come search words, product names and other free text; out comes the same with `*email`, `*phone`, `*card`, `*id`,
`*ip`, `*address` or `*url` in the place of what was found, each one word. The one thing to know: rules find shapes and
check digits, not meaning, so a person's name stays; texts therefore hold common search words only (`text/counts.py`).
"""

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.data.masker_rules import LIKELY, RULES, Kind

MASK = "*"
"""Begins every placeholder; alone it stands for a number of no known kind."""
KINDS: tuple[Kind, ...] = ("email", "url", "ip", "id", "card", "phone", "address")
FREE_TEXT = ("query", "product_name", "category", "brand")
"""Columns of events in which people write what they like."""
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if code != 0xFF1A} | {0x3000: 0x20}
"""Full-width signs to plain ones, one for one, so that places stay; the colon parts words and stays as it is."""
LONGEST = 4000
"""Characters of a value that are looked at; what follows is cut off, for it was not looked at."""


def find_personal(text: str) -> list[tuple[int, int, Kind]]:
    """Return the places of what can tell who somebody is: begin, end and kind, in the order of the text.

    >>> find_personal("mug for jo@mail.org, call +44 20 7946 0958")
    [(8, 19, 'email'), (26, 42, 'phone')]
    """
    plain = text.translate(FULL_WIDTH)
    lower = plain.lower()
    # A few letters grow when they are made small; then only those without a change are compared.
    plain = lower if len(lower) == len(plain) else "".join(s.lower() if len(s.lower()) == 1 else s for s in plain)
    found: list[tuple[int, int, Kind]] = []
    for rule in RULES:
        taken = False
        for match in rule.pattern.finditer(plain):
            if rule.check is None or rule.check(match):
                found.append((*match.span(rule.group), rule.kind))
                taken = True
        if taken:
            for begin, end, _ in found:
                plain = f"{plain[:begin]}{'|' * (end - begin)}{plain[end:]}"
    return sorted(found)


def mask(text: str) -> str:
    """Return text with each personal part as one typed word.

    >>> mask("72 SWEETHEART FAIRY CAKE CASES"), mask("Mug for jo@mail.org,4111 1111 1111 1111")
    ('72 SWEETHEART FAIRY CAKE CASES', 'Mug for *email , *card')
    """
    text = text[:LONGEST]
    pieces, at = [], 0
    for begin, end, kind in find_personal(text):
        pieces += [text[at:begin].rstrip(), f"{MASK}{kind}"]
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
    if not pieces:
        return text
    pieces.append(text[at:])
    return " ".join(piece for piece in pieces if piece)


def mask_values(values: pa.Array) -> pa.Array:
    """Return an array of different texts, masked; the few that can hold something personal are looked at closely."""
    likely = pc.fill_null(pc.match_substring_regex(pc.utf8_lower(values), LIKELY), False)
    long = pc.fill_null(pc.greater(pc.binary_length(values), LONGEST), False)
    places = pc.indices_nonzero(pc.or_(likely, long))
    if not len(places):
        return values
    masked = pa.array([mask(text) for text in values.take(places).to_pylist()], values.type)
    chosen = pc.or_(likely, long)
    return pc.replace_with_mask(values, chosen, masked)


def mask_columns(events: pa.Table, columns: Iterable[str] = FREE_TEXT) -> pa.Table:
    """Return events whose free text is masked; each different value is looked at once.

    Args:
        events: with text columns, plain or as dictionaries.
        columns: which of them; those that are not there, or empty, are passed over.
    """
    for name in columns:
        place = events.schema.get_field_index(name)
        if place < 0 or events.column(place).null_count == len(events):
            continue
        held = events.column(place).combine_chunks()
        coded = held if pa.types.is_dictionary(held.type) else held.dictionary_encode()
        masked = mask_values(coded.dictionary)
        if masked is not coded.dictionary:
            # Several values may have become one, so they are written out and not kept as a dictionary.
            events = events.set_column(place, name, masked.take(coded.indices))
    return events


def mask_words(words: Sequence[str]) -> list[str]:
    """Return each text masked, in the same order."""
    return [mask(word) for word in words]


IS_MASK = re.compile(r"\*[a-z]*")
"""A whole word that stands for something masked."""
