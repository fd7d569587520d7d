"""Lists that were taken away, under other names of the same people: what of the state folder is never made again.

In come old pseudonyms and what they become; out come the same lists with every shopper renamed. The one thing to know:
the new table lies beside the old one before the record names it, so at every moment a list is whole under one of them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import hash_file, write_durably
from behavior_tasks.base.home import Home
from behavior_tasks.base.workfolder import flush
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_taken import PLACE, RECORD, Record

NEXT = f"next-{MEMBERS}"


def every_list(home: Home) -> Iterator[tuple[Path, Record]]:
    """Yield the folder and the record of every list that was taken away, replaced ones too, by place."""
    for path in sorted(home.campaigns.glob(f"*/date=*/*/{RECORD}")):
        if PLACE.fullmatch(path.parent.name):
            yield path.parent, Record.model_validate_json(path.read_bytes())


def shoppers_under(home: Home, key: str) -> set[str]:
    """Return the different shoppers of all lists under a key.

    Args:
        key: its fingerprint.
    """
    found: set[str] = set()
    for folder, record in every_list(home):
        if record.facts.get("identity_key") == key:
            found.update(pq.read_table(folder / MEMBERS, columns=["shopper"])["shopper"].to_pylist())
    return found


def rename_shoppers(home: Home, names: Mapping[str, str], *, before: str, after: str) -> int:
    """Rename the shoppers of all lists under a key, and return how many lists are under the new one.

    Args:
        names: old pseudonym → new one, of everybody on them.
        before: fingerprint of the old key.
        after: of the new one.
    """
    for folder, record in every_list(home):
        if record.facts.get("identity_key") != before:
            continue
        table = pq.read_table(folder / MEMBERS)
        renamed = pa.array([names[shopper] for shopper in table["shopper"].to_pylist()], pa.string())
        place = table.schema.get_field_index("shopper")
        field = table.schema.field(place).with_type(pa.string())
        pq.write_table(table.set_column(place, field, renamed), folder / NEXT)
        flush(folder / NEXT)
        changed = {"facts": {**record.facts, "identity_key": after}, "members": hash_file(folder / NEXT)}
        write_durably(folder / RECORD, record.model_copy(update=changed).model_dump_json(indent=2).encode())
        _put(folder)
    return sum(record.facts.get("identity_key") == after for _, record in every_list(home))


def finish_lists(home: Home) -> None:
    """Put the tables in their place whose record names them already: what a killed rotation has left."""
    for folder, record in every_list(home):
        if (folder / NEXT).is_file():
            if hash_file(folder / NEXT) == record.members:
                _put(folder)
            else:
                (folder / NEXT).unlink()


def _put(folder: Path) -> None:
    (folder / NEXT).replace(folder / MEMBERS)
    flush(folder)
