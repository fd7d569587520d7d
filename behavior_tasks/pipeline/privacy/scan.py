"""The scan: the state folder, databases and the logs' own words in; where any of those words stands out.

`behavior privacy scan` searches everything but the source itself for every raw id of the last logs, for addresses and
numbers of people in their texts, and for the keys. The one thing to know: what is looked for is never written or
shown, and what could not be looked at, or not told, is said.
"""

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from behavior_tasks import __version__
from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder, temporary_folder
from behavior_tasks.base.page import render_page
from behavior_tasks.base.progress import measure
from behavior_tasks.pipeline.deployment.settings import BROKER, DATABASE, MLFLOW
from behavior_tasks.pipeline.privacy.search import Found, Hit, Search, Texts
from behavior_tasks.pipeline.privacy.search_databases import read_database
from behavior_tasks.pipeline.privacy.search_files import read_file
from behavior_tasks.pipeline.privacy.search_places import (
    SECRETS_WHY,
    SOURCE_WHY,
    Place,
    folder_places,
    list_places,
)
from behavior_tasks.pipeline.privacy.search_words import SECRET, Wanted, want
from behavior_tasks.pipeline.runs import Run, last_runs

MOST_RUNS = 10_000
METADATA, TRACKING = "Airflow's metadata database", "MLflow server"
LOGS, REMOTE = "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "AIRFLOW__LOGGING__REMOTE_LOGGING"
TEMPLATE = Path(__file__).with_name("scan.html")


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What lies outside the state folder."""

    metadata: str = ""
    """SQLAlchemy address of Airflow's database; empty: it is in the state folder, or there is none."""
    mlflow_database: str = ""
    """SQLAlchemy address of an MLflow server's database."""
    mlflow_files: Path | None = None
    """Folder of an MLflow server's files."""
    mlflow: str = ""
    """Address of an MLflow server."""
    logs: Path | None = None
    """Folder of Airflow's logs, where it is not in the state folder."""
    unseen: tuple[str, ...] = ()
    """What there is and nothing here can read, in words."""

    @classmethod
    def of(
        cls,
        home: Home,
        environment: Mapping[str, str],
        *,
        database: str | None = None,
        mlflow_database: str | None = None,
        mlflow_files: Path | None = None,
    ) -> "Elsewhere":
        """Return what the environment names, where nothing else is named."""
        metadata = database or environment.get(DATABASE, "")
        if metadata.startswith("sqlite") and home.root.as_posix() in metadata:
            metadata = ""  # one of the files of the state folder
        server, folder = environment.get(MLFLOW, ""), environment.get(LOGS, "")
        logs = Path(folder) if folder and not Path(folder).resolve().is_relative_to(home.root.resolve()) else None
        unseen = [f"messages that wait in the broker ({BROKER})"] if environment.get(BROKER) else []
        if environment.get(REMOTE, "").lower() in {"true", "1"}:
            unseen.append(f"Airflow's logs in the storage that {REMOTE} names")
        return cls(
            metadata=metadata,
            mlflow_database=mlflow_database or "",
            mlflow_files=mlflow_files,
            mlflow=server if server.startswith(("http://", "https://")) else "",
            logs=logs if logs is not None and logs.is_dir() else None,
            unseen=tuple(unseen),
        )


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan found."""

    when: datetime
    seconds: float
    asked: Mapping[str, int]
    """Kind of word → how many different ones."""
    short: tuple[str, ...]
    """What could not be told of ids that are short, or a word of something else too, in words."""
    logs: int
    """Files of the source that were read."""
    found: Found

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found.hits

    def as_json(self) -> dict[str, object]:
        """Everything, without a single word that was searched for."""
        return {
            "version": __version__,
            "when": self.when.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "clean": self.clean,
            "logs": self.logs,
            "asked": dict(self.asked),
            "short_ids": list(self.short),
            "found": [asdict(hit) for hit in self.found.hits],
            "searched": {kind: asdict(tally) for kind, tally in sorted(self.found.searched.items())},
            "skipped": self.found.skipped,
            "not_seen": self.found.unseen,
        }


def scan(home: Home, elsewhere: Elsewhere, *, now: datetime, input_path: str | None = None) -> Scan:
    """Search everything but the source for the source's own words.

    Args:
        home: the state folder.
        elsewhere: databases and files outside it.
        now: the time, with its zone.
        input_path: the log; None: those of all runs that are still there.

    Raises:
        UserError: when there is no log to take the words from, or a database does not answer.
    """
    from behavior_tasks.pipeline.privacy.search_source import secret_words, words_of

    begun = time.monotonic()
    unseen: list[str] = []
    logs = logs_to_read(home, input_path, unseen)
    source = words_of(home, logs)
    wanted = want(
        {**source.words, SECRET: secret_words(home)},
        used_otherwise=source.used_otherwise,
        person_columns=source.person_columns,
    )
    found = search_everything(home, wanted, elsewhere)
    found.unseen[:0] = unseen
    return Scan(
        when=now,
        seconds=time.monotonic() - begun,
        asked=wanted.asked,
        short=tuple(short_ids(wanted)),
        logs=source.files,
        found=found,
    )


def short_ids(wanted: Wanted) -> list[str]:
    """Return what a search for short ids can't tell, in words."""
    told = []
    if wanted.in_cells:
        told.append(
            f"{wanted.in_cells:,} ids are digits, fewer than seven: they count as whole cells of tables, and behind "
            "words such as user_id; in running text they can't be told from other numbers."
        )
    if wanted.in_columns:
        told.append(
            f"{wanted.in_columns:,} ids are very short, or something else has the same name (a product, a word of this "
            "program): they count in columns about people, and behind words such as user_id, and nowhere else."
        )
    return told


