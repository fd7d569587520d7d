"""Clean events as the rooms below read them: one picklable value a bucket of shoppers, and a view made from it.

In comes the artifact that holds the clean events; out comes a `BucketEvents` for each bucket. The one thing to know:
nobody reads the files of that artifact in another way, so what lies in them, and how, is this room's own affair.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import bucket_files, quote


@dataclass(frozen=True, kw_only=True)
class BucketEvents:
    """The clean events of one bucket of shoppers."""

    files: tuple[Path, ...]

    def create_view(self, connection: duckdb.DuckDBPyConnection, name: str = "events") -> None:
        """Make the view `name` with exactly SHOPPER_COLUMNS, in no particular order."""
        columns = ", ".join(c.name for c in SHOPPER_COLUMNS)
        files = ", ".join(map(quote, self.files))
        connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM read_parquet([{files}])")


def open_events(artifact: Artifact) -> tuple[BucketEvents, ...]:
    """Return the buckets of an artifact of clean events, in bucket order; a shopper lies in exactly one."""
    return tuple(BucketEvents(files=(file,)) for file in bucket_files(artifact.path / "events"))
