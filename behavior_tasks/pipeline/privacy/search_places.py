"""Places: the state folder in; every file in which something about a person could be held, by kind, out.

The one thing to know: the walk lists whatever is there, known or not, so a new kind of file can't be forgotten; what
is left out (the source itself, keys) is named with its reason.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.home import Home

SOURCE_WHY = "the source itself: everybody in the log stands in it"
SECRETS_WHY = "keys and passwords, readable by their owner only; they are what is searched for"
KINDS = {
    "served": "handed out",
    "campaigns": "lists taken away",
    "watch": "watch",
    "cache": "cache",
    "tuning": "tuning",
    "tuned": "tuning",
    "work": "unfinished work",
    "runs": "runs",
    "registry": "ledgers and exports",
    "privacy": "privacy",
    "airflow": "Airflow's logs and files",
    "services": "logs of the services",
    "mlflow": "MLflow",
    "raw": "copies of logs",
}
"""First folder → kind of place."""
SIMULATED = ("events.csv", "oracle.parquet", "users.csv", "products.csv")
"""Files of the simulated shop, which are a source."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One file."""

    path: Path
    shown: str
    """Below the state folder, or a name."""
    kind: str
    bytes: int
    is_source: bool = False
    """Whether it is a log, or a copy of one."""


def list_places(home: Home) -> list[Place]:
    """Return every file below the state folder but the secrets, in order of name."""
    return list(_walk(home.root, home.root))


def folder_places(folder: Path, kind: str) -> list[Place]:
    """Return every file of a folder that lies elsewhere, e.g. of an MLflow server's files."""
    return [
        Place(path=path, shown=f"{kind}: {path.relative_to(folder)}", kind=kind, bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _walk(folder: Path, root: Path) -> Iterator[Place]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if path != root / "secrets":
                yield from _walk(path, root)
        elif entry.is_file(follow_symlinks=True) and not _is_inside(path, root, entry.is_symlink()):
            shown = path.relative_to(root).as_posix()
            yield Place(
                path=path,
                shown=shown,
                kind=kind_of(shown),
                bytes=entry.stat().st_size,
                is_source=_is_source(shown),
            )


def _is_inside(path: Path, root: Path, is_link: bool) -> bool:
    """Whether a link leads to a file that the walk meets anyway."""
    return is_link and path.resolve().is_relative_to(root.resolve())


def kind_of(shown: str) -> str:
    """Return the kind of a file by its place below the state folder.

    >>> kind_of("artifacts/clean/4f0c/events/0000.parquet"), kind_of("served/risk/date=2026-11-23/risk.parquet")
    ('artifact clean', 'handed out')
    """
    first, *rest = shown.split("/")
    if first == "artifacts" and len(rest) > 1:
        return f"artifact {rest[0]}"
    return KINDS.get(first, "other files")


def _is_source(shown: str) -> bool:
    if shown.startswith("raw/"):
        return not shown.startswith("raw/index/")
    return shown.startswith("artifacts/simulate/") and shown.rpartition("/")[2] in SIMULATED
