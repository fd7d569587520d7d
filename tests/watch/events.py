"""Clean events made by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.events import BucketEvents


def write_events(path: Path, rows: Sequence[Mapping[str, object]]) -> BucketEvents:
    """Write events, each with what it names of SHOPPER_COLUMNS, and return them as a bucket."""
    columns = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS)
    table = pd.DataFrame(list(rows)).reindex(columns=[c.name for c in SHOPPER_COLUMNS])
    with connect() as connection:
        connection.register("given", table)
        connection.execute(f"COPY (SELECT {columns} FROM given) TO {quote(path)} (FORMAT parquet)")
    return BucketEvents(files=(path,))
