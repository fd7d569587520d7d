"""Side tables: what a shop knows of its users (age, gender) and products (category, brand, name, price).

In come the tables that the settings name; out come Arrow tables with one row a key (and a time, where `valid_from`
is given), and SQL that fills what events lack. The one thing to know: an event's own value always wins, and a row
with `valid_from` reaches no event before that instant, so a later price can't change an earlier event.

Rules that need saying. Rows without a key, or whose `valid_from` is no time, are left out and counted. Where two rows
of one key (and instant) disagree on a column, nobody can say which is right: that value is unknown, and more such
keys than `source.max_bad_fraction` are an error. A blank cell of a later row says nothing new. Without `valid_from`
a table is taken as always true: right for a gender or a brand, but a price should have its dates.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from behavior_tasks.base.addresses import scheme_of
from behavior_tasks.base.config import Config, SideTable, SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.codes import age_sql, gender_sql, has_odd_age_sql, literal
from behavior_tasks.data.inputs import RawFile, find_inputs, folder_of, side_table_path
from behavior_tasks.data.layout import PRODUCT_COLUMNS, USER_COLUMNS
from behavior_tasks.data.maskers import mask_columns
from behavior_tasks.data.parse import cell_sql, instant_sql, plain_user_sql
from behavior_tasks.data.pieces import detect

KEYS: Mapping[str, str] = {"users": "user_id", "products": "product_id"}
VALID_FROM = "valid_from"
TYPES = ("age", "price")
"""Attributes that are no text, so that a cell may hold what is none."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class LoadedTable:
    """A side table, ready to be joined."""

    name: str
    """users or products."""
    rows: pa.Table
    """The key, valid_from when dated (naive UTC), and the attributes; sorted by key and instant."""
    attributes: tuple[str, ...]
    dated: bool
    facts: Mapping[str, int | bool]
    """Rows read, kept, and left out by reason."""

    @property
    def key(self) -> str:
        """The column it is joined by."""
        return KEYS[self.name]


def side_files(raw: str, config: Config, home: Home) -> dict[str, RawFile]:
    """Return the files of the side tables that the settings name.

    Args:
        raw: the log as the user typed it; relative paths are looked for beside it first.

    Raises:
        UserError: when a file is missing or unreadable.
    """
    found = {}
    source = config.source
    for name, table in (("users", source.users), ("products", source.products), ("consent", source.consent)):
        if not table.path:
            continue
        text = table.path if scheme_of(table.path) else str(side_table_path(table, folder_of(raw)))
        if not scheme_of(text) and not Path(text).exists():
            raise UserError(
                f"There is no file {table.path}, the side table source.{name}.",
                expected="a file beside the log, or a path from the working folder",
                next_step=f"put it there, name its path in source.{name}, or do without: --set 'source.{name}={{}}'",
            )
        files = find_inputs(text, config, home).files
        if len(files) != 1:
            raise UserError(
                f"The side table source.{name} names {len(files)} files.", expected="one file", found=table.path
            )
        found[name] = files[0]
    return found


def load_side_tables(files: Mapping[str, RawFile], config: SourceConfig) -> dict[str, LoadedTable]:
    """Read the side tables that `side_files` found.

    Raises:
        UserError: for missing columns, no usable row, or too many keys whose rows disagree.
    """
    return {name: _load(name, files[name], config) for name in KEYS if name in files}


def check_side_tables(files: Mapping[str, RawFile], config: SourceConfig) -> dict[str, dict[str, int | bool]]:
    """Read the side tables and return what was found, by table.

    Raises:
        UserError: as `load_side_tables`.
    """
    facts = {}
    for name, table in load_side_tables(files, config).items():
        log.info("source: side table %s: %s", name, ", ".join(f"{k} {v}" for k, v in table.facts.items()))
        if "price" in table.attributes and not table.dated:
            log.warning("source: the prices of %s have no valid_from: today's fill events of the past", name)
        facts[name] = dict(table.facts)
    return facts


def fill_sql(relation: str, columns: tuple[str, ...], tables: Mapping[str, LoadedTable]) -> str:
    """Return a query that gives every row of a relation once, with what it lacks filled from the side tables.

    The tables must be registered in the connection as `side_users` and `side_products`: see `register_side_tables`.

    Args:
        relation: a table or view with the canonical columns, times in naive UTC; it may also be a query in brackets.
        columns: its columns, in the order in which they come out; others are dropped.
        tables: what `load_side_tables` gave.
    """
    joins, chosen = "", {name: f"log.{name}" for name in columns}
    for name, table in tables.items():
        dated = f" AND log.timestamp >= side_{name}.{VALID_FROM}" if table.dated else ""
        how = "ASOF LEFT JOIN" if table.dated else "LEFT JOIN"
        joins += f" {how} side_{name} ON log.{table.key} = side_{name}.{table.key}{dated}"
        for attribute in table.attributes:
            if attribute in chosen:
                chosen[attribute] = f"coalesce({chosen[attribute]}, side_{name}.{attribute})"
    return f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in chosen.items())} FROM {relation} AS log{joins}"


