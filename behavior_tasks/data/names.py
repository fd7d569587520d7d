"""Column names of files that name their columns themselves: Parquet, and the keys of JSON lines.

In comes a file or its head; out come the names in their order. The one thing to know: JSON lines may leave keys out,
so all lines of the head are looked at, and a key counts from the first line that has it.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.formats import Head
from behavior_tasks.data.headscan import text_lines
from behavior_tasks.data.rawfile import BYTE_ORDER_MARK


def parquet_names(path: Path, *, shown: str) -> list[str]:
    """Return a Parquet file's columns.

    Raises:
        UserError: when the file is damaged.
    """
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"The Parquet file {shown} is damaged.",
            found=(str(error).splitlines() or ["no footer"])[0][:200],
            next_step="copy or export the file again",
        ) from None


def json_names(head: Head, config: SourceConfig, *, shown: str) -> list[str]:
    """Return the keys of JSON lines.

    Raises:
        UserError: when no line of the head is a JSON object.
    """
    names: dict[str, None] = {}
    lines = [
        line.strip(BYTE_ORDER_MARK + " \t\r\n") for line in text_lines(head, encoding=config.encoding, shown=shown)
    ]
    for line in lines:
        try:
            held = json.loads(line) if line else None
        except ValueError:
            # Broken lines are for the reader, which sets them aside one by one.
            continue
        if isinstance(held, dict):
            names |= dict.fromkeys(held)
    if not names:
        raise UserError(
            f"No line of {shown} is a JSON object.",
            found=f"{len(lines):,} lines of something else",
            expected='one object a line: {"user_id": "u1", "action": "buy", …}',
            next_step="check the export; a list in [ ] must be written one object a line",
        )
    return list(names)
