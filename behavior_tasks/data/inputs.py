"""The input: what a user typed becomes a list of files, each named by the hash of its bytes.

In comes a file, a folder, a pattern, a URL or a database; out come `RawFile`s, sorted by name. The one thing to know:
equal bytes under two names are one file, so a repeated delivery changes nothing; what was left out is reported.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.addresses import full_address, is_database, scheme_of
from behavior_tasks.base.config import Config, SideTable
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.filehashes import FileHashes, changed_meanwhile
from behavior_tasks.data.listing import Listed, base_of, list_local
from behavior_tasks.data.postgres import fetch_query
from behavior_tasks.data.rawfile import check_file
from behavior_tasks.data.remote import Fetched, Place, fetch_all

MOST_NAMED = 3
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One file of the log."""

    path: Path
    shown: str
    """Its name for messages: what the user typed, or what is below it; never a password."""
    name: str
    """Its name for tables and facts, unique in the input: relative to the folder that holds all of them."""
    bytes: int
    sha256: str
    mtime_ns: int
    """Time of the last change, in nanoseconds since 1970, when it was hashed."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What an input holds."""

    files: tuple[RawFile, ...]
    repeated: Mapping[str, str]
    """Name of a file that is left out → name of the file that has the same bytes."""
    empty: tuple[str, ...]
    """Names of files without a byte, left out."""


def resolve_inputs(text: str, config: Config, home: Home) -> tuple[RawFile, ...]:
    """Return the files of an input, sorted by name; a repeated file stands there once.

    Args:
        text: a file, a folder, a pattern such as `logs/**/2026-*.csv.gz`, an fsspec URL, or `postgresql://…`.

    Raises:
        UserError: when there is nothing, or nothing readable, naming the file.
    """
    return find_inputs(text, config, home).files


def find_inputs(
    text: str,
    config: Config,
    home: Home,
    *,
    known: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Inputs:
    """Return the files of an input and what was left out.

    Args:
        text: what the user typed; see `resolve_inputs`.
        known: name → SHA-256 that this run has fixed already: a query is not asked again, a copy not fetched again.
        only: names to look at; None: all. Files that arrived later are then not even opened.
        now_ns: the clock, in nanoseconds since 1970.

    Raises:
        UserError: when there is nothing, or nothing readable, naming the file.
    """
    text = full_address(text, home)
    if is_database(text) or scheme_of(text) not in {"", "file"}:
        place = Place(home=home, min_free_mb=config.engine.min_free_disk_mb, known=known or {})
        fetched = [fetch_query(text, config.source.query, place)] if is_database(text) else fetch_all(text, place)
        return _sort_out([_copied(item) for item in fetched], ())
    listed = list_local(text)
    taken = [item for item in _without_side_tables(listed, config) if only is None or item.name in only]
    empty: list[str] = []
    files: list[RawFile] = []
    hashes = FileHashes(home, now_ns=now_ns)
    for item in taken:
        file = _hashed(item, hashes, alone=len(listed) == 1)
        if file is None:
            empty.append(item.name)
        else:
            files.append(file)
    hashes.close()
    if empty and not files:
        raise UserError(
            f"Every file in {text} is empty.",
            found=_some(empty),
            expected="a header line and rows",
            next_step="check the export that wrote them",
        )
    return _sort_out(files, empty)


def say_left_out(inputs: Inputs) -> None:
    """Log which files are left out, and why."""
    if inputs.repeated:
        pairs = [f"{name} = {kept}" for name, kept in inputs.repeated.items()]
        log.warning("source: files that repeat another are left out (%d): %s", len(pairs), _some(pairs))
    if inputs.empty:
        log.warning("source: empty files are left out (%d): %s", len(inputs.empty), _some(inputs.empty))


def check_unchanged(file: RawFile) -> None:
    """Check that a file is still the one that was hashed.

    Raises:
        UserError: when its size or its time is another.
    """
    try:
        held = file.path.stat()
    except OSError:
        raise changed_meanwhile(file.shown) from None
    if (held.st_size, held.st_mtime_ns) != (file.bytes, file.mtime_ns):
        raise changed_meanwhile(file.shown)


def side_table_path(table: SideTable, beside: Path | None) -> Path:
    """Return where a side table is: beside the log when it is there, else as it is written.

    Args:
        beside: the folder of the log; None when the log is no local file.
    """
    path = Path(table.path).expanduser()
    if beside is not None and not path.is_absolute() and (beside / path).exists():
        return beside / path
    return path


def folder_of(text: str) -> Path | None:
    """Return the folder that a local input lies in, or is; None for a URL or a database."""
    return base_of(text) if scheme_of(text) in {"", "file"} else None


def _without_side_tables(listed: Sequence[Listed], config: Config) -> list[Listed]:
    """Leave out the side tables, which often lie in the log's own folder."""
    tables = [
        t
        for t in (config.source.users, config.source.products, config.source.consent)
        if t.path and not scheme_of(t.path)
    ]
    if len(listed) == 1 or not tables:
        return list(listed)
    places = {side_table_path(table, listed[0].base).resolve() for table in tables}
    return [item for item in listed if item.path.resolve() not in places]


def _hashed(item: Listed, hashes: FileHashes, *, alone: bool) -> RawFile | None:
    """Return a listed file with its hash; None for an empty one among others."""
    if not hashes.remembers(item.path):
        if not alone and item.path.is_file() and item.path.stat().st_size == 0:
            return None
        check_file(item.path, item.shown)
    digest, identity = hashes.sha256(item.path, shown=item.shown)
    return RawFile(
        path=item.path,
        shown=item.shown,
        name=item.name,
        bytes=identity.bytes,
        sha256=digest,
        mtime_ns=identity.mtime_ns,
    )


def _copied(item: Fetched) -> RawFile:
    held = item.path.stat()
    check_file(item.path, item.shown)
    return RawFile(
        path=item.path,
        shown=item.shown,
        name=item.name,
        bytes=held.st_size,
        sha256=item.sha256,
        mtime_ns=held.st_mtime_ns,
    )


def _sort_out(files: list[RawFile], empty: Sequence[str]) -> Inputs:
    """Keep each content once, under its first name."""
    first: dict[str, RawFile] = {}
    repeated: dict[str, str] = {}
    for file in sorted(files, key=lambda file: file.name):
        kept = first.setdefault(file.sha256, file)
        if kept is not file:
            repeated[file.name] = kept.name
    return Inputs(files=tuple(first.values()), repeated=repeated, empty=tuple(empty))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
