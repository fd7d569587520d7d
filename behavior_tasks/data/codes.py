"""Codes and dates that need a setting to be understood: age and gender codes, ignored actions, dates without a year.

In come the source's settings and the SQL of a trimmed text cell; out comes SQL over that cell. The one thing to
know: once codes are given, any other value is unknown, because `9` may be a code that nobody has explained.
"""

import re
from collections.abc import Mapping

from behavior_tasks.base.source_config import SourceConfig

WIDTHS = {"%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2, "%Y": 4}
"""Digits of the directives that a number such as 829 (29 August) can consist of."""


def literal(text: str) -> str:
    """Return text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def age_sql(cell: str, config: SourceConfig) -> str:
    """Return SQL for the age in years, or NULL; no bounds are checked.

    >>> age_sql("c", SourceConfig())
    'try_cast(floor(try_cast(c AS DOUBLE)) AS INTEGER)'
    """
    if config.age_codes:
        return _case(cell, {code: "NULL" if age is None else str(age) for code, age in config.age_codes.items()})
    return f"try_cast(floor(try_cast({cell} AS DOUBLE)) AS INTEGER)"


def has_odd_age_sql(cell: str, config: SourceConfig) -> str:
    """Return SQL that is true where a cell is there but tells no age from 0 to 120; a code for `unknown` is not odd."""
    if config.age_codes:
        return f"({cell} IS NOT NULL AND {_plain(cell)} NOT IN ({', '.join(map(literal, config.age_codes))}))"
    return f"({cell} IS NOT NULL AND coalesce({age_sql(cell, config)} NOT BETWEEN 0 AND 120, true))"


def gender_sql(cell: str, config: SourceConfig) -> str:
    """Return SQL for the gender's lower-case word, or NULL.

    >>> gender_sql("c", SourceConfig())
    'lower(c)'
    """
    if config.gender_codes:
        words = {c: "NULL" if word is None else literal(word.lower()) for c, word in config.gender_codes.items()}
        return _case(cell, words)
    return f"lower({cell})"


def timestamp_text_sql(cell: str, config: SourceConfig) -> str:
    """Return SQL for the text that `dated_format` reads: the year in front, a lost leading zero given back.

    >>> timestamp_text_sql("c", SourceConfig(time_format="%m%d", year=2014))
    "'2014 ' || CASE WHEN length(c) = 3 THEN '0' || c ELSE c END"
    """
    if config.year is None or not needs_year(config.time_format):
        return cell
    directives = re.findall(r"%.", config.time_format)
    if "".join(directives) == config.time_format and all(d in WIDTHS for d in directives):
        # Whoever stores 0829 as a number keeps 829.
        short = sum(WIDTHS[d] for d in directives) - 1
        cell = f"CASE WHEN length({cell}) = {short} THEN '0' || {cell} ELSE {cell} END"
    return f"'{config.year} ' || {cell}"


def dated_format(config: SourceConfig) -> str:
    """Return the strptime format of `timestamp_text_sql`.

    >>> dated_format(SourceConfig(time_format="%m%d", year=2014)), dated_format(SourceConfig(time_format="%Y-%m-%d"))
    ('%Y %m%d', '%Y-%m-%d')
    """
    if config.year is None or not needs_year(config.time_format):
        return config.time_format
    return f"%Y {config.time_format}"


def needs_year(time_format: str) -> bool:
    """Whether a format has a day but no year.

    >>> needs_year("%m%d"), needs_year("%d.%m.%y"), needs_year("unix_seconds")
    (True, False, False)
    """
    return "%" in time_format and not re.search(r"%[YyGcxDFs]", time_format)


def _case(cell: str, values: Mapping[str, str]) -> str:
    whens = " ".join(f"WHEN {literal(code.lower())} THEN {value}" for code, value in values.items())
    return f"CASE {_plain(cell)} {whens} END"


def _plain(cell: str) -> str:
    """A code as it is compared: lower case, without the `.0` that a column with gaps gets in spreadsheets."""
    return rf"regexp_replace(lower({cell}), '^(\d+)\.0+$', '\1')"
