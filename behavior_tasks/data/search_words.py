"""Search words as clean events hold them: what people typed, without what could tell who they are.

In comes a column of free text that `maskers` has been over, so that `*email` and the like stand in it; out comes SQL
for short lower-case words. What is left of addresses and long numbers becomes `*`; names of people can't be told from
other words, so who writes texts from them keeps common words only (`text/counts.py`).
"""

from behavior_tasks.data.maskers import MASK

__all__ = ["MASK", "MOST_WORDS", "masked_sql"]

MOST_WORDS = 8
ADDRESS = r"\S+@\S+|(?:https?://|www\.)\S+"
NUMBER = r"\+?\d(?:[\s().\-/]{0,2}\d){3,}"
"""Four digits and more, however they are grouped: telephone, card, order and postal numbers, dates."""


def masked_sql(column: str) -> str:
    """Return SQL for the words of a column of free text, parted by single blanks; NULL when none is left.

    What is masked already stays as it is.
    """
    text = f"regexp_replace(lower(left({column}, 1000)), '{ADDRESS}', ' {MASK} ', 'g')"
    text = f"regexp_replace({text}, '{NUMBER}', ' {MASK} ', 'g')"
    words = rf"list_filter(string_split_regex({text}, '[^\pL\pM\pN{MASK}]+'), lambda word: word <> '')"
    return f"CASE WHEN {column} IS NOT NULL THEN nullif(array_to_string({words}[:{MOST_WORDS}], ' '), '') END"
