"""Artifacts: finished results, addressed by what they were made from.

A key is the hash of the stage's name and code, its settings, the keys of its inputs and the hashes of raw
files. Work goes into a temporary folder beside its place, is flushed to disk, gets `manifest.json` last and
is renamed; a finished key is never written again. So a retry costs nothing and nobody reads a half-made folder; what a
killed process left is swept when the stage is next built. The one exception is an erasure (`base.rewriting`): it takes
people out of a finished artifact, whose key stays.
"""

import errno
import hashlib
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.records import read_record
from behavior_tasks.base.workfolder import finish_exchange, flush, sweep, work_folder

SCHEME = "artifact://"
MANIFEST = "manifest.json"
KEY_LENGTH = 20


class Rows(BaseModel):
    """Rows in and out of a stage. Where both are counted in the same unit, they must add up.

    >>> Rows(unit_in="events", unit_out="events", rows_in=5, rows_out=4, removed={"duplicate": 1}).balanced
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit_in: str
    unit_out: str
    rows_in: int
    rows_out: int
    removed: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        """Whether no row is lost: rows in = rows out + removed, per reason."""
        return self.unit_in != self.unit_out or self.rows_in == self.rows_out + sum(self.removed.values())


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class ErasedRows(BaseModel):
    """What an erasure has taken out of an artifact since it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: str
    """The erasure's id in its ledger."""
    when: str
    """Instant, ISO with its zone."""
    rows: int


class Manifest(BaseModel):
    """What an artifact is, where it came from, and what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    code: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    rows: Rows
    content_hash: str | None
    """Hash of the ordered rows, whatever wrote the file; None where a stage has no rows of its own. After an erasure a
    hash of that hash and of the renewed files."""
    facts: dict[str, Any]
    files: dict[str, FileEntry]
    versions: dict[str, str]
    seconds: float
    peak_memory_mb: float
    erased: tuple[ErasedRows, ...] = ()
    """Rows that erasures have taken out since; `rows` and `facts` say what was counted when it was made."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a stage's work returns beside the files it wrote."""

    rows: Rows
    content_hash: str | None = None
    facts: Mapping[str, Any] | None = None
    """Small JSON facts that later stages or people need, e.g. the first and last instant of the log."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished artifact."""

    path: Path
    manifest: Manifest

    @property
    def uri(self) -> str:
        """Where it is, without a path: `artifact://stage/key`."""
        return f"{SCHEME}{self.manifest.stage}/{self.manifest.key}"

    @property
    def key(self) -> str:
        """The hash that addresses it."""
        return self.manifest.key

    @property
    def facts(self) -> dict[str, Any]:
        """The stage's small facts."""
        return self.manifest.facts


class Built(NamedTuple):
    """An artifact, and whether it had been there before."""

    artifact: Artifact
    reused: bool


