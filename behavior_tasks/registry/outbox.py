"""The outbox: what a run has to tell MLflow, in files of the state folder until MLflow has taken it.

In come records (a start, live figures, results, a model, a promotion, an end), each written whole before anything is
sent; out come the runs with records that wait, and the ones that are still open. The one thing to know: a record is
delivered by doing what can be repeated and then renaming its file, so a crash in between doubles nothing.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.artifacts import SCHEME, write_durably
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.registry import store

KINDS: tuple[str, ...] = ("start", "live", "results", "model", "promotion", "end")
"""Kinds of records, in the order in which they are delivered."""
PROBLEM = "problem.txt"


class Entry:
    """The records of one run.

    Args:
        home: the state folder.
        run_id: the run's own id, which names the folder.
    """

    def __init__(self, home: Home, run_id: str) -> None:
        self.run_id = run_id
        self.folder = home.registry / "outbox" / run_id

    @property
    def exists(self) -> bool:
        """Whether anything was recorded that is not delivered to its end."""
        return any(self.folder.glob("*.json"))

    @property
    def waiting(self) -> list[str]:
        """Kinds of the records that MLflow has not taken yet, in the order of delivery."""
        return [kind for kind in KINDS if self._waiting(kind).is_file()]

    @property
    def open(self) -> bool:
        """Whether the run has been started and not been ended."""
        return self.read("start") is not None and self.read("end") is None

    @property
    def problem(self) -> str | None:
        """Why the last delivery was not the whole of it."""
        path = self.folder / PROBLEM
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def put(self, kind: str, content: Mapping[str, Any]) -> None:
        """Write a record; one of the same kind that is there already gives way to it.

        Raises:
            UserError: when the disk is full.
        """
        make_folder(self.folder)
        write_durably(self._waiting(kind), json.dumps(content, ensure_ascii=False, indent=1).encode())

    def add_points(self, about: Mapping[str, Any], points: Sequence[Sequence[Any]]) -> None:
        """Add points of curves to those that wait.

        Args:
            about: what `record` gave.
            points: key, value, step and milliseconds of each.
        """
        with self.lock():
            waiting = self._waiting("live")
            earlier = json.loads(waiting.read_bytes())["points"] if waiting.is_file() else []
            self.put("live", {**about, "points": [*earlier, *points]})

    def read(self, kind: str) -> dict[str, Any] | None:
        """Return a record, delivered or not; the one that waits comes first."""
        for path in (self._waiting(kind), self._sent(kind)):
            try:
                return dict(json.loads(path.read_bytes()))
            except FileNotFoundError:
                continue
        return None

    def sent(self, kind: str, **result: Any) -> None:
        """Note that a record is delivered, with what that gave."""
        if result:
            self.put(kind, {**(self.read(kind) or {}), **result})
        self._waiting(kind).replace(self._sent(kind))

    def drop(self, kind: str) -> None:
        """Take back a record that will never be delivered."""
        self._waiting(kind).unlink(missing_ok=True)
        if not self.exists:
            self.remove()

    def tell(self, problem: str | None) -> None:
        """Keep why something waits, or that nothing does."""
        if problem is not None:
            write_durably(self.folder / PROBLEM, problem.encode())
        else:
            (self.folder / PROBLEM).unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget the run: all of it is delivered."""
        # First out of sight: half a folder must not look like a run without an end.
        away = self.folder.with_name(f".{self.folder.name}.delivered")
        shutil.rmtree(away, ignore_errors=True)
        self.folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)
        self.forget_lock()

    def lock(self) -> FileLock:
        """Return the lock that who delivers this run's records must hold."""
        make_folder(self.folder.parent)
        return FileLock(self._lock_file)

    def forget_lock(self) -> None:
        """Take the lock's file away, once the run is delivered; who still waits for it finds nothing to deliver."""
        self._lock_file.unlink(missing_ok=True)

    @property
    def _lock_file(self) -> Path:
        # Beside the folder, which goes away once all is delivered, perhaps while somebody waits for the lock.
        return self.folder.with_name(f".{self.run_id}.lock")

    def _waiting(self, kind: str) -> Path:
        return self.folder / f"{kind}.json"

    def _sent(self, kind: str) -> Path:
        return self.folder / f"{kind}.sent.json"


def record(home: Home, config: Config, **content: Any) -> dict[str, Any]:
    """Return a record that knows which MLflow it is for."""
    return {"store": store.public_uri(home), "registry": config.registry.model_dump(mode="json"), **content}


def entries(home: Home) -> Iterator[Entry]:
    """Yield the runs whose records are not delivered to their end, the longest there first; parents before children."""
    folders = [path for path in (home.registry / "outbox").glob("[!.]*") if path.is_dir()]
    for folder in sorted(folders, key=lambda path: ("@" in path.name, path.name)):
        yield Entry(home, folder.name)


def artifacts(home: Home) -> set[str]:
    """Return the URIs of the artifacts whose files a record that waits still needs."""
    found: set[str] = set()
    for entry in entries(home):
        for kind in entry.waiting:
            found |= set(_artifacts(entry.read(kind)))
    return found


def _artifacts(value: object) -> Iterator[str]:
    """Yield the artifacts that a record names, as URIs or as files below the state folder."""
    if isinstance(value, str):
        parts = value.removeprefix(SCHEME).removeprefix("artifacts/").split("/")
        if value.startswith((SCHEME, "artifacts/")) and len(parts) > 1:
            yield f"{SCHEME}{parts[0]}/{parts[1]}"
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _artifacts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _artifacts(part)
