"""Local files that an input names: one file, all logs in a folder, or all that fit a pattern.

In comes a path as the user typed it; out come files with a name relative to the folder that holds them all. The one
thing to know: hidden files are never taken, and a folder's files only when their ending says that they are logs.
"""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from behavior_tasks.base.addresses import scheme_of
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.formats import ENDINGS, has_known_ending
from behavior_tasks.data.rawfile import not_allowed

SHOWN_NAMES = 5
FILE_SCHEME = "file://"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One local file."""

    path: Path
    shown: str
    name: str
    base: Path
    """The folder that the name is relative to."""


def list_local(text: str) -> list[Listed]:
    """Return the files that a path, a folder, a pattern or a `file://` URL names, sorted by name.

    A single path comes back whether or not there is such a file; whoever reads it says so.

    Raises:
        UserError: for a folder or a pattern without a log, or a folder that may not be read.
    """
    path, base = _path_of(text), base_of(text)
    if _is_folder(path):
        return _in_folder(path, text)
    if _is_pattern(path):
        return _by_pattern(str(path), text, base)
    return [Listed(path=path, shown=text, name=path.name, base=base)]


def base_of(text: str) -> Path:
    """Return the folder that the names of a local input's files are relative to."""
    path = _path_of(text)
    if _is_folder(path):
        return path
    if not _is_pattern(path):
        return path.parent
    fixed = next(n for n, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:fixed]) if fixed else Path()


def _path_of(text: str) -> Path:
    plain = unquote(text[len(FILE_SCHEME) :]) if scheme_of(text) == "file" else text
    return Path(plain).expanduser()


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _in_folder(folder: Path, text: str) -> list[Listed]:
    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise not_allowed(text)
        raise error

    found: list[Path] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                if has_known_ending(path):
                    found.append(path)
                else:
                    others.append(path.relative_to(folder).as_posix())
    if not found:
        raise UserError(
            f"There is no log in the folder {text}.",
            found=f"in it: {', '.join(others[:SHOWN_NAMES])}" if others else "nothing in it",
            expected=f"files that end in {', '.join(ENDINGS)}",
            next_step=f"--input {text.rstrip('/')}/{others[0] if others else 'log.csv'}",
        )
    return _named(found, folder, text.rstrip("/") or "/")


def _by_pattern(pattern: str, text: str, base: Path) -> list[Listed]:
    matched = [path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()]  # noqa: PTH207
    found = [path for path in matched if has_known_ending(path)] or matched
    if not found:
        raise UserError(
            f"No file fits {text}.",
            found=f"{base} is a folder" if base.is_dir() else f"there is no folder {base}",
            next_step="check the pattern; quote it, so that the shell hands it on as it is: --input 'logs/*.csv.gz'",
        )
    return _named(sorted(found), base, str(base))


def _named(paths: list[Path], base: Path, shown: str) -> list[Listed]:
    named = [(path.relative_to(base).as_posix(), path) for path in paths]
    prefix = "" if shown == "." else f"{shown.rstrip('/')}/"
    return [Listed(path=p, shown=prefix + name, name=name, base=base) for name, p in sorted(named)]
