"""Put a backup on a fresh machine: `python -m scripts.restore FOLDER` in the place of `init`, with its variables.

In come the folder of `scripts.backup` and the `.env` of its day; out come the databases, the state folder and the
MLflow server's files as they were. One thing to know: nothing is overwritten; where something is there already the
restore stops before its first step, and the next start of `init` brings old tables up to today's version.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home, make_folder
from scripts import archive, init_cluster
from scripts.backup import LEFT_OUT, SERVER_FILES, ServerFiles, run_postgres
from scripts.native import postgres


def restore(folder: Path, files: ServerFiles = SERVER_FILES) -> None:
    """Restore a backup into an empty state folder and empty databases."""
    count = restore_backup(folder, files, os.environ)
    typer.echo(f"Restored {count} files from {folder.name}. Next: start everything; `init` upgrades what is older.")


def restore_backup(folder: Path, files: Path, environment: Mapping[str, str]) -> int:
    """Restore a backup and return how many files it had.

    Args:
        folder: the backup.
        files: where the MLflow server is to keep files.
        environment: that of `init`: POSTGRES_SUPERUSER_URI, the roles' passwords and the keys.

    Raises:
        UserError: when the backup is damaged, the keys are others, or there is something already.
    """
    manifest = archive.read_manifest(folder)
    _check_keys(manifest, environment)
    home = current_home().root
    targets = {archive.STATE: home, archive.FILES: files}
    for target in targets.values():
        without = LEFT_OUT if target == home else frozenset[str]()
        if first := next(archive.files_below(target, without=without), None):
            raise UserError(
                f"There is something in the folder {target.name} already.",
                found=first,
                expected="a fresh machine",
                next_step="restore into another BEHAVIOR_HOME, or move the old one away",
            )
    init_cluster.make_databases(environment)
    for name in archive.DATABASES:
        _check_empty(name, environment)
    for part, target in targets.items():
        for path in archive.files_below(folder / part):
            archive.copy_hashed(folder / part / path, make_folder(target) / path)
    for name in archive.DATABASES:
        # As the role that owns the database, so that every table is its own.
        command = [postgres.program("pg_restore"), "--no-owner", f"--role={name}", "--exit-on-error"]
        run_postgres(
            [*command, str(folder / f"{name}.dump")], name, environment, what=f"The database {name} was not restored."
        )
    return len(manifest.files)


def _check_keys(manifest: archive.Manifest, environment: Mapping[str, str]) -> None:
    now = archive.key_fingerprints(environment)
    if other := [name for name, mark in manifest.keys.items() if now.get(name) != mark]:
        raise UserError(
            f"This is not the .env with which {manifest.made_at:%Y-%m-%d} was backed up.",
            found=f"another {' and another '.join(other)}",
            expected=f"the values with the fingerprints {', '.join(manifest.keys[name] for name in other)}",
            next_step="bring back the .env of that day; passwords in it may be new ones",
        )


def _check_empty(database: str, environment: Mapping[str, str]) -> None:
    import psycopg

    query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    with psycopg.connect(f"{environment['POSTGRES_SUPERUSER_URI']}/{database}") as connection:
        row = connection.execute(query).fetchone()
    if row and row[0]:
        raise UserError(
            f"There are tables in the database {database} already.",
            found=f"{row[0]} tables",
            expected="an empty database",
            next_step="restore into a fresh Postgres, before `init` has run there",
        )


def main() -> None:
    """Run the command."""
    try:
        typer.run(restore)
    except UserError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