def search_everything(home: Home, wanted: Wanted, elsewhere: Elsewhere, *, with_source: bool = False) -> Found:
    """Search the state folder, the databases and MLflow for words.

    Args:
        home: the state folder.
        wanted: the words.
        elsewhere: databases and files outside it.
        with_source: whether copies of logs and the simulated log are searched too.

    Raises:
        UserError: when a database does not answer.
    """
    found, search = Found(), Search(wanted)
    found.skipped["secrets"] = SECRETS_WHY
    places = list_places(home)
    if not with_source and any(place.is_source for place in places):
        found.skipped["copies of logs and the simulated log"] = SOURCE_WHY
    places = [place for place in places if with_source or not place.is_source]
    for folder, kind in ((elsewhere.mlflow_files, "files of the MLflow server"), (elsewhere.logs, "Airflow's logs")):
        if folder is not None:
            places += folder_places(folder, kind)
    found.unseen += elsewhere.unseen
    _search_files(places, search, found)
    for address, name in ((elsewhere.metadata, METADATA), (elsewhere.mlflow_database, "database of the MLflow server")):
        if address:
            for texts in read_database(address, name, found):
                search.take(texts)
    if elsewhere.mlflow and not (elsewhere.mlflow_database and elsewhere.mlflow_files):
        _search_server(home, search, found)
    found.hits = search.finish()
    return found


def _search_files(places: list[Place], search: Search, found: Found) -> None:
    amount = float(sum(place.bytes for place in places))
    with measure(what="searching files", total=len(places), unit="B", amount=amount) as meter:
        done = 0.0
        for number, place in enumerate(places):
            for texts in read_file(place, found):
                search.take(texts)
            done += place.bytes
            meter(number + 1, done)


