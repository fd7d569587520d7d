"""What was found wrong in a row, as it may be kept: SQL over the row's cells.

In come the reason and the cells of a row; out comes a word, a day, a short number, or the shape of a cell. The one
thing to know: a column may hold another one's values, so no cell is kept as it is unless it looks like what belongs
there; who wants to see the cell itself reads the log again (`quarantine_text`).
"""

from collections.abc import Iterable

WORD = r"[\pL][\pL _-]{0,29}"
"""What an action looks like."""
DATED = (
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}(:\d{1,2}){0,2}(\.\d+)?)?"
    r"\s?([AaPp][Mm]|Z|[+-]\d{2}:?\d{2})?"
)
"""What a date looks like, possible or not."""
SHORT_NUMBER = r"[-+]?\d{1,6}([.,]\d{1,4})?|[-+]?(inf|infinity|nan)"
QUARTER_MS = 900_000
"""A quarter of an hour in milliseconds: every zone's days begin at one."""


def shape_sql(cell: str) -> str:
    """Return SQL for the shape of a text: 9 for every digit, a for every letter.

    >>> import duckdb
    >>> duckdb.sql("SELECT " + shape_sql("'Jo 13-4'")).fetchall()[0][0]
    'aa 99-9'
    """
    return f"regexp_replace(regexp_replace({cell}, '[0-9]', '9', 'g'), '\\pL', 'a', 'g')"


def found_sql(numbers: Iterable[str]) -> str:
    """Return SQL for what is kept of a row that stands aside; NULL for an event.

    Args:
        numbers: names of the columns that hold numbers.

    The query needs `reason`, `problem`, `problem_found` (the reader's own words), `text_action`, `text_timestamp`,
    `timestamp` (the instant, where the text tells one), and `text_<name>` of the numbers.
    """
    each = ", ".join(f"'{name}=' || {_number_sql(f'text_{name}')}" for name in numbers)
    milliseconds = "try_cast(try_cast(text_timestamp AS DOUBLE) AS BIGINT)"
    quarter = f"CAST({milliseconds} - {milliseconds} % {QUARTER_MS} AS VARCHAR)"
    return f"""CASE
        WHEN reason IS NULL THEN NULL
        WHEN problem IS NOT NULL THEN problem_found
        WHEN reason IN ('ignored_action', 'unknown_action') THEN coalesce({_word_sql("text_action")}, 'nothing')
        WHEN reason IN ('missing_user_id', 'missing_product_id') THEN 'nothing'
        WHEN reason IN ('bad_number', 'negative_amount', 'absurd_amount') THEN concat_ws(', ', {each})
        WHEN reason = 'milliseconds_for_seconds' THEN coalesce({quarter}, {shape_sql("text_timestamp")})
        WHEN reason = 'seconds_for_milliseconds' THEN {shape_sql("text_timestamp")}
        ELSE coalesce({_day_sql()}, 'nothing')
    END"""


def _word_sql(cell: str) -> str:
    return f"CASE WHEN regexp_full_match({cell}, '{WORD}') THEN {cell} ELSE {shape_sql(cell)} END"


def _number_sql(cell: str) -> str:
    short = f"regexp_full_match({cell}, '{SHORT_NUMBER}', 'i')"
    return f"CASE WHEN {short} THEN {cell} ELSE {shape_sql(cell)} END"


def _day_sql() -> str:
    """A date stays; a number that is an instant becomes its day in UTC; all else its shape."""
    dated = f"regexp_full_match(text_timestamp, '{DATED}')"
    day = "CASE WHEN isfinite(timestamp) THEN strftime(timestamp, '%Y-%m-%d') END"
    return f"CASE WHEN {dated} THEN text_timestamp ELSE coalesce({day}, {shape_sql('text_timestamp')}) END"
