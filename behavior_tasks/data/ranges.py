"""Ranges of pseudonyms: how a log is cut into pieces of whole shoppers.

In comes a number of pieces; out come that many ranges of pseudonyms, in order. The one thing to know: pseudonyms are
keyed hashes, so equal ranges hold about equally many shoppers, events sorted by shopper are sorted by range as well,
and another number of ranges needs nothing to be written again.
"""

from dataclasses import dataclass

PREFIX_DIGITS = 8
"""Hexadecimal digits of a pseudonym that a bound is compared with."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Shoppers from `low` (included) to `high` (excluded; None: no bound)."""

    low: str
    high: str | None

    def sql(self, column: str = "shopper") -> str:
        """Return the condition of a row in this range.

        >>> Range(low="80000000", high=None).sql()
        "shopper >= '80000000'"
        """
        conditions = [f"{column} >= '{self.low}'"] if self.low else []
        conditions += [f"{column} < '{self.high}'"] if self.high else []
        return " AND ".join(conditions) or "true"

    def meets(self, other: "Range") -> bool:
        """Whether a shopper can lie in both."""
        return (self.high is None or other.low < self.high) and (other.high is None or self.low < other.high)


def split_ranges(count: int) -> tuple[Range, ...]:
    """Return equal ranges that together hold every pseudonym, in order.

    >>> split_ranges(1)
    (Range(low='', high=None),)
    >>> [r.low for r in split_ranges(4)]
    ['', '40000000', '80000000', 'c0000000']
    """
    size = 16**PREFIX_DIGITS
    bounds = [f"{-(-number * size // count):0{PREFIX_DIGITS}x}" for number in range(1, count)]
    return tuple(Range(low=low, high=high) for low, high in zip(["", *bounds], [*bounds, None], strict=True))
