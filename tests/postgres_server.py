"""A Postgres server of the tests' own: on a free port of this machine, with a password, gone at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "anna"


@contextmanager
def private_postgres(password: str) -> Iterator[str]:
    """Start a private server; give `host:port`. Where Postgres is not installed, the test is skipped."""
    folder = _binaries()
    if folder is None:
        pytest.skip("no Postgres server here: apt-get install postgresql")
    # Postgres refuses to run as root, and the user who runs it must get through to its folder.
    place = Path(tempfile.mkdtemp(prefix="behavior-postgres-"))
    become: list[str] = []
    if os.getuid() == 0:
        shutil.chown(place, "postgres")
        become = ["runuser", "-u", "postgres", "--"]
    (place / "password").write_text(password, encoding="utf-8")
    data, port = place / "data", free_port()

    def run(*words: str) -> None:
        subprocess.run([*become, *words], check=True, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    run(
        str(folder / "initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256", "--no-sync",
        f"--pwfile={place / 'password'}", "--encoding=UTF8", "--no-locale",
    )  # fmt: skip
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(folder / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(place / "log"), "-w", "start")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        run(str(folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binaries() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (folders[-1] if folders else None)
    return Path(found).parent if found else None
