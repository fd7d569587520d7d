"""Back up a deployment: `python -m scripts.backup FOLDER` in the place of `init`, with its variables.

In come both databases, the state folder and the MLflow server's files; out comes a folder that `scripts.restore` puts
on a fresh machine. One thing to know: the databases are read first and everything may go on running, because whatever
a database names is never changed afterwards; only `behavior gc` must not run at the same time.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from scripts import archive
from scripts.native import postgres

SERVER_FILES = Path("/mlflow/artifacts")
ServerFiles = Annotated[Path, typer.Option("--files", help="Where the MLflow server keeps files.")]
LEFT_OUT = frozenset(
    {"secrets", "services", "work", "cache", "postgres", "redis", "mlflow-files", "airflow/airflow.cfg"}
)
"""Of the state folder: secrets, what is running, what is made again, and the data of other services."""


def backup(folder: Path, files: ServerFiles = SERVER_FILES) -> None:
    """Write a backup into a folder that is not there yet."""
    count = make_backup(folder, files, os.environ)
    typer.echo(
        f"Backed up {count} files into {folder.name}. Keep it where only you can read it, and `.env` elsewhere:\n"
        f"it is not in there, and without its {' and '.join(archive.KEYS)} nobody can use the rest."
    )


def make_backup(folder: Path, files: Path, environment: Mapping[str, str]) -> int:
    """Write a backup and return how many files it has.

    Args:
        folder: where to; it must not be there.
        files: where the MLflow server keeps files.
        environment: holds POSTGRES_SUPERUSER_URI and the keys whose fingerprints are kept.

    Raises:
        UserError: when the folder is there, or a database can't be read.
    """
    try:
        folder.mkdir(parents=True, mode=archive.PRIVATE)
    except FileExistsError:
        raise UserError(f"The folder {folder.name} is there already.", next_step="give another name") from None
    hashes = {}
    for name in archive.DATABASES:
        _dump(name, folder / f"{name}.dump", environment)
        hashes[f"{name}.dump"] = archive.hash_file(folder / f"{name}.dump")
    sources = {archive.STATE: current_home().root, archive.FILES: files}
    for part, source in sources.items():
        for path in archive.files_below(source, without=LEFT_OUT if part == archive.STATE else frozenset()):
            if path.suffix != ".lock":
                hashes[f"{part}/{path.as_posix()}"] = archive.copy_hashed(source / path, folder / part / path)
    packages = ("behavior-tasks", "apache-airflow", "apache-airflow-providers-fab", "mlflow")
    manifest = archive.Manifest(
        made_at=datetime.now(UTC),
        versions={package: version(package) for package in packages},
        keys=archive.key_fingerprints(environment),
        files=hashes,
    )
    archive.write_manifest(folder, manifest)
    return len(hashes)


def _dump(database: str, target: Path, environment: Mapping[str, str]) -> None:
    command = [postgres.program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    run_postgres(command, database, environment, what=f"The database {database} could not be read.")


def run_postgres(command: list[str], database: str, environment: Mapping[str, str], *, what: str) -> None:
    """Run a program of Postgres on a database as the superuser; no password shows in the list of processes.

    Raises:
        UserError: saying `what`, when it fails.
    """
    uri = environment.get("POSTGRES_SUPERUSER_URI")
    if not uri:
        raise UserError("The variable POSTGRES_SUPERUSER_URI is not set.", next_step="run this where `init` runs")
    known = postgres.login_of(uri)
    done = subprocess.run(
        [*command, f"--dbname={database}"], env={**environment, **known}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(what, found="\n".join(done.stderr.strip().splitlines()[-5:]), next_step="is Postgres running?")


def main() -> None:
    """Run the command."""
    try:
        typer.run(backup)
    except UserError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
