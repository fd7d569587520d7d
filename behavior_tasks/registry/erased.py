"""Versions that were trained with somebody who is erased: found, marked, and retired, in the MLflow store.

In come versions and why they must be trained anew; out come tags that say so, and files that are gone. The one thing to
know: a marked version still serves while it is champion, but nobody is rolled back to it, and once it is retired its
files are deleted in MLflow, while its figures, tags and ledger lines stay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.registry import store, title
from behavior_tasks.registry.aliases import (
    CHALLENGER,
    PREVIOUS,
    RETRAIN_BY_TAG,
    RETRAIN_TAG,
    all_versions,
    previous_of,
    read_aliases,
    set_alias,
)
from behavior_tasks.registry.retention import delete_files
from behavior_tasks.registry.versions import ARTIFACT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

RETIRED_TAG = "retired"
"""Tag of a version whose files were deleted because of an erasure: the day."""
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A registered version of this project's."""

    model: str
    version: str
    artifact: str
    """URI of the artifact that it was registered from."""
    created: float
    """Unix seconds."""
    is_champion: bool
    why: str | None
    """Why it must be trained anew; None: nobody said so."""
    by: str | None
    """By which day, ISO."""
    retired: str | None
    """On which day its files were deleted."""


def trained_versions(home: Home) -> list[Trained]:
    """Return the versions of every registered model that came from here; none where there is no store."""
    if not store.exists(home):
        return []
    found = []
    with store.connect(home) as client:
        for registered in client.search_registered_models(max_results=PAGE):
            champion = read_aliases(client, registered.name).champion
            for version in all_versions(client, registered.name):
                tags = version.tags
                if ARTIFACT_TAG in tags:
                    found.append(
                        Trained(
                            model=registered.name,
                            version=str(version.version),
                            artifact=tags[ARTIFACT_TAG],
                            created=version.creation_timestamp / 1000,
                            is_champion=str(version.version) == champion,
                            why=tags.get(RETRAIN_TAG),
                            by=tags.get(RETRAIN_BY_TAG),
                            retired=tags.get(RETIRED_TAG),
                        )
                    )
    return found


def mark(home: Home, version: Trained, *, why: str, by: str) -> None:
    """Say of a version that it must be trained anew, why, and by which day."""
    with store.connect(home) as client:
        client.set_model_version_tag(version.model, version.version, RETRAIN_TAG, why)
        client.set_model_version_tag(version.model, version.version, RETRAIN_BY_TAG, by)


def retire(home: Home, config: Config, version: Trained, *, day: str) -> bool:
    """Delete a marked version's files in MLflow, and let no alias lead back to it; False while it is champion.

    Args:
        home: the state folder.
        config: the settings of MLflow.
        version: marked; what a crash left of its retirement is done by the next call.
        day: ISO, for its tag.
    """
    with title.hold(home, changed(config, {"registry.model_name": version.model})) as desk:
        if desk.aliases.champion == version.version:
            return False
        if desk.aliases.previous == version.version:
            set_alias(desk.client, desk.model, PREVIOUS, previous_of(desk.client, desk.model, desk.lines))
        if desk.aliases.challenger == version.version:
            set_alias(desk.client, desk.model, CHALLENGER, None)
        found = desk.client.get_model_version(version.model, version.version)
        if found.source:
            delete_files(home, found.source)
        desk.client.set_model_version_tag(version.model, version.version, RETIRED_TAG, day)
    return True


def each_run_file(home: Home, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Path, Callable[[], None]]]:
    """Yield the files of every run in MLflow: name, a local copy, and what puts the changed copy in its place.

    Args:
        home: the state folder; a server's files are downloaded one at a time.
        wanted: says by its name whether a file is looked at.
    """
    if not store.exists(home):
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with store.connect(home) as client, temporary_folder(home, "mlflow") as scratch:
        for place in _places(client):
            repository = get_artifact_repository(place, tracking_uri=store.tracking_uri(home))
            for name in _names(repository):
                if wanted(name):
                    folder = scratch / str(len(list(scratch.iterdir())))
                    folder.mkdir()
                    local = Path(repository.download_artifacts(name, dst_path=str(folder)))

                    def put_back(
                        repository: "ArtifactRepository" = repository, local: Path = local, name: str = name
                    ) -> None:
                        repository.log_artifact(str(local), name.rpartition("/")[0] or None)

                    yield name, local, put_back
                    local.unlink(missing_ok=True)


def _places(client: "MlflowClient") -> Iterator[str]:
    """Yield where the files of every run lie."""
    for experiment in client.search_experiments(max_results=PAGE):
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], max_results=PAGE, page_token=token)
            yield from (run.info.artifact_uri for run in page)
            token = page.token
            if not token:
                break


def _names(repository: "ArtifactRepository") -> Iterator[str]:
    waiting: list[str | None] = [None]
    while waiting:
        for entry in repository.list_artifacts(waiting.pop()):
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                yield entry.path
