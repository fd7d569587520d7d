"""The parts of a text: what `verbalize` writes of an example, and how the text is got from it.

A text is exactly its parts, one after the other, with nothing in between. They are words and groups of words that
come again in other texts, so that they are stored once and turned into tokens once.
"""

from collections.abc import Iterable

TEXT_SQL = "array_to_string(parts, '')"
"""SQL of the text of a row of `texts`."""


def join_parts(parts: Iterable[str]) -> str:
    """Return the text of an example.

    >>> join_parts(["User A", " browsed product B", ", 2 days later"])
    'User A browsed product B, 2 days later'
    """
    return "".join(parts)
