"""Clean events as the rooms below read them: one picklable value a bucket of shoppers, and a view made from it.

In comes the artifact of `clean`; out comes a `BucketEvents` for each bucket. The one thing to know: the files hold each
event once, in order, and what is fitted on the train period of the whole log (bounds and medians) is applied on
reading, so that a new night, with new bounds, writes no old event again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import duckdb
from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.config import CleanConfig, MissingRule
from behavior_tasks.base.records import read_record
from behavior_tasks.base.schema import SHOPPER_COLUMNS, order_sql
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_query, parquet_sql, quote
from behavior_tasks.data.coarsen import Coarsening
from behavior_tasks.data.missing import AMOUNT, PRICE, QUANTITY, fill_sequences_sql, lacks_sql
from behavior_tasks.data.outliers import replaced_amount_sql
from behavior_tasks.data.ranges import Range, split_ranges

INDEX_FILE = "events.json"
BOUNDS_FILE = "bounds.parquet"
EVERYBODY = Range(low="", high=None)
NAMES = ", ".join(c.name for c in SHOPPER_COLUMNS)


class EventIndex(BaseModel):
    """What `clean` says about its events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: list[str]
    """Artifacts of the stage `clean-part`."""
    buckets: int
    clean: CleanConfig
    coarsening: Coarsening = Coarsening()
    bounded: bool
    """Whether there are bounds for amounts."""
    medians: list[str]
    """Columns filled with medians, one file `median-<column>.parquet` each."""
    sequences: dict[str, MissingRule]
    """Columns filled from a shopper's neighbouring events."""
    cutoffs: list[datetime]
    """Instants (naive UTC) that no later value may cross when it fills an earlier one."""


@dataclass(frozen=True, kw_only=True)
class BucketEvents:
    """The clean events of one bucket of shoppers."""

    files: tuple[Path, ...]
    range: Range = EVERYBODY
    index: EventIndex | None = None
    """None: the files are as clean as they shall be."""
    folder: Path = field(default=Path())
    """Where the fitted values lie."""
    relation: str | None = None
    """A table of the connection that holds the events instead of files."""

    def create_view(self, connection: duckdb.DuckDBPyConnection, name: str = "events") -> None:
        """Make the view `name` with exactly SHOPPER_COLUMNS, in no particular order."""
        connection.execute(f"CREATE VIEW {name} AS {self.sql()}")

    def stored_sql(self) -> str:
        """Return the query of the bucket's events as they lie in the files, before what is fitted is applied."""
        if self.relation is not None:
            return f"SELECT {NAMES} FROM {self.relation}"
        if not self.files:
            return f"SELECT {', '.join(f'CAST(NULL AS {c.type}) AS {c.name}' for c in SHOPPER_COLUMNS)} WHERE false"
        return f"SELECT {NAMES} FROM {parquet_sql(self.files)} WHERE {self.range.sql()}"

    def until(self, cutoff: datetime) -> Self:
        """Return the events with this cutoff among those that no later value may cross when it fills an earlier one."""
        if self.index is None or not self.index.sequences:
            return self
        cutoffs = sorted({*self.index.cutoffs, cutoff})
        return replace(self, index=self.index.model_copy(update={"cutoffs": cutoffs}))

    def sql(self) -> str:
        """Return the query of the bucket's clean events."""
        query = self.stored_sql()
        if self.index is None:
            return query
        if self.index.sequences:
            query = fill_sequences_sql(self.index.sequences, f"({query})", self.index.cutoffs, "shopper")
        return _fitted_sql(query, self.index, self.folder)


def _fitted_sql(query: str, index: EventIndex, folder: Path) -> str:
    """Apply bounds, what follows from a replaced amount, and medians."""
    if index.bounded:
        amount = replaced_amount_sql(index.clean)
        bounds = f"(SELECT category AS of, low, high, median FROM read_parquet({quote(folder / BOUNDS_FILE)}))"
        query = f"""SELECT {NAMES.replace("amount", f"{amount} AS amount")}
            FROM ({query}) LEFT JOIN {bounds} ON of IS NOT DISTINCT FROM category"""
    query = _coalesced(query, {"price": PRICE, "quantity": QUANTITY})
    for column in index.medians:
        own = f"(SELECT category AS of, median FROM read_parquet({quote(median_file(folder, column))}))"
        median = f"CASE WHEN {lacks_sql(column)} THEN median END"
        if column == "age":
            median = f"CAST(round({median}) AS INTEGER)"
        joined = f"({query}) LEFT JOIN {own} ON of IS NOT DISTINCT FROM category"
        query = f"SELECT * EXCLUDE (of, median) REPLACE (coalesce({column}, {median}) AS {column}) FROM {joined}"
    return _coalesced(query, {"amount": AMOUNT}) if index.medians else query


def _coalesced(query: str, values: Mapping[str, str]) -> str:
    filling = ", ".join(f"coalesce({column}, {value}) AS {column}" for column, value in values.items())
    return f"SELECT * REPLACE ({filling}) FROM ({query})"


def median_file(folder: Path, column: str) -> Path:
    """Return the file of a column's medians: category, median."""
    return folder / f"median-{column}.parquet"


def read_index(artifact: Artifact) -> EventIndex | None:
    """Return the index of an artifact of clean events; None where its events lie in the artifact itself.

    Raises:
        UserError: when it is damaged, or of a newer version.
    """
    path = artifact.path / INDEX_FILE
    if not path.is_file():
        return None
    place = f"artifacts/{artifact.manifest.stage}/{artifact.key}"
    mend = f"delete {place} in the state folder and run again"
    return read_record(EventIndex, path.read_bytes(), f"{place}/{INDEX_FILE}", mend=mend)


def open_events(artifact: Artifact) -> tuple[BucketEvents, ...]:
    """Return the buckets of an artifact of clean events, in bucket order; a shopper lies in exactly one."""
    index = read_index(artifact)
    if index is None:
        return tuple(BucketEvents(files=(file,)) for file in bucket_files(artifact.path / "events"))
    return bucket_events(index, artifact.path, ArtifactStore(artifact.path.parents[1]))


def bucket_events(index: EventIndex, folder: Path, store: ArtifactStore) -> tuple[BucketEvents, ...]:
    """Return the buckets of an index whose fitted values lie in a folder."""
    found: list[tuple[Range, Path]] = []
    for uri in index.parts:
        files = bucket_files(store.open(uri).path / "events")
        found += zip(split_ranges(len(files)), files, strict=True)
    return tuple(
        BucketEvents(
            files=tuple(file for held, file in found if held.meets(wanted)),
            range=wanted,
            index=index,
            folder=folder,
        )
        for wanted in split_ranges(index.buckets)
    )


def hash_events(buckets: Iterable[BucketEvents], *, memory_mb: int = 2048) -> str:
    """Return one hash of all clean events in total order: the same however the log was cut into files."""
    hashes = []
    for bucket in buckets:
        with connect(memory_mb=memory_mb) as connection:
            hashes.append(
                hash_query(connection, f"SELECT {NAMES} FROM ({bucket.sql()}) ORDER BY {order_sql(SHOPPER_COLUMNS)}")
            )
    return combine_hashes(hashes)
