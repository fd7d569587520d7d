"""Resolving pseudonyms: the raw log, the identity key and some pseudonyms in; the shop's own ids of them out.

The ids are read from the log again, hashed, and those wanted are kept: nothing that could be looked up is stored
anywhere. The one thing to know: this undoes what `identities` does, so only an export that is logged may ask for it.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date

import duckdb
import pyarrow as pa

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.inputs import RawFile, check_unchanged
from behavior_tasks.data.parse import make_action_words, parse_sql
from behavior_tasks.data.pieces import PieceEnd, whole_piece
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.sources import layout_of


def raw_ids(
    files: Sequence[RawFile], config: SourceConfig, key: bytes, wanted: Collection[str], *, read_on: date
) -> dict[str, str]:
    """Return pseudonym → raw id, of those wanted that stand in the files.

    Args:
        files: of the log.
        config: how they are read.
        key: the identity key.
        wanted: pseudonyms.
        read_on: the day of the reading; later rows are no events.

    Raises:
        UserError: when a file can't be read, or changes while it is.
    """
    missing, found = set(wanted), dict[str, str]()
    for file in files:
        if not missing:
            break
        for user in _users(file, config, read_on):
            name = pseudonym(user, key)
            if name in missing:
                found[name] = user
                missing.discard(name)
        check_unchanged(file)
    return found


def _users(file: RawFile, config: SourceConfig, read_on: date) -> list[str]:
    """Return the different ids of a file's events, as ingest reads them."""
    users = set[str]()
    for found in read_values(file, config, read_on, "user_id", where="reason IS NULL"):
        users.update(found.column(0).to_pylist())
    return sorted(users)


def read_values(
    file: RawFile, config: SourceConfig, read_on: date, *columns: str, where: str = "true"
) -> Iterator[pa.Table]:
    """Yield the different values that some canonical columns of a file hold together, block by block.

    Args:
        file: of the log.
        config: how it is read.
        read_on: the day of the reading; later rows are no events.
        columns: as `parse_sql` gives them.
        where: SQL over the same, e.g. that the row is an event.

    Raises:
        UserError: when the file can't be read.
    """
    piece = whole_piece(file.path, file.shown, config)
    layout, names = layout_of(file, config), ", ".join(columns)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"SET TimeZone = '{config.timezone}'")
        make_action_words(connection, config)
        for block in read_piece(piece, layout, delimiter=config.delimiter, encoding=config.encoding, is_first=True):
            if isinstance(block, PieceEnd):
                continue
            connection.register("batch", block.cells)
            query = parse_sql(layout, config, read_on=read_on, plain=block.plain)
            yield connection.sql(f"SELECT DISTINCT {names} FROM ({query}) WHERE {where}").to_arrow_table()
            connection.unregister("batch")
