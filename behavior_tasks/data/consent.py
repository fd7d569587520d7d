"""Consent: who agreed to the use of their data, and the rows of everybody else taken out before anything is kept.

In come the side table `source.consent`, or the column `consent` of the log, and judged rows; out come the rows of
shoppers who consent, and how many others there were. The one thing to know: whoever is not in the table has not
consented, consent holds from its `valid_from` on, and the last row of a shopper must say yes, or nothing of them stays.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import connect, parquet_sql
from behavior_tasks.data.consent_words import CONSENT, consent_sql, odd_consent_sql
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.inputs import RawFile
from behavior_tasks.data.layout import CONSENT_COLUMNS
from behavior_tasks.data.parse import cell_sql, instant_sql, literal, plain_user_sql
from behavior_tasks.data.side_tables import VALID_FROM, side_reader, side_table_places

NO_CONSENT = "no_consent"
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Who consents, ready to be joined."""

    rows: pa.Table
    """user_id; when dated also valid_from (naive UTC) and yes. Only of those whose last row says yes."""
    dated: bool
    facts: Mapping[str, int | bool]
    """Rows read, odd words, shoppers listed and consenting."""

    def ids(self) -> list[str]:
        """Return the raw ids of those who consent."""
        return list(dict.fromkeys(self.rows["user_id"].to_pylist()))


def load_consent(file: RawFile, config: SourceConfig) -> Consent:
    """Read the side table of consent.

    Raises:
        UserError: for missing columns, no usable row, or when no word in it is understood.
    """
    table = config.consent
    with connect() as connection:
        try:
            connection.execute(f"CREATE VIEW raw AS SELECT * FROM {side_reader(file, table)}")
            names = [row[0] for row in connection.execute("DESCRIBE raw").fetchall()]
            places = side_table_places(names, CONSENT_COLUMNS, "user_id", table, shown=file.shown)
            if CONSENT not in places:
                raise _lacks(names, file.shown)
            connection.execute(f"SET TimeZone = {literal(config.timezone)}")
            connection.execute(f"CREATE TABLE typed AS {_typed_sql(places, config)}")
        except duckdb.Error as error:
            raise UserError(
                f"The side table {file.shown} can't be read.",
                # What DuckDB says of a row may quote it.
                found=type(error).__name__,
                expected=f"columns divided by {table.delimiter!r}, in {table.encoding}",
                next_step="check source.consent: path, delimiter and encoding",
            ) from None
        dated = VALID_FROM in places
        rows = connection.sql(_consenting_sql(dated=dated)).to_arrow_table()
        read, odd, undated, listed = connection.execute(
            f"""SELECT count(*), count(*) FILTER (odd), count(*) FILTER ({"valid_from IS NULL" if dated else "false"}),
            count(DISTINCT user_id) FROM typed"""
        ).fetchall()[0]
    facts = {
        "rows": read,
        "odd": odd,
        "bad_valid_from": undated,
        "listed": listed,
        "consenting": len(set(rows["user_id"].to_pylist())),
        "dated": dated,
    }
    if not listed or odd == read:
        raise UserError(
            f"The side table {file.shown} says of nobody whether they consent.",
            found=f"{read:,} rows, {odd:,} of them with a word that means neither yes nor no",
            expected=f"a user_id in every row, and a word such as {', '.join([*table.yes[:3], *table.no[:3]])}",
            next_step="name its words in source.consent.yes and source.consent.no, its columns in "
            "source.consent.columns",
        )
    if odd:
        log.warning("source: %d rows of %s have a word that means neither yes nor no: no consent", odd, file.shown)
    return Consent(rows=rows, dated=dated, facts=facts)


def register_consent(connection: duckdb.DuckDBPyConnection, consent: Consent | None) -> None:
    """Make the table `consented` that `keep_consenting` reads; nothing without a side table."""
    if consent is not None:
        connection.register("consented_rows", consent.rows)
        connection.execute("CREATE TEMP TABLE consented AS SELECT * FROM consented_rows")
        connection.unregister("consented_rows")


