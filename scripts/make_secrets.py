"""Make the file `.env` with every secret of a deployment, once.

In comes the project's folder; out comes `.env`, readable by its owner only, or a sentence saying why not. The one thing
to know: a file that is there stays as it is, because new passwords would lock everybody out of the old databases;
`--rotate NAME` renews one secret that can be renewed. Needs nothing but Python.
"""

import argparse
import os
import re
import secrets
import stat
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PASSWORD_BYTES, KEY_BYTES = 24, 32
IDENTITY = "BEHAVIOR_IDENTITY_KEY"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def password() -> str:
    """Return a new password: hexadecimal digits, so that it may stand in an address or a shell as it is."""
    return secrets.token_hex(PASSWORD_BYTES)


def key() -> str:
    """Return a new key of 32 bytes as hexadecimal digits."""
    return secrets.token_hex(KEY_BYTES)


def fernet_key() -> str:
    """Return a new key in the form that Fernet (cryptography) asks for: 32 bytes, URL-safe base64."""
    return urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


SECRETS: Mapping[str, tuple[Callable[[], str], str]] = {
    "POSTGRES_PASSWORD": (password, "superuser of Postgres; only the set-up uses it"),
    "AIRFLOW_DB_PASSWORD": (password, "role and database airflow"),
    "MLFLOW_DB_PASSWORD": (password, "role and database mlflow"),
    "REDIS_PASSWORD": (password, "the broker"),
    "AIRFLOW_FERNET_KEY": (fernet_key, "encrypts connections and variables in Airflow's database"),
    "AIRFLOW_JWT_SECRET": (key, "signs the tokens of pages and tasks; the same in every part of Airflow"),
    "AIRFLOW_API_SECRET_KEY": (key, "signs sessions, and the requests for a worker's logs"),
    "AIRFLOW_ADMIN_PASSWORD": (password, "account admin of Airflow's page"),
    "MLFLOW_FLASK_SECRET_KEY": (key, "signs forms of MLflow's page"),
    "MLFLOW_ADMIN_PASSWORD": (password, "account admin of MLflow's page"),
    "MLFLOW_BEHAVIOR_PASSWORD": (password, "account behavior of MLflow, which the tasks use"),
    IDENTITY: (key, "makes the pseudonyms of shoppers; with another key everybody is somebody else"),
    "S3_SECRET_KEY": (password, "the S3-compatible store (profile s3)"),
    "SPARK_AUTH_SECRET": (password, "Spark's parts among themselves (profile spark)"),
}
"""Name → how it is made, and what it is for."""
KEPT = {
    "POSTGRES_PASSWORD": "change it in Postgres itself (ALTER ROLE postgres PASSWORD …), then in .env",
    "AIRFLOW_FERNET_KEY": "put the new key before the old one, NEW,OLD, and run `airflow rotate-fernet-key`",
    IDENTITY: "it can't be renewed: every shopper would get another pseudonym",
}
"""What a new value alone would break, and what to do instead."""
HEAD = """\
# The secrets of this deployment, made by `make secrets`. Keep a copy in a safe place, never in the repository.
# Ports, addresses, schedules and profiles may be added below: docs/deployment.md lists them.
"""


class CannotError(Exception):
    """What stands in the way; its text says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Make `.env`, or renew one secret in it; return the exit status."""
    parser = argparse.ArgumentParser(description="Make .env with every secret of a deployment, once.")
    parser.add_argument("--folder", type=Path, default=PROJECT, help="where .env belongs (the project's folder)")
    parser.add_argument("--rotate", metavar="NAME", help="renew one secret of the .env that is there")
    asked = parser.parse_args(arguments)
    try:
        text = rotate(asked.folder, asked.rotate) if asked.rotate else make(asked.folder)
    except CannotError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    return 0