def _search_server(home: Home, search: Search, found: Found) -> None:
    """Search what the interface of an MLflow server shows."""
    from behavior_tasks.registry.contents import NOT_SHOWN, server_files, server_texts

    tally = found.at(TRACKING)
    for what, text in server_texts(home):
        tally.rows += 1
        values = pa.array([text.encode()], pa.large_binary())
        search.take(
            Texts(
                place=f"{TRACKING}: {what}",
                kind=TRACKING,
                column="",
                values=values,
                counts=np.ones(1, np.int64),
                form="json",
            )
        )
    with temporary_folder(home, "fetched") as folder:
        for name, place in server_files(home, folder):
            for file in folder_places(place, TRACKING):
                named = Place(
                    path=file.path,
                    shown=f"{TRACKING}: {name}: {file.path.relative_to(place)}",
                    kind=TRACKING,
                    bytes=file.bytes,
                )
                for texts in read_file(named, found):
                    search.take(texts)
            shutil.rmtree(place)
    found.unseen.append(NOT_SHOWN)


def logs_to_read(home: Home, input_path: str | None, unseen: list[str]) -> Iterable[tuple[Run, str]]:
    """Return the logs of the runs, each once, with the newest run that read it.

    Raises:
        UserError: when there is none.
    """
    runs = last_runs(home, most=MOST_RUNS, inspections=True)
    if not runs:
        raise UserError("Nothing was run in this state folder, so nothing can be held.", next_step="behavior run")
    if input_path is not None:
        return [(runs[0], input_path)]
    there = logs_of(home, unseen)
    if not there:
        raise UserError(
            "The log that the runs have read is gone, so its ids can't be searched for.",
            found="; ".join(unseen) or "no log",
            next_step="behavior privacy scan --input log.csv, with the log",
        )
    return there


def logs_of(home: Home, unseen: list[str] | None = None) -> list[tuple[Run, str]]:
    """Return the logs of all runs that are still there, each once, with the newest run that read it.

    Args:
        home: the state folder.
        unseen: takes what is no longer there, in words.
    """
    logs: dict[str, tuple[Run, str]] = {}
    for run in last_runs(home, most=MOST_RUNS, inspections=True):
        settings = run.record.config.source.model_dump_json()
        where = run.record.input or _simulated(run)
        if where is not None:
            logs.setdefault(f"{where}\n{settings}", (run, where))
    there = []
    for run, where in logs.values():
        if "://" in where or any(mark in where for mark in "*?[") or Path(where).exists():
            there.append((run, where))
        elif unseen is not None:
            unseen.append(f"ids of the log {run.log_name}: it is no longer where the run {run.record.run_id} found it")
    return there


def _simulated(run: Run) -> str | None:
    if not any(record.stage == "simulate" for record in run.stages()):
        return None
    try:
        made = run.artifact("simulate")
    except UserError:
        return None  # cleared away
    return None if made is None else str(made.path / "events.csv")


def write_report(home: Home, found: Scan) -> Path:
    """Keep a scan below `privacy/`, as JSON and as a page, and return the page."""
    folder = make_folder(home.privacy)
    name = f"scan-{found.when:%Y%m%dT%H%M%S}"
    content = found.as_json()
    write_durably(folder / f"{name}.json", json.dumps(content, ensure_ascii=False, indent=2).encode())
    page = folder / f"{name}.html"
    write_durably(page, render_page(TEMPLATE, {"scan": content, "hits": grouped(found.found.hits)}).encode())
    return page


def grouped(hits: list[Hit]) -> list[Hit]:
    """Return hits with those of one kind of file, column and word together: of many buckets one line."""
    together: dict[tuple[str, str, str], tuple[str, int, int]] = {}
    for hit in hits:
        key = (hit.kind, hit.column, hit.what)
        first, places, count = together.get(key, (hit.place, 0, 0))
        together[key] = (first, places + 1, count + hit.count)
    return [
        Hit(
            place=first if places == 1 else f"{first} and {places - 1:,} more",
            kind=kind,
            column=column,
            what=what,
            count=count,
        )
        for (kind, column, what), (first, places, count) in together.items()
    ]
