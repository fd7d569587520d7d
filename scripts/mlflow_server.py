"""Start the MLflow server with accounts that are kept in Postgres.

In comes MLFLOW_BACKEND_STORE_URI and MLflow's own options; out comes the server, in this process's place. The one thing
to know: MLflow reads the address of its accounts, password included, only from a file, so one is written first, into a
folder of its own that only this user can read.
"""

import configparser
import os
import sys
import tempfile
from pathlib import Path

ADMIN = "admin"
PERMISSION = "READ"
"""What every account may do with everybody else's runs and models."""


def main(options: list[str]) -> None:
    """Write the file and become the server."""
    address = os.environ.get("MLFLOW_BACKEND_STORE_URI")
    if not address:
        sys.exit("The variable MLFLOW_BACKEND_STORE_URI is not set.\n  next:     make secrets, which writes .env")
    folder = Path(tempfile.mkdtemp(prefix="mlflow-accounts-"))
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(write_accounts(folder, address))
    server = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *options]
    os.execv(sys.executable, server)  # noqa: S606  # the options are the deployment's own


def write_accounts(folder: Path, address: str) -> Path:
    """Write the file that MLFLOW_AUTH_CONFIG_PATH names, with mode 0600, and return its path."""
    path = folder / "accounts.ini"
    parser = configparser.ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": PERMISSION,
        # MLflow's parser takes % for the start of a reference.
        "database_uri": address.replace("%", "%%"),
        "admin_username": ADMIN,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        parser.write(stream)
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