def make(folder: Path) -> str:
    """Write `.env` with a new value for every secret, or add those that it lacks; return what to tell.

    Raises:
        CannotError: when it is complete, others may read it, or it could be committed or built into the image.
    """
    path = folder / ".env"
    _check_kept_out(folder)
    if not os.path.lexists(path):
        write_private(path, HEAD + "".join(_line(name) for name in SECRETS), new=True)
        return f"Made {path.name} (mode 0600) with {len(SECRETS)} secrets: {', '.join(SECRETS)}.\n{_next(path)}"
    text = _read(path)
    lacking = [name for name in SECRETS if not _values(text).get(name)]
    if IDENTITY in lacking:
        # Data may be there already that was made with another key, so no new one is made up.
        raise CannotError(
            f"{path.name} is there already, but without {IDENTITY}; nothing was changed.\n"
            f"  next:     if there is a state folder, add {IDENTITY}=… with the key in its secrets/identity.key\n"
            f"            if not, add {IDENTITY}=$(openssl rand -hex 32); then make secrets again"
        )
    if not lacking:
        raise CannotError(
            f"{path.name} is there already and complete; nothing was changed.\n"
            "  next:     docker compose up --build --detach; to renew one secret: make secrets ROTATE=NAME"
        )
    # An older file, or one that somebody has begun: what it says stays.
    kept = "".join(line for line in text.splitlines(keepends=True) if line.partition("=")[0].strip() not in lacking)
    write_private(path, kept.rstrip("\n") + "\n" + "".join(_line(name) for name in lacking))
    return f"Added to {path.name} what it lacked: {', '.join(lacking)}.\n{_next(path)}"


def rotate(folder: Path, name: str) -> str:
    """Give one secret of `.env` a new value; return what to do now.

    Raises:
        CannotError: when it is no secret of ours, can't be renewed, or is not in the file.
    """
    path = folder / ".env"
    if name not in SECRETS:
        raise CannotError(f"{name} is no secret that this script makes.\n  expected: one of {', '.join(SECRETS)}")
    if name in KEPT:
        raise CannotError(f"{name} can't be renewed by a new value alone.\n  next:     {KEPT[name]}")
    if not path.is_file():
        raise CannotError(f"There is no {path.name} yet.\n  next:     make secrets")
    lines = _read(path).splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.partition("=")[0].strip() == name]
    if not places:
        raise CannotError(f"{name} is not in {path.name}.\n  next:     make secrets, which adds what is missing")
    lines[places[-1]] = _line(name)
    write_private(path, "".join(lines))
    return (
        f"Renewed {name} in {path.name}: {SECRETS[name][1]}.\n"
        "  next:     docker compose up --detach, which starts every part that uses it anew"
    )


def write_private(path: Path, text: str, *, new: bool = False) -> None:
    """Write a file with mode 0600 whole or not at all; with `new`, one that appears meanwhile wins.

    Raises:
        CannotError: when the folder can't be written to, or somebody else was faster.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if new:
                os.link(temporary, path)
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CannotError(f"{path.name} can't be written.\n  found:    {error.strerror}") from None


def _line(name: str) -> str:
    return f"{name}={SECRETS[name][0]()}\n"


def _values(text: str) -> dict[str, str]:
    pairs = re.findall(r"^[ \t]*([A-Z][A-Z0-9_]*)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return dict(pairs)


def _read(path: Path) -> str:
    """Return the file's text; one that others may read, or that is only a link, is refused."""
    if path.is_symlink() or not path.is_file():
        raise CannotError(f"{path.name} is no ordinary file.\n  next:     move it away, then make secrets")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        raise CannotError(
            f"{path.name} can be read by others.\n  found:    mode {mode:o}\n  expected: mode 600\n"
            f"  next:     chmod 600 {path.name}, and renew what somebody may have read: make secrets ROTATE=NAME"
        )
    return path.read_text(encoding="utf-8")


def _check_kept_out(folder: Path) -> None:
    """Refuse where a commit or an image could take `.env` along."""
    for name, keeps_out in ((".gitignore", r"^/?\.env$"), (".dockerignore", r"^(\*|/?\.env)$")):
        file = folder / name
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not re.search(keeps_out, text, re.MULTILINE) or re.search(r"^!/?\.env$", text, re.MULTILINE):
            raise CannotError(f"{name} does not keep .env out.\n  next:     add a line `.env` to {name}, then again")


def _next(path: Path) -> str:
    return (
        f"  read:     the password of admin is AIRFLOW_ADMIN_PASSWORD in {path.name} (MLflow: MLFLOW_ADMIN_PASSWORD)\n"
        f"  keep:     a copy in a safe place; without {IDENTITY} no old pseudonym can be made again\n"
        "  next:     docker compose up --build --detach (docs/deployment.md)"
    )


if __name__ == "__main__":
    sys.exit(main())
