"""Searching everywhere: words in; where they stand in the state folder, in databases and in MLflow out.

The scan, certificates of erasure and access requests all look by this one function. The one thing to know: what can't
be read or told is listed beside what was found, so a zero says how far it reaches.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.progress import measure
from behavior_tasks.pipeline.deployment.settings import BROKER, DATABASE, MLFLOW
from behavior_tasks.pipeline.privacy.search import Found, Search, Texts
from behavior_tasks.pipeline.privacy.search_databases import read_database
from behavior_tasks.pipeline.privacy.search_files import read_file
from behavior_tasks.pipeline.privacy.search_places import (
    SECRETS_WHY,
    SOURCE_WHY,
    Place,
    folder_places,
    list_places,
)
from behavior_tasks.pipeline.privacy.search_words import Wanted

METADATA, TRACKING, TRACKING_DATABASE = "Airflow's metadata database", "MLflow server", "database of the MLflow server"
LOGS, REMOTE = "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "AIRFLOW__LOGGING__REMOTE_LOGGING"


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
    databases = ((elsewhere.metadata, METADATA), (elsewhere.mlflow_database, TRACKING_DATABASE))
    for address, name in databases:
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


def short_ids(wanted: Wanted) -> list[str]:
    """Return what a search for short ids can't tell, in words."""
    told = []
    if wanted.in_cells:
        told.append(
            f"Ids of digits, fewer than seven, {wanted.in_cells:,} of them: they count as whole cells of tables, and "
            "behind words such as user_id; in running text they can't be told from other numbers."
        )
    if wanted.in_columns:
        told.append(
            f"Ids that are very short, or that something else is called too (a product, a word of this program), "
            f"{wanted.in_columns:,} of them: they count in columns about people, and behind words such as user_id, "
            "and nowhere else."
        )
    return told