def register_side_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, LoadedTable]) -> None:
    """Make the tables `side_users` and `side_products` that `fill_sql` reads."""
    for name, table in tables.items():
        connection.register("side_rows", table.rows)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE side_{name} AS SELECT * FROM side_rows")
        connection.unregister("side_rows")


def _load(name: str, file: RawFile, config: SourceConfig) -> LoadedTable:
    table = config.users if name == "users" else config.products
    key, known = KEYS[name], USER_COLUMNS if name == "users" else PRODUCT_COLUMNS
    with connect() as connection:
        try:
            connection.execute(f"CREATE VIEW raw AS SELECT * FROM {side_reader(file, table)}")
            names = [row[0] for row in connection.execute("DESCRIBE raw").fetchall()]
            places = side_table_places(names, known, key, table, shown=file.shown)
            dated = VALID_FROM in places
            attributes = tuple(column for column in known if column in places and column not in {key, VALID_FROM})
            connection.execute(f"SET TimeZone = {literal(config.timezone)}")
            connection.execute(f"CREATE TABLE typed AS {_typed_sql(places, key, table, config)}")
        except duckdb.Error as error:
            raise UserError(
                f"The side table {file.shown} can't be read.",
                found=(str(error).splitlines() or [""])[0][:200],
                expected=f"columns divided by {table.delimiter!r}, in {table.encoding}",
                next_step=f"check source.{name}: path, delimiter and encoding",
            ) from None
        facts = _judge(connection, key, attributes, dated=dated)
        rows = mask_columns(connection.sql(_merged_sql(key, attributes, dated=dated)).to_arrow_table())
    _refuse(name, facts, config, shown=file.shown)
    return LoadedTable(name=name, rows=rows, attributes=attributes, dated=dated, facts=facts)


def side_reader(file: RawFile, table: SideTable) -> str:
    """Return what stands after FROM for the rows of a side table."""
    kind, compression = detect(file.path, shown=file.shown)
    path = quote(file.path)
    if kind == "parquet":
        return f"read_parquet({path})"
    packed = f"compression = {literal(compression)}"
    if kind == "jsonl":
        return f"read_json({path}, format = 'newline_delimited', {packed})"
    options = f"header = true, all_varchar = true, delim = {literal(table.delimiter)}, quote = '\"', escape = '\"'"
    return f"read_csv({path}, {options}, null_padding = true, encoding = {literal(table.encoding)}, {packed})"


def side_table_places(
    names: list[str], known: tuple[str, ...], key: str, table: SideTable, *, shown: str
) -> dict[str, str]:
    """Return canonical column → the table's column.

    Args:
        names: the table's columns.
        known: canonical columns that it may hold.
        key: the one by which it is joined.
        table: its settings.
        shown: its name for messages.

    Raises:
        UserError: when the key, a column that the settings map, or anything but ids is missing.
    """
    plain = {name.strip().casefold(): name for name in reversed(names)}
    found, missing = {}, []
    for column in known:
        wanted = table.columns.get(column, column)
        held = plain.get(wanted.casefold()) if wanted is not None else None
        if held is not None:
            found[column] = held
        elif column == key or (column in table.columns and wanted is not None):
            missing.append(f"{wanted} (the {column})")
    if missing or len(found) < 2:
        raise UserError(
            f"The side table {shown} lacks {', '.join(missing) or 'anything but its ids'}.",
            found=f"columns {', '.join(names)}",
            expected=", ".join(known),
            next_step="map them: columns: {" + f"{key}: your_column, …" + "} in the side table's settings",
        )
    return found