def keep_consenting(
    connection: duckdb.DuckDBPyConnection, judged: pa.Table, consent: Consent | None
) -> tuple[pa.Table, int]:
    """Return the judged rows without those of shoppers who don't consent, and how many these were.

    A row that tells nobody's id stays: it can't be an event. A row without a readable time goes by the last word.

    Args:
        connection: as `register_consent` left it.
        judged: what `parse_sql` gives; with `consent` when the log has such a column.
        consent: the side table; None: there is none.
    """
    by_column = CONSENT in judged.column_names
    if consent is None and not by_column:
        return judged, 0
    conditions = [CONSENT] if by_column else []
    joined = "judged"
    if consent is not None and consent.dated:
        joined = """judged ASOF LEFT JOIN (SELECT user_id AS of, valid_from, yes FROM consented)
            ON of = judged.user_id AND judged.timestamp >= valid_from"""
        conditions.append("""CASE WHEN judged.timestamp IS NULL
            THEN judged.user_id IN (SELECT user_id FROM consented) ELSE coalesce(yes, false) END""")
    elif consent is not None:
        conditions.append("judged.user_id IN (SELECT user_id FROM consented)")
    connection.register("judged", judged)
    kept = connection.sql(
        f"SELECT judged.* FROM {joined} WHERE judged.user_id IS NULL OR ({' AND '.join(conditions)})"
    ).to_arrow_table()
    connection.unregister("judged")
    return (kept.drop_columns([CONSENT]) if by_column else kept), len(judged) - len(kept)


def count_unknown(consent: Consent, key: bytes, files: Sequence[Path]) -> int:
    """Return how many of those who consent have no event in the log.

    Args:
        consent: the side table.
        key: the identity key.
        files: events as `ingest` leaves them.
    """
    names = pa.table({"shopper": pa.array([pseudonym(user, key) for user in consent.ids()], pa.string())})
    with connect() as connection:
        connection.register("consenting", names)
        seen = f"ANTI JOIN (SELECT DISTINCT shopper FROM {parquet_sql(files)}) USING (shopper)" if files else ""
        return int(connection.execute(f"SELECT count(*) FROM consenting {seen}").fetchall()[0][0])


def _typed_sql(places: Mapping[str, str], config: SourceConfig) -> str:
    """Every row with an id: user_id, yes, odd, and valid_from where the table has it."""
    named = {column: '"' + held.replace('"', '""') + '"' for column, held in places.items()}
    cells = ", ".join(f"{cell_sql(f'CAST({held} AS VARCHAR)')} AS {column}" for column, held in named.items())
    since = ""
    if VALID_FROM in places:
        dated = SourceConfig(time_format=config.consent.time_format, timezone=config.timezone, year=config.year)
        since = f", {instant_sql(VALID_FROM, dated)} AS {VALID_FROM}"
    return f"""WITH cells AS MATERIALIZED (SELECT {cells} FROM raw)
        SELECT {plain_user_sql("user_id")} AS user_id, {consent_sql(CONSENT, config.consent)} AS yes,
            {odd_consent_sql(CONSENT, config.consent)} AS odd{since}
        FROM cells WHERE user_id IS NOT NULL"""


def _consenting_sql(*, dated: bool) -> str:
    """The rows of shoppers whose last row says yes; of two rows of one instant, no counts, and so does one undated."""
    if not dated:
        return "SELECT user_id FROM typed GROUP BY user_id HAVING bool_and(yes) ORDER BY user_id"
    return """
        WITH once AS (
            SELECT user_id, valid_from, bool_and(yes) AS yes FROM typed WHERE valid_from IS NOT NULL
            GROUP BY user_id, valid_from
        ), willing AS (
            SELECT user_id FROM once GROUP BY user_id HAVING arg_max(yes, valid_from)
        )
        SELECT user_id, valid_from, yes FROM once SEMI JOIN willing USING (user_id)
        WHERE user_id NOT IN (SELECT user_id FROM typed WHERE valid_from IS NULL AND NOT yes)
        ORDER BY user_id, valid_from
    """


def _lacks(names: Sequence[str], shown: str) -> UserError:
    return UserError(
        f"The side table {shown} lacks a column that says who consents.",
        found=f"columns {', '.join(names)}",
        expected=", ".join(CONSENT_COLUMNS),
        next_step=f"map it: --set 'source.consent.columns={{{CONSENT}: your_column}}'",
    )
