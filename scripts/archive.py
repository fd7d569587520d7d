"""The folder of a backup: where everything is in it, and its manifest with a SHA-256 for every file.

In come files, out comes the manifest; it is written last, so a folder without one is not a whole backup. One thing to
know: no secret goes in; of the two keys that nothing can be read without, a fingerprint tells the right `.env`.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import hash_file, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.keys import fingerprint

MANIFEST = "manifest.json"
DATABASES = ("airflow", "mlflow")
"""Names of the databases and of the roles that own them."""
STATE, FILES = "state", "mlflow"
"""Folders of a backup: the state folder's content, and the MLflow server's files."""
KEYS = {"BEHAVIOR_IDENTITY_KEY": "BEHAVIOR_IDENTITY_KEY", "AIRFLOW_FERNET_KEY": "AIRFLOW__CORE__FERNET_KEY"}
"""Name in `.env` → variable of a part. Without the first no pseudonym can be made again, without the second Airflow's
connections can't be read."""
PRIVATE = 0o700


class Manifest(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_at: datetime
    versions: dict[str, str]
    """Package → version that wrote the databases."""
    keys: dict[str, str]
    """Variable of `.env` → fingerprint of its value."""
    files: dict[str, str]
    """Path below the backup's folder → SHA-256."""


def key_fingerprints(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what tells the keys of one `.env` from those of another, and nothing else about them."""
    return {name: fingerprint(environment[at].encode()) for name, at in KEYS.items() if environment.get(at)}


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file and return the SHA-256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while block := reader.read(1 << 20):
            digest.update(block)
            writer.write(block)
    shutil.copystat(source, target)
    return digest.hexdigest()


def files_below(folder: Path, *, without: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield the files below a folder, as paths from it, but those below the named paths; links are not followed."""
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if (here / name).as_posix() not in without)
        for name in sorted(names):
            path = here / name
            if path.as_posix() not in without and (folder / path).is_file() and not (folder / path).is_symlink():
                yield path


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, durably: from now on it is a backup."""
    write_durably(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())


def read_manifest(folder: Path) -> Manifest:
    """Return a backup's manifest once every file is there as it was written.

    Raises:
        UserError: when it is no whole backup, or files are missing or changed.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise UserError(
            f"The folder {folder.name} is not a whole backup.",
            found=f"no {MANIFEST}" if isinstance(error, FileNotFoundError) else f"a {MANIFEST} that can't be read",
            next_step="take another backup; the manifest is written last, when everything else is there",
        ) from None
    damaged = [
        name for name, digest in manifest.files.items()
        if not (folder / name).is_file() or hash_file(folder / name) != digest
    ]  # fmt: skip
    if damaged:
        raise UserError(
            f"{len(damaged)} of the {len(manifest.files)} files of the backup {folder.name} are missing or changed.",
            found=", ".join(damaged[:5]),
            expected=f"the SHA-256 that {MANIFEST} names",
            next_step="take another backup",
        )
    return manifest
