"""Start the MLflow server with accounts that are kept in Postgres.

In come MLFLOW_BACKEND_STORE_URI, BEHAVIOR_MLFLOW_URL and MLflow's own options; out comes the server, in this process's
place. The one thing to know: MLflow reads the address of its accounts, password included, only from a file, so one is
written first, into a folder that only this user can enter and that no server gives out.
"""

import configparser
import hashlib
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

ADMIN = "admin"
PERMISSION = "READ"
"""What every account may do with everybody else's runs and models."""
PLACE = Path("/tmp")  # noqa: S108  # below it a folder of our own, mode 0700; TMPDIR may be on a volume
PRIVATE = 0o700
PUBLIC_URL, HOSTS, ORIGINS = "BEHAVIOR_MLFLOW_URL", "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"


def main(options: list[str]) -> None:
    """Write the file and become the server."""
    address = os.environ.get("MLFLOW_BACKEND_STORE_URI")
    if not address:
        sys.exit("The variable MLFLOW_BACKEND_STORE_URI is not set.\n  next:     make secrets, which writes .env")
    if temporary := os.environ.get("TMPDIR"):
        Path(temporary).mkdir(parents=True, exist_ok=True)
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(write_accounts(private_folder(address), address))
    os.environ.update(let_in(os.environ.get(PUBLIC_URL, ""), os.environ.get(HOSTS, "")))
    server = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *options]
    os.execv(sys.executable, server)  # noqa: S606  # the options are the deployment's own


def let_in(public: str, hosts: str) -> dict[str, str]:
    """Return the variables with which the server answers under its public address too.

    >>> let_in("https://mlflow.example.com/", "localhost:*")["MLFLOW_SERVER_ALLOWED_HOSTS"]
    'localhost:*,mlflow.example.com'
    >>> let_in("", "localhost:*")
    {}
    """
    parts = urlsplit(public)
    if not parts.netloc:
        return {}
    return {
        HOSTS: ",".join(filter(None, [hosts, parts.netloc])),
        # The page's own requests name where it was loaded from.
        ORIGINS: f"{parts.scheme}://{parts.netloc}",
    }


def private_folder(address: str) -> Path:
    """Return this user's folder for the server of a database, the same after every restart."""
    name = hashlib.sha256(address.rpartition("@")[2].encode()).hexdigest()[:12]
    folder = PLACE / f"behavior-mlflow-{os.getuid()}-{name}"
    folder.mkdir(mode=PRIVATE, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o777 != PRIVATE:
        sys.exit(f"The folder {folder} belongs to somebody else.\n  next:     delete it, then start the server again")
    return folder


def write_accounts(folder: Path, address: str) -> Path:
    """Write the file that MLFLOW_AUTH_CONFIG_PATH names, with mode 0600, and return its path."""
    path = folder / "accounts.ini"
    path.unlink(missing_ok=True)
    parser = configparser.ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": PERMISSION,
        # MLflow's parser takes % for the start of a reference.
        "database_uri": address.replace("%", "%%"),
        "admin_username": ADMIN,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        # A password is checked in half a second by design: once a minute for each account, not at every request.
        "auth_cache_ttl_seconds": "60",
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        parser.write(stream)
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
