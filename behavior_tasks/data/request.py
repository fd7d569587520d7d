"""Requests: raw events in a table of any types in; clean events of pseudonyms that nobody can resolve out.

A row is judged by `parse_sql`, loses its id to `replace_ids` and is cleaned by `clean_table`, as a row of a log is; the
bounds and medians are those of the log that a model was trained on. The one thing to know: the key of the pseudonyms is
drawn anew in every process and is kept nowhere, for no score depends on who somebody is.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.schema import EVENT_COLUMNS, REQUIRED_COLUMNS
from behavior_tasks.base.tables import parquet_sql
from behavior_tasks.data.clean_range import clean_table, cleaning_rules
from behavior_tasks.data.events import BucketEvents, EventIndex
from behavior_tasks.data.identities import pseudonym, replace_ids
from behavior_tasks.data.ingest_piece import PARSED_NAMES
from behavior_tasks.data.keys import KEY_BYTES
from behavior_tasks.data.layout import Layout
from behavior_tasks.data.maskers import mask_columns
from behavior_tasks.data.parquet_rows import read_batch
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.reasons import REASONS
from behavior_tasks.data.side_tables import LoadedTable, fill_sql

PRODUCTS_FILE = "products.parquet"
OF_THE_TIME = ("bad_timestamp", "milliseconds_for_seconds", "seconds_for_milliseconds")
"""Reasons that go away when times are read in another way."""
TIME_UNSEEN = frozenset((*takewhile(lambda reason: reason not in OF_THE_TIME, REASONS), *OF_THE_TIME))
"""Reasons of rows whose time was not understood, or was not looked at because something else came first."""
OTHER_TIMES = ("unix_seconds", "iso", "unix_milliseconds")
log = logging.getLogger("behavior")


class ReaderSettings(BaseModel):
    """What is needed to read and clean events as those of a log were."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceConfig
    present: list[str]
    """Optional columns that the log has."""
    index: EventIndex
    product_attributes: list[str] = []
    """What the side table of products holds; empty: there is none."""
    products_dated: bool = False

    @classmethod
    def of(cls, source: SourceConfig, present: Sequence[str], index: EventIndex, products: LoadedTable | None) -> Self:
        """Take what a log's stages know, without where its files lie."""
        nothing = SourceConfig()
        tables = {"users": nothing.users, "products": nothing.products, "consent": nothing.consent}
        bare = source.model_copy(update=tables)
        return cls(
            source=bare.model_copy(update={"query": ""}),
            present=list(present),
            index=index.model_copy(update={"parts": [], "buckets": 1}),
            product_attributes=list(products.attributes) if products else [],
            products_dated=bool(products and products.dated),
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """The rows of one request."""

    users: dict[str, Any]
    """Pseudonym → the id as the caller wrote it, in the order in which they first come up."""
    events: pa.Table
    """Rows that are events, with PARSED_COLUMNS."""
    aside: Counter[str]
    """Rows that are none, by reason."""

    @property
    def last(self) -> datetime | None:
        """The last instant, naive UTC; None without events."""
        return pc.max(self.events["timestamp"]).as_py()


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads and cleans requests."""

    settings: ReaderSettings
    folder: Path
    """Holds the bounds and medians."""
    products: LoadedTable | None
    key: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(KEY_BYTES))

    @classmethod
    def load(cls, settings: ReaderSettings, folder: Path) -> Self:
        """Read the side table of products, if there is one."""
        if not settings.product_attributes:
            return cls(settings=settings, folder=folder, products=None)
        table = LoadedTable(
            name="products",
            rows=pq.read_table(folder / PRODUCTS_FILE),
            attributes=tuple(settings.product_attributes),
            dated=settings.products_dated,
            facts={},
        )
        return cls(settings=settings, folder=folder, products=table)

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the tables that every request needs, once."""
        make_action_words(connection, self.settings.source)
        if self.products is not None:
            connection.register("side_rows", self.products.rows)
            connection.execute("CREATE TABLE side_products AS SELECT * FROM side_rows")
            connection.unregister("side_rows")

    def read(self, connection: duckdb.DuckDBPyConnection, rows: pd.DataFrame, *, read_on: date) -> Request:
        """Return the events of a request.

        Args:
            connection: as `prepare` left it, or a cursor of it.
            rows: canonical columns; all but the required ones may be missing.
            read_on: later days lie in the future.

        Raises:
            UserError: when a column is missing, or no row is an event.
        """
        layout = _lay_out(rows.columns, self.settings.source)
        batch = pa.RecordBatch.from_arrays([_cells(rows[name]) for name in layout.names], list(layout.names))
        judged = self._judge(connection, batch, layout, read_on)
        is_event = pc.is_null(judged["reason"])
        _refuse_nothing(judged, self.settings.source)
        good = judged.filter(is_event).select([c.name for c in EVENT_COLUMNS])
        if self.products is not None:
            connection.register("good", good)
            query = fill_sql("good", tuple(good.column_names), {"products": self.products})
            good = connection.sql(query).to_arrow_table()
            connection.unregister("good")
        events = replace_ids(mask_columns(good), self.key)
        place = events.schema.get_field_index("shopper")
        aside = Counter(judged.filter(pc.invert(is_event))["reason"].to_pylist())
        if aside:
            log.warning("Rows of a request stand aside: %s", ", ".join(f"{n} {reason}" for reason, n in aside.items()))
        return Request(
            users=self._users(judged, rows["user_id"]),
            events=events.set_column(place, "shopper", events["shopper"].cast(pa.string())),
            aside=aside,
        )

    def clean(self, connection: duckdb.DuckDBPyConnection, request: Request, until: datetime, table: str) -> None:
        """Make a table of a request's clean events from before an instant (naive UTC)."""
        connection.register("request", request.events)
        connection.execute(f"""CREATE TEMP TABLE events AS
            SELECT DISTINCT {PARSED_NAMES} FROM request WHERE timestamp < TIMESTAMP '{until}'""")
        connection.unregister("request")
        settings = self.settings
        rules = cleaning_rules(
            settings.index.clean,
            settings.present,
            timezone=settings.source.timezone,
            coarsening=settings.index.coarsening,
        )
        clean_table(connection, rules)
        connection.execute(f"CREATE TEMP TABLE kept AS SELECT {rules.values} FROM events")
        connection.execute("DROP TABLE events")
        clean = BucketEvents(files=(), index=settings.index, folder=self.folder, relation="kept")
        connection.execute(f"CREATE TABLE {table} AS {clean.sql()}")

    def _judge(
        self, connection: duckdb.DuckDBPyConnection, batch: pa.RecordBatch, layout: Layout, read_on: date
    ) -> pa.Table:
        """Type and judge the rows; times are read as the log's, or else in the first other way that tells a row's."""
        block, source = read_batch(batch, layout), self.settings.source
        kind = batch.schema.field("timestamp").type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            source = source.model_copy(update={"time_format": "iso"})
        connection.execute(f"SET TimeZone = '{source.timezone}'")
        connection.register("batch", block.cells)
        judged = None
        for form in (source.time_format, *OTHER_TIMES):
            tried = source.model_copy(update={"time_format": form})
            query = parse_sql(layout, tried, read_on=read_on, plain=block.plain)
            found = connection.sql(query).to_arrow_table().sort_by("position")
            judged = found if judged is None else judged
            if not set(found["reason"].to_pylist()) <= TIME_UNSEEN:
                judged = found
                break
        connection.unregister("batch")
        connection.execute("SET TimeZone = 'UTC'")
        return judged

    def _users(self, judged: pa.Table, written: pd.Series) -> dict[str, Any]:
        users: dict[str, Any] = {}
        for plain, row in zip(judged["user_id"].to_pylist(), judged["position"].to_pylist(), strict=True):
            if plain is not None:
                users.setdefault(plain, written.iloc[row])
        return {pseudonym(plain, self.key): as_written for plain, as_written in users.items()}


def _lay_out(found: Collection[str], config: SourceConfig) -> Layout:
    """Return where the canonical columns stand; others are not read."""
    needed = [name for name in REQUIRED_COLUMNS if not (name == "action" and config.default_action)]
    if missing := [name for name in needed if name not in found]:
        close = {name: nearest(name, [str(other) for other in found]) for name in missing}
        raise UserError(
            f"The table lacks {'a column' if len(missing) == 1 else f'{len(missing)} columns'}: {', '.join(missing)}.",
            found=f"columns {', '.join(map(str, found))}",
            expected=", ".join(c.name if c.required else f"{c.name}?" for c in EVENT_COLUMNS),
            next_step="; ".join(f"call {other} {name}" for name, other in close.items() if other) or "add them",
        )
    names = tuple(c.name for c in EVENT_COLUMNS if c.name in found)
    return Layout(names=names, places={name: place for place, name in enumerate(names)}, has_header=False)


def _cells(column: pd.Series) -> pa.Array:
    """Return a column as Arrow holds it; one of mixed values as text."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        instants = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
        return pa.array(instants, pa.timestamp("us", "UTC"), from_pandas=True)
    if column.dtype != object:
        found = pa.Array.from_pandas(column)
        # Tables that were put together hold their texts in several chunks.
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if all(isinstance(value, datetime) or pd.isna(value) for value in column) and not column.isna().all():
        return _cells(pd.to_datetime(column, utc=any(value.tzinfo for value in column.dropna())))
    values = (None if pd.api.types.is_scalar(value) and pd.isna(value) else str(value) for value in column)
    return pa.array((value and value.encode("utf-8", "replace").decode() for value in values), pa.string())


def _refuse_nothing(judged: pa.Table, config: SourceConfig) -> None:
    """Refuse a request without any event, unless its rows are such as a log of this kind is known for.

    Raises:
        UserError: naming the first row of each reason.
    """
    if not len(judged):
        raise UserError("The table has no rows.", expected="one row an event")
    reasons = judged["reason"].to_pylist()
    bad = [n for n, reason in enumerate(reasons) if reason and reason not in config.reasons_that_are_not_bad]
    if len(bad) < len(judged):
        return
    first: dict[str, int] = {}
    for row in bad:
        first.setdefault(reasons[row], row)
    found = judged["found"].to_pylist()
    raise UserError(
        f"No row of the table is an event ({len(bad):,} of {len(bad):,} are not).",
        found="\n".join(f"row {row}: {reason}, {found[row]}" for reason, row in first.items()),
        expected="\n".join(f"{reason}: {REASONS[reason]}" for reason in first),
    )


def raw_rows(files: Sequence[Path], shoppers: Sequence[str], source: SourceConfig) -> pd.DataFrame:
    """Return parsed events of some shoppers as a request may hold them, their pseudonyms as `user_id`.

    Args:
        files: events as `ingest` leaves them.
        shoppers: pseudonyms.
        source: whose codes of ages and genders are written again, since a log that has codes is read by them.
    """
    with duckdb.connect() as connection:
        table = connection.execute(
            f"""SELECT {PARSED_NAMES} FROM {parquet_sql(files)}
            WHERE shopper IN (SELECT unnest(CAST(? AS VARCHAR[]))) ORDER BY ALL""",
            [list(shoppers)],
        ).df()
    codes: dict[str, Mapping[str, Any]] = {"age": source.age_codes, "gender": source.gender_codes}
    for column, coded in codes.items():
        if coded:
            # Of several codes of one word, the first one counts.
            words = {str(word).lower(): code for code, word in reversed(list(coded.items())) if word is not None}
            told = table[column].astype("Int64") if column == "age" else table[column]
            table[column] = [None if pd.isna(value) else words.get(str(value)) for value in told]
    table["timestamp"] = table["timestamp"].dt.tz_localize("UTC")
    return table.rename(columns={"shopper": "user_id"})
