"""Contacts in running text: a text in; the e-mail addresses, telephone, card and resident numbers in it out.

Cards and Chinese resident ids are told by their check digits, so an order number is seldom one. The one thing to know:
this finds whole words to search for; what masks them before a text is written is `data/search_words`.
"""

import re
from collections.abc import Iterator

from behavior_tasks.pipeline.privacy.search_words import CARD, EMAIL, NATIONAL_ID, PHONE

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
RESIDENT = re.compile(r"(?<![\dXx])\d{17}[\dXx](?![\dXx])")
NUMBER = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
CHINESE_MOBILE = re.compile(r"(?<!\d)(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)")
INTERNATIONAL = re.compile(r"(?<![\w+])\+\d(?:[ ().-]{0,2}\d){7,14}(?!\d)")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECKS = "10X98765432"


def contacts_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield kind and word, as it stands there and, where it is a number with gaps, without them.

    >>> sorted(contacts_in("write anna@shop.example or +49 170 1234567"))[0]
    ('e-mail address', 'anna@shop.example')
    >>> list(contacts_in("4111 1111 1111 1111"))
    [('card number', '4111 1111 1111 1111'), ('card number', '4111111111111111')]
    >>> list(contacts_in("order 4111 1111 1111 1112"))
    []
    """
    for found in ADDRESS.findall(text):
        yield EMAIL, found.rstrip(".")
    taken = set[str]()
    for found in RESIDENT.findall(text):
        if is_resident(found):
            taken.add(found)
            yield NATIONAL_ID, found
    for found in NUMBER.findall(text):
        if found not in taken and is_card(_digits(found)):
            taken.add(found)
            yield from _both(CARD, found)
    for pattern in (CHINESE_MOBILE, INTERNATIONAL):
        for found in pattern.findall(text):
            if found not in taken:
                taken.add(found)
                yield from _both(PHONE, found)


def is_card(digits: str) -> bool:
    """Whether a card number's last digit fits (Luhn, ISO/IEC 7812-1).

    >>> is_card("4111111111111111"), is_card("4111111111111112")
    (True, False)
    """
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def is_resident(text: str) -> bool:
    """Whether a Chinese resident id's last character fits (GB 11643-1999).

    >>> is_resident("11010519491231002X"), is_resident("110105194912310021")
    (True, False)
    """
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], WEIGHTS, strict=True))
    return CHECKS[total % 11] == text[17].upper()


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _both(kind: str, found: str) -> Iterator[tuple[str, str]]:
    yield kind, found
    plain = ("+" if found.startswith("+") else "") + _digits(found)
    if plain != found:
        yield kind, plain
