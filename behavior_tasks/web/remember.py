"""What the page has read already: a name, the files it was read from and how to read it in; the value out.

A value is kept in memory until one of its files changes. The one thing to know: only the newest value of a name is
kept, and a process that serves pages lives long, so names must be few.
"""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from threading import Lock
from typing import TypeVar

Value = TypeVar("Value")
Seen = tuple[tuple[str, int, int], ...]
_kept: dict[Hashable, tuple[Seen, object]] = {}
_lock = Lock()


def remembered(name: Hashable, files: Iterable[Path], make: Callable[[], Value]) -> Value:
    """Return what `make` gives, or gave while the same files were there.

    Args:
        name: of the value, with all that it depends on beside the files.
        files: files and folders; of a folder only counts what is put into it or taken out.
        make: reads it; called without a lock, so two visitors at once may both read.
    """
    seen = tuple(_look(path) for path in files)
    with _lock:
        found = _kept.get(name)
    if found is not None and found[0] == seen:
        return found[1]  # type: ignore[return-value]  # kept under this name by this function
    value = make()
    with _lock:
        _kept[name] = (seen, value)
    return value


def _look(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size