def hash_of(*parts: object) -> str:
    """Return a short hash of JSON-able values.

    >>> hash_of("a", {"x": 1}) == hash_of("a", {"x": 1}), hash_of("a") == hash_of("b")
    (True, False)
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class ArtifactStore:
    """All artifacts below one folder, as `stage/key/`."""

    def __init__(self, root: Path, *, min_free_disk_mb: int = 0) -> None:
        self.root = root
        self.min_free_disk_mb = min_free_disk_mb

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the finished artifact of this key, or None."""
        path = self.root / stage / key
        try:
            content = (path / MANIFEST).read_bytes()
        except FileNotFoundError:
            if not finish_exchange(path):
                return None
            content = (path / MANIFEST).read_bytes()
        place = f"artifacts/{stage}/{key}"
        manifest = read_record(Manifest, content, f"{place}/{MANIFEST}", mend=_made_anew(place))
        for name, entry in manifest.files.items():
            file = path / name
            if not file.is_file() or file.stat().st_size != entry.bytes:
                raise _damaged(stage, key, f"{name} is missing or has another size")
        return Artifact(path=path, manifest=manifest)

    def open(self, uri: str) -> Artifact:
        """Return the artifact that a URI names.

        Raises:
            UserError: when it is not there or damaged.
        """
        stage, _, key = uri.removeprefix(SCHEME).partition("/")
        artifact = self.find(stage, key) if uri.startswith(SCHEME) and key else None
        if artifact is None:
            raise UserError(
                f"There is no artifact {uri} in the state folder.",
                next_step="run the DAG or `behavior run` again; it makes what is missing",
            )
        return artifact

    def find_built(
        self, *, stage: str, code: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> Artifact | None:
        """Return the artifact that `build` with these arguments has made, or None."""
        return self.find(stage, hash_of(stage, code, settings, inputs))

    def build(
        self,
        *,
        stage: str,
        code: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        work: Callable[[Path, str], Output],
    ) -> Built:
        """Return the artifact of this stage over these inputs, making it unless it is there.

        Args:
            code: digest of the code that does the work.
            settings: the stage's slice of the configuration, JSON-able.
            inputs: name → URI or raw-file hash.
            work: writes its files into the folder it is given; the second argument is the key.
        """
        key = hash_of(stage, code, settings, inputs)
        found = self.find(stage, key)
        if found is not None:
            return Built(found, reused=True)
        place = self.root / stage / key
        sweep(make_folder(place.parent))
        self._check_disk()
        started = time.monotonic()
        try:
            with work_folder(place.parent, key) as temporary:
                output = work(temporary, key)
                if not output.rows.balanced:
                    raise AssertionError(f"stage {stage} lost rows: {output.rows}")
                manifest = Manifest(
                    stage=stage,
                    key=key,
                    code=code,
                    settings=dict(settings),
                    inputs=dict(inputs),
                    rows=output.rows,
                    content_hash=output.content_hash,
                    facts=dict(output.facts or {}),
                    files=_list_files(temporary),
                    versions=_versions(),
                    seconds=round(time.monotonic() - started, 3),
                    peak_memory_mb=_peak_memory_mb(),
                )
                _write(temporary / MANIFEST, manifest.model_dump_json(indent=2).encode())
                _publish(temporary, place)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self._disk_full(stage) from None
        return Built(Artifact(path=place, manifest=manifest), reused=False)

    def _check_disk(self) -> None:
        free_mb = shutil.disk_usage(self.root).free // 2**20
        if free_mb < self.min_free_disk_mb:
            raise UserError(
                "The disk of the state folder is nearly full; nothing was written.",
                found=f"{free_mb} MB free",
                expected=f"at least {self.min_free_disk_mb} MB (engine.min_free_disk_mb)",
                next_step="free some space, or point BEHAVIOR_HOME at another disk",
            )

    def _disk_full(self, stage: str) -> UserError:
        return UserError(
            f"The disk of the state folder filled up during the stage {stage}; its half-written files are gone.",
            next_step="free some space, or point BEHAVIOR_HOME at another disk, and run again",
        )


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that, after a crash, it is there whole or not at all.

    Raises:
        UserError: when the disk is full; what stood there before stays.
    """
    try:
        _write(path, content)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(
            f"The disk of the state folder is full: {path.name} can't be written.",
            next_step="free some space, or point BEHAVIOR_HOME at another disk, and run again",
        ) from None


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def _publish(temporary: Path, place: Path) -> None:
    """Flush every file, then rename the folder to its place; the first of two equal builds wins."""
    for file in temporary.rglob("*"):
        if file.is_file():
            flush(file)
    try:
        temporary.rename(place)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    flush(place.parent)


def _list_files(folder: Path) -> dict[str, FileEntry]:
    return {
        str(file.relative_to(folder)): FileEntry(bytes=file.stat().st_size, sha256=hash_file(file))
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@cache
def _versions() -> dict[str, str]:
    named = ("behavior-tasks", "duckdb", "pandas", "scikit-learn", "torch", "transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in named}}


def _peak_memory_mb() -> float:
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(max(usages) / 1024, 1)


def _damaged(stage: str, key: str, what: str) -> UserError:
    return UserError(
        f"The artifact {SCHEME}{stage}/{key} is damaged.",
        found=what,
        next_step=_made_anew(f"artifacts/{stage}/{key}"),
    )


def _made_anew(place: str) -> str:
    return f"delete {place} in the state folder and run again"
