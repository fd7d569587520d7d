"""A Postgres server of the cluster's own: folder, port and the superuser's password in; its command out.

The data folder is made once. One thing to know: Postgres refuses to run as root, so for root it runs as the user
`postgres`, who must get through to the folder.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder

UNPRIVILEGED = "postgres"


@dataclass(frozen=True, kw_only=True)
class Login:
    """The superuser."""

    user: str
    password: str = field(repr=False)


def unprivileged() -> str | None:
    """Return the user who must run Postgres when root would; None for anybody else."""
    return UNPRIVILEGED if os.getuid() == 0 else None


def program(name: str) -> str:
    """Return the path of one of Postgres' programs, the newest where there are several.

    Raises:
        UserError: when it is not installed.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(folders[-1]) if folders else shutil.which(name)
    if found is None:
        raise UserError(
            f"The program {name} of Postgres is not installed here.", next_step="apt-get install postgresql"
        )
    return found


def login_of(uri: str) -> dict[str, str]:
    """Return an address of a server as the variables that every program of Postgres reads.

    >>> login_of("postgresql://ann:p%40ss@localhost:5433")
    {'PGHOST': 'localhost', 'PGPORT': '5433', 'PGUSER': 'ann', 'PGPASSWORD': 'p@ss'}
    """
    parts = urlsplit(uri)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
    }


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server keeps its data and listens."""

    folder: Path
    port: int

    @property
    def command(self) -> tuple[str, ...]:
        """What starts it."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "password_encryption": "scram-sha-256",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return (program("postgres"), "-D", str(self.folder / "data"), *words)

    def prepare(self, login: Login) -> None:
        """Make the data folder, unless it is there.

        Raises:
            UserError: when it can't be made.
        """
        data, user = self.folder / "data", unprivileged()
        if (data / "PG_VERSION").is_file():
            return
        make_folder(self.folder)
        if user:
            shutil.chown(self.folder, user)
        # A run that was killed on its way has left half a folder.
        shutil.rmtree(data, ignore_errors=True)
        password = self.folder / "password"
        try:
            with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                stream.write(login.password)
            if user:
                shutil.chown(password, user)
            made = subprocess.run(
                [
                    program("initdb"), "-D", str(data), "-U", login.user, "--auth=scram-sha-256",
                    f"--pwfile={password}", "--encoding=UTF8", "--no-locale", "--data-checksums",
                ],
                user=user, group=user, extra_groups=[] if user else None,
                cwd="/", capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            password.unlink(missing_ok=True)
        if made.returncode != 0:
            raise UserError(
                "Postgres could not make its data folder.",
                found=made.stderr.strip()[-500:],
                expected=f"a state folder that the user {user or 'who runs this'} gets through to",
                next_step="export BEHAVIOR_HOME=/a/folder/below/one/that/everybody/may/enter",
            )
