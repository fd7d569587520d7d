"""What is kept in the cache as one file: a path in; the JSON that stands there out, marked as used.

The one thing to know: a file's time is that of its last use, so `behavior gc` can tell what nobody reads any more.
"""

import json
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import make_folder


def is_kept(path: Path) -> bool:
    """Whether something is kept there; if so it is marked as used now."""
    if not path.is_file():
        return False
    path.touch()
    return True


def read_kept(path: Path) -> Any:
    """Return the JSON that is kept there, or None."""
    return json.loads(path.read_bytes()) if is_kept(path) else None


def keep_json(path: Path, value: object) -> None:
    """Keep a value, whole or not at all."""
    write_durably(make_folder(path.parent) / path.name, json.dumps(value, ensure_ascii=False).encode())
