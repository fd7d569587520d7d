"""Parsing in SQL: cells of text become typed canonical columns, or a reason why the row can't be an event.

In come the layout and the source's settings; out comes one query over a batch of raw cells. The one thing to
know: a row has one reason, the first that applies in the order of `reasons.REASONS` (except that a row outside
the stated period is always `outside_period`), and optional profile values never cost an event its place.

Rules that need saying. Cells are trimmed; empty ones and NULL_WORDS are missing. Ids stay text, leading zeros
included; only a user_id such as `17850.0`, which spreadsheets make of whole numbers in a column with gaps,
loses the `.0`. A quantity of 0, and an age that is no number from 0 to 120, is missing and counted. A `return`
may be written with negative numbers; it is kept with positive ones. Local times that occur twice (clocks go
back) are read as the second, those that never occur (clocks go forward) as one hour later.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.data.codes import (
    age_sql,
    dated_format,
    gender_sql,
    has_odd_age_sql,
    literal,
    timestamp_text_sql,
)
from behavior_tasks.data.consent_words import CONSENT, consent_sql
from behavior_tasks.data.found import found_sql
from behavior_tasks.data.layout import SYNONYMS, Layout

NULL_WORDS = ("", "null", "none", "nan", r"\n")
"""Lower-case cells that mean a missing value; `\\N` is how databases export NULL."""
WHITESPACE = " \t\r\n\u00a0\u3000"
MISSING = "CAST(NULL AS VARCHAR)"
NUMBERS = ("quantity", "price", "amount")
EARLIEST = "TIMESTAMP '1990-01-01'"
"""No shop kept a log of events before; such a time is a default value or another unit."""
LARGEST_SECONDS = 1e11
"""The year 5138 in seconds, March 1973 in milliseconds: it divides the two units."""
LARGEST_MILLISECONDS = 1e14
FOUND_LENGTH = 200


def make_action_words(connection: duckdb.DuckDBPyConnection, config: SourceConfig) -> None:
    """Make the table `action_words` (word, action); a setting wins over the built-in synonyms."""
    rows = {_plain(word): action for action, words in SYNONYMS.items() for word in words}
    rows |= {_plain(word): action for word, action in config.actions.items()}
    words = pa.table({"word": list(rows), "action": list(rows.values())})
    connection.register("words_to_keep", words)
    connection.execute("CREATE TABLE action_words AS SELECT * FROM words_to_keep")
    connection.unregister("words_to_keep")


def _plain(word: str) -> str:
    """Return an action word as `_action_sql` sees it."""
    return "_".join(word.strip(WHITESPACE).lower().replace("-", " ").split())


def parse_sql(layout: Layout, config: SourceConfig, *, read_on: date, plain: Collection[str] = ()) -> str:
    """Return the query that types and judges a batch.

    The batch is a table `batch` of position, line, problem (a reason of the reader, or NULL), problem_found, and one
    text column `raw_<name>` for each canonical column that the layout has. The query gives position, line, every
    canonical column typed, reason (NULL for an event), found, set_missing_age and set_missing_quantity, and where the
    log has such a column whether the row's shopper consents.

    Args:
        plain: columns `raw_<name>` known to hold trimmed values and NULLs only; reading them costs less.
    """
    raw = {c.name: cell_sql(f"raw_{c.name}", plain) if c.name in layout.places else MISSING for c in EVENT_COLUMNS}
    typed = {
        **{c.name: f"{raw[c.name]}" for c in EVENT_COLUMNS if c.type == "VARCHAR"},
        "user_id": plain_user_sql(raw["user_id"]),
        "gender": gender_sql(raw["gender"], config),
        "timestamp": raw["timestamp"],
        **{name: f"try_cast({raw[name]} AS DOUBLE)" for name in NUMBERS},
        "age": age_sql(raw["age"], config),
    }
    cells = ", ".join(f"{sql} AS {name}" for name, sql in typed.items() if name not in {"action", "timestamp"})
    consent_column = ""
    if CONSENT in layout.places:
        cells += f", {consent_sql(f'raw_{CONSENT}', config.consent)} AS {CONSENT}"
        consent_column = f" {CONSENT},"
    texts = ", ".join(f"{raw[name]} AS text_{name}" for name in ("action", "timestamp", "age", *NUMBERS))
    return f"""
        WITH cells AS (
            SELECT position, line, problem, problem_found, {cells}, {texts} FROM batch
        ), timed AS (
            SELECT cells.*, {instant_sql("text_timestamp", config)} AS timestamp, {_action_sql(config)} AS action
            FROM cells LEFT JOIN action_words ON word = {_PLAIN_ACTION}
        ), judged AS (
            SELECT *, {_reason_sql(config, read_on)} AS reason FROM timed
        )
        SELECT position, line, user_id, timestamp, action, product_id, {_number_columns()},
            category, brand, product_name, query,
            CASE WHEN age BETWEEN 0 AND 120 THEN age END AS age, gender, reason,
            left({found_sql(NUMBERS)}, {FOUND_LENGTH}) AS found,
            {has_odd_age_sql("text_age", config)} AS set_missing_age,{consent_column}
            coalesce(quantity = 0, false) AS set_missing_quantity
        FROM judged
    """


_PLAIN_ACTION = r"regexp_replace(lower(text_action), '[\s-]+', '_', 'g')"


def cell_sql(text: str, plain: Collection[str] = ()) -> str:
    """Return SQL for a trimmed cell, NULL where it means a missing value; a plain column is one already."""
    if text in plain:
        return text
    trimmed = f"trim({text}, {literal(WHITESPACE)})"
    return f"CASE WHEN lower({trimmed}) NOT IN ({', '.join(map(literal, NULL_WORDS))}) THEN {trimmed} END"


def plain_user_sql(cell: str) -> str:
    """Return SQL for a user's id without the `.0` that spreadsheets make of whole numbers in a column with gaps."""
    return rf"regexp_replace({cell}, '^([1-9]\d*)\.0+$', '\1')"


