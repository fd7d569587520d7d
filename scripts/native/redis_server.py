"""A Redis server of the cluster's own: folder, port and password in; its settings and command out.

One thing to know: the password stands in a file that only its owner may read, not in the list of processes, and
whatever is queued is on disk within a second.
"""

import os
import shutil
from pathlib import Path

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder

SETTINGS = "redis.conf"


def command(folder: Path) -> tuple[str, ...]:
    """Return what starts the server.

    Raises:
        UserError: when Redis is not installed.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise UserError("The program redis-server is not installed here.", next_step="apt-get install redis-server")
    return (found, str(folder / SETTINGS))


def prepare(folder: Path, port: int, password: str) -> None:
    """Write the server's settings (mode 0600)."""
    make_folder(folder)
    lines = (
        "bind 127.0.0.1",
        "protected-mode yes",
        f"port {port}",
        f'requirepass "{password}"',
        f"dir {folder}",
        "appendonly yes",
        "daemonize no",
    )
    path = folder / SETTINGS
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write("\n".join(lines) + "\n")