def _typed_sql(places: Mapping[str, str], key: str, table: SideTable, config: SourceConfig) -> str:
    """Every row with typed cells, NULL where a cell is empty or no possible value, and whether a cell was none."""
    named = {column: '"' + held.replace('"', '""') + '"' for column, held in places.items()}
    cells = ", ".join(f"{cell_sql(f'CAST({held} AS VARCHAR)')} AS {column}" for column, held in named.items())
    sql = {column: column for column in places}
    if key == "user_id":
        sql[key] = plain_user_sql(key)
    if "age" in places:
        sql["age"] = _between(age_sql("age", config), 120)
    if "gender" in places:
        sql["gender"] = gender_sql("gender", config)
    if "price" in places:
        sql["price"] = _between("(try_cast(price AS DOUBLE) + 0.0)", config.max_amount)
    if VALID_FROM in places:
        dated = SourceConfig(time_format=table.time_format, timezone=config.timezone, year=config.year)
        sql[VALID_FROM] = instant_sql(VALID_FROM, dated)
    odd = {column: f"{column} IS NOT NULL AND {expression} IS NULL" for column, expression in sql.items()}
    if "age" in odd:
        # A code that stands for "unknown" is no odd age.
        odd["age"] = has_odd_age_sql("age", config)
    had = ", ".join(f"{expression} AS odd_{column}" for column, expression in odd.items() if column in TYPES)
    typed = ", ".join(f"{expression} AS {column}" for column, expression in sql.items())
    # Materialised, so that a cell is trimmed once and not in every expression that reads it.
    return f"WITH cells AS MATERIALIZED (SELECT {cells} FROM raw) SELECT {typed}{', ' + had if had else ''} FROM cells"


def _between(expression: str, most: float) -> str:
    """SQL for a number that is at least 0 and at most `most`, else NULL."""
    return f"CASE WHEN {expression} BETWEEN 0 AND {most!r} THEN {expression} END"


def _judge(
    connection: duckdb.DuckDBPyConnection, key: str, attributes: tuple[str, ...], *, dated: bool
) -> dict[str, Any]:
    """Count rows, those left out, values that are no possible ones, and keys whose rows disagree."""
    by = f"{key}, {VALID_FROM}" if dated else key
    usable = f"{key} IS NOT NULL" + (f" AND {VALID_FROM} IS NOT NULL" if dated else "")
    parts = {
        "rows": "count(*)",
        "missing_key": f"count(*) FILTER ({key} IS NULL)",
        **({"bad_valid_from": f"count(*) FILTER ({key} IS NOT NULL AND {VALID_FROM} IS NULL)"} if dated else {}),
        **{f"odd_{name}": f"count(*) FILTER (odd_{name})" for name in attributes if name in TYPES},
    }
    counted = connection.execute(f"SELECT {', '.join(parts.values())} FROM typed").fetchall()[0]
    disagree = " OR ".join(f"count(DISTINCT {name}) > 1" for name in attributes)
    repeated, conflicts, kept, keys = connection.execute(
        f"""SELECT coalesce(sum(n - 1), 0), count(*) FILTER (odd), count(*), count(DISTINCT {key})
        FROM (SELECT {key}, count(*) AS n, {disagree} AS odd FROM typed WHERE {usable} GROUP BY {by})"""
    ).fetchall()[0]
    read = dict(zip(parts, counted, strict=True))
    found = {"repeated": int(repeated), "disagreeing": conflicts, "kept": kept, "keys": keys, "dated": dated}
    return {**read, **found}


def _merged_sql(key: str, attributes: tuple[str, ...], *, dated: bool) -> str:
    """One row a key (and instant); values that disagree unknown; with dates, what is known goes on until it changes."""
    by = f"{key}, {VALID_FROM}" if dated else key
    usable = f"{key} IS NOT NULL" + (f" AND {VALID_FROM} IS NOT NULL" if dated else "")
    one = ", ".join(f"CASE WHEN count(DISTINCT {a}) = 1 THEN min({a}) END AS {a}" for a in attributes)
    merged = f"SELECT {by}, {one} FROM typed WHERE {usable} GROUP BY {by}"
    if dated:
        window = f"OVER (PARTITION BY {key} ORDER BY {VALID_FROM} ROWS UNBOUNDED PRECEDING)"
        known = ", ".join(f"last_value({a} IGNORE NULLS) {window} AS {a}" for a in attributes)
        merged = f"SELECT {by}, {known} FROM ({merged})"
    return f"{merged} ORDER BY {by}"


def _refuse(name: str, facts: Mapping[str, Any], config: SourceConfig, *, shown: str) -> None:
    if not facts["kept"]:
        raise UserError(
            f"The side table {shown} has no usable row.",
            found=", ".join(f"{key} {value}" for key, value in facts.items() if value),
            expected=f"a {KEYS[name]} in every row, and a readable valid_from where there is one",
            next_step=f"check source.{name}.columns and source.{name}.time_format",
        )
    if facts["disagreeing"] > config.max_bad_fraction * facts["kept"]:
        raise UserError(
            f"In the side table {shown}, {facts['disagreeing']:,} of {facts['kept']:,} ids have rows that disagree.",
            expected=f"one row an id, or a valid_from; at most {config.max_bad_fraction:.1%} may disagree "
            "(source.max_bad_fraction)",
            next_step="export one row an id, or map the column that says since when a row is true: valid_from",
        )
