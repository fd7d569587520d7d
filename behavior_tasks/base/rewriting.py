"""Rewriting finished folders without some people: a folder and a work that replaces files in a copy of it, in; the
same folder with fewer rows, whole or not at all, out.

This is the one exception to "a finished key is never written again": an erasure must not change a key, or everything
that stands on it would be made anew. The one thing to know: the copy is made of links, so what the work leaves alone
costs nothing, and a file must be replaced, never written into.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import (
    MANIFEST,
    Artifact,
    ErasedRows,
    FileEntry,
    flush,
    hash_file,
    hash_of,
    write_durably,
)
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.workfolder import exchange, replacement_of, work_folder

Work = Callable[[Path], int]
"""Replaces files in the folder that it is given, and returns how many rows went."""


def rewrite_artifact(
    artifact: Artifact, *, request: str, when: str, work: Work, facts: Callable[[dict[str, Any]], dict[str, Any]]
) -> int:
    """Let a work take rows out of a finished artifact, under the same key.

    Killed at any step, the artifact is there as before or as afterwards, whole. File hashes are renewed; the manifest
    keeps `rows` as they were counted when it was made, and says in `erased` what went since.

    Args:
        artifact: from the store; nobody else may be at work (`alone_with_artifacts`).
        request: the erasure's id.
        when: its instant, ISO.
        work: replaces files; when it says that no row went, nothing is changed.
        facts: returns the facts to keep.

    Returns:
        The rows that went.
    """
    manifest = artifact.manifest

    def renewed(folder: Path) -> int:
        rows = work(folder)
        if not rows:
            return 0
        files = {
            name: entry
            if (folder / name).stat().st_ino == (artifact.path / name).stat().st_ino
            else FileEntry(bytes=(folder / name).stat().st_size, sha256=hash_file(folder / name))
            for name, entry in manifest.files.items()
            if (folder / name).exists()
        }
        erased = (*manifest.erased, ErasedRows(request=request, when=when, rows=rows))
        hashed = manifest.content_hash and hash_of(manifest.content_hash, *(one.sha256 for one in files.values()))
        renewals = {"files": files, "erased": erased, "content_hash": hashed, "facts": facts(manifest.facts)}
        told = manifest.model_copy(update=renewals)
        write_durably(folder / MANIFEST, told.model_dump_json(indent=2).encode())
        return rows

    return rewrite_folder(artifact.path, renewed)


def rewrite_folder(place: Path, work: Work) -> int:
    """Let a work replace files in a copy of a folder, and put the copy in the folder's place, whole or not at all.

    Args:
        place: a finished folder.
        work: when it says that no row went, nothing is changed.

    Returns:
        The rows that went.

    Raises:
        UserError: when the disk fills up; nothing is changed then.
    """
    try:
        with work_folder(place.parent, "rewritten") as folder:
            _link(place, folder)
            rows = work(folder)
            if rows:
                for file in folder.rglob("*"):
                    if file.is_file() and file.stat().st_nlink == 1:
                        flush(file)
                folder.rename(replacement_of(place))
                exchange(place)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise UserError(
            "The disk of the state folder filled up; what was being rewritten is as it was.",
            found=f"{place.parent.name}/{place.name}",
            next_step="free some space, then the same command goes on",
        ) from None
    return rows


def _link(source: Path, folder: Path) -> None:
    """Fill a folder with links to the files of another one; with copies where there can be no links."""
    for file in sorted(source.rglob("*")):
        new = folder / file.relative_to(source)
        if file.is_dir():
            new.mkdir(exist_ok=True)
            continue
        try:
            os.link(file, new)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}:
                raise
            shutil.copy2(file, new)
