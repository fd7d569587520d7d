"""Checks of numbers that could name a person: a run of digits in, whether it is what it looks like, out.

Shapes alone can't tell a card from a barcode; check digits, prefixes and dates nearly can. The one thing to know: each
check says no where the number is more likely a barcode, because product names keep theirs.
"""

import ipaddress
from datetime import date

CARD_PREFIXES: tuple[tuple[int, int, frozenset[int]], ...] = (
    (40, 49, frozenset({13, 16, 19})),
    (51, 55, frozenset({16})),
    (22, 27, frozenset({16})),
    (34, 34, frozenset({15})),
    (37, 37, frozenset({15})),
    (30, 30, frozenset({14, 16})),
    (36, 39, frozenset({14, 16})),
    (35, 35, frozenset({16, 17, 18, 19})),
    (50, 50, frozenset({16, 17, 18, 19})),
    (56, 69, frozenset({16, 17, 18, 19})),
    (81, 81, frozenset({16, 17, 18, 19})),
)
"""First two digits, from and to, and lengths of the cards of the large networks (ISO/IEC 7812; UnionPay is 62, 81)."""
BARCODES = frozenset({12, 13, 14})
"""Lengths of GTINs."""
PROVINCES = frozenset(
    (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91)
)
"""First two digits of a Chinese resident id (GB/T 2260)."""
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECKS = "10X98765432"
"""Check characters by the weighted sum modulo 11 (GB 11643)."""
OLDEST = 1900


def is_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of Luhn (ISO/IEC 7812-1, annex B).

    >>> is_luhn("4111111111111111"), is_luhn("4111111111111112")
    (True, False)
    """
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def is_barcode(digits: str) -> bool:
    """Whether the last digit is the check digit of a GTIN: UPC-A, EAN-13 or GTIN-14.

    >>> is_barcode("4006381333931"), is_barcode("4006381333932")
    (True, False)
    """
    if len(digits) not in BARCODES:
        return False
    weighted = (int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(reversed(digits)))
    return sum(weighted) % 10 == 0


def is_card(digits: str) -> bool:
    """Whether digits are a payment card's number: prefix and length of a network, Luhn's digit, and no barcode.

    >>> is_card("4111111111111111"), is_card("9111111111111111"), is_card("4006381333931")
    (True, False, False)
    """
    first = int(digits[:2])
    known = any(low <= first <= high and len(digits) in lengths for low, high, lengths in CARD_PREFIXES)
    return known and len(set(digits)) > 1 and is_luhn(digits) and not is_barcode(digits)


def is_resident_id(text: str) -> bool:
    """Whether 18 characters, or the 15 digits of before 2000, are a Chinese resident id.

    >>> is_resident_id("11010519491231002X"), is_resident_id("110105194912310021"), is_resident_id("110105491231002")
    (True, False, True)
    """
    if int(text[:2]) not in PROVINCES:
        return False
    birth = text[6:14] if len(text) == 18 else f"19{text[6:12]}"
    try:
        born = date(int(birth[:4]), int(birth[4:6]), int(birth[6:]))
    except ValueError:
        return False
    if len(text) == 15:
        return True
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], ID_WEIGHTS, strict=True))
    return born.year >= OLDEST and ID_CHECKS[total % 11] == text[17].upper()


def is_ipv6(text: str) -> bool:
    """Whether text is an IPv6 address that a person may have: more than a shorthand of a letter or two.

    >>> is_ipv6("2001:db8::8a2e:370:7334"), is_ipv6("12:30:45"), is_ipv6("a::b")
    (True, False, False)
    """
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return len(text) >= 6 and any(sign.isdigit() for sign in text)