def _action_sql(config: SourceConfig) -> str:
    """A word, else the longest prefix, else the default."""
    prefixes = sorted(config.action_prefixes.items(), key=lambda item: (-len(item[0]), item[0]))
    cases = [
        f"WHEN starts_with(lower(text_action), {literal(prefix.lower())}) THEN {literal(action)}"
        for prefix, action in prefixes
    ]
    default = literal(config.default_action) if config.default_action else "NULL"
    other = f"CASE {' '.join(cases)} ELSE {default} END" if cases else default
    return f"coalesce(action_words.action, {other})"


def instant_sql(cell: str, config: SourceConfig) -> str:
    """Return SQL for the instant, in naive UTC, that a text cell tells; NULL when it tells none.

    Texts without an offset under `iso` get the session's zone, which the caller sets to the shop's.
    """
    if config.time_format in {"unix_seconds", "unix_milliseconds"}:
        return _counted_sql(cell, 1_000_000 if config.time_format == "unix_seconds" else 1_000)
    if config.time_format == "iso":
        return f"timezone('UTC', try_cast({cell} AS TIMESTAMPTZ))"
    parsed = f"try_strptime({timestamp_text_sql(cell, config)}, {literal(dated_format(config))})"
    if "%z" in config.time_format or "%Z" in config.time_format:
        return f"timezone('UTC', {parsed})"
    return f"timezone('UTC', timezone({literal(config.timezone)}, {parsed}))"


_COUNT = "try_cast(text_timestamp AS DOUBLE)"
LARGEST_MICROSECONDS = 1e18
"""The year 33658; beyond lies the end of what DuckDB can hold."""


def _counted_sql(cell: str, microseconds: int) -> str:
    """Return the instant of a count of units of so many microseconds."""
    exact = f"round(try_cast({cell} AS DOUBLE) * {microseconds})"
    return f"CASE WHEN abs({exact}) < {LARGEST_MICROSECONDS} THEN make_timestamp(CAST({exact} AS BIGINT)) END"


def _reason_sql(config: SourceConfig, read_on: date) -> str:
    end_of_today = datetime.combine(read_on + timedelta(days=1), time())
    number = " OR ".join(f"(text_{n} IS NOT NULL AND NOT coalesce(isfinite({n}), false))" for n in NUMBERS)
    negative = " OR ".join(f"{n} < 0" for n in NUMBERS)
    absurd = " OR ".join(f"abs({sql}) > {config.max_amount!r}" for sql in (*NUMBERS, "price * quantity"))
    return f"""CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN user_id IS NULL THEN 'missing_user_id'
        {_ignored_sql(config)}
        WHEN action IS NULL THEN 'unknown_action'
        WHEN product_id IS NULL AND action <> 'search' THEN 'missing_product_id'
        {_unit_sql(config)}
        WHEN timestamp IS NULL OR NOT isfinite(timestamp) THEN 'bad_timestamp'
        {_period_sql(config)}
        WHEN timestamp < {EARLIEST} THEN 'bad_timestamp'
        WHEN timestamp >= TIMESTAMP '{end_of_today}' THEN 'timestamp_in_future'
        WHEN {number} THEN 'bad_number'
        WHEN action <> 'return' AND ({negative}) THEN 'negative_amount'
        WHEN {absurd} THEN 'absurd_amount'
    END"""


def _ignored_sql(config: SourceConfig) -> str:
    """Words that the settings set aside, even where they could be understood."""
    words = ", ".join(literal(_plain(word)) for word in config.ignored_actions)
    return f"WHEN {_PLAIN_ACTION} IN ({words}) THEN 'ignored_action'" if words else ""


def _unit_sql(config: SourceConfig) -> str:
    """Values that fit the other unit of time."""
    if config.time_format == "unix_seconds":
        between = f"abs({_COUNT}) >= {LARGEST_SECONDS} AND abs({_COUNT}) < {LARGEST_MILLISECONDS}"
        return f"WHEN {between} THEN 'milliseconds_for_seconds'"
    if config.time_format == "unix_milliseconds":
        fits = f"{_COUNT} < {LARGEST_SECONDS} AND {_counted_sql('text_timestamp', 1_000_000)} >= {EARLIEST}"
        return f"WHEN {fits} THEN 'seconds_for_milliseconds'"
    return ""


def _period_sql(config: SourceConfig) -> str:
    """Local days outside the stated period; the calendar's first and last year bound nothing."""
    bounds = []
    if config.period_start and config.period_start.year > date.min.year:
        bounds.append(f"timestamp < TIMESTAMP '{_midnight(config.period_start, config.timezone)}'")
    if config.period_end and config.period_end.year < date.max.year:
        bounds.append(f"timestamp >= TIMESTAMP '{_midnight(config.period_end + timedelta(days=1), config.timezone)}'")
    return f"WHEN {' OR '.join(bounds)} THEN 'outside_period'" if bounds else ""


def _midnight(day: date, timezone: str) -> datetime:
    """Return the instant of a local midnight, naive UTC."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC).replace(tzinfo=None)


def _number_columns() -> str:
    """Returns made positive, zero quantities missing, and no negative zero (it would hash unlike zero)."""
    positive: Mapping[str, str] = {n: f"CASE WHEN action = 'return' THEN abs({n}) ELSE {n} END + 0.0" for n in NUMBERS}
    return ", ".join(
        f"nullif({sql}, 0) AS {name}" if name == "quantity" else f"{sql} AS {name}" for name, sql in positive.items()
    )
