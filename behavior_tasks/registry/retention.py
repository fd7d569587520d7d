"""Retention in MLflow: which versions, models and files of runs nobody needs any more; and deleting them.

In come the policy, the ledger and what is registered; out comes a list of what may go, each with its bytes. The one
thing to know: a version with an alias, in the ledger or new enough stays; figures, settings and tags of runs always do.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import ledger, store
from behavior_tasks.registry.aliases import all_versions, is_registered
from behavior_tasks.registry.title import Desk
from behavior_tasks.registry.versions import ARTIFACT_TAG

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

DELETED_TAG = "files_deleted"
"""Tag of a run whose files were deleted, with the day."""
DAY_SECONDS = 86_400
PAGE = 1000


Kind = Literal[
    "version", "model", "run files", "artifact", "unfinished training", "served date", "watched day", "cache"
]


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """Something that may be deleted."""

    kind: Literal[
        "version", "model", "run files", "artifact", "unfinished training", "served date", "watched day", "cache"
    ]
    name: str
    """For people and programs: a version's number, MLflow's id, `stage/key`."""
    bytes: int
    why: str
    places: tuple[str, ...] = ()
    """Where its files lie in MLflow."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is kept, and as of when."""

    keep_versions: int
    keep_days: float
    keep_runs: int
    now: float
    """Unix seconds."""

    @classmethod
    def of(cls, config: Config, now: float) -> "Policy":
        """Return the policy of the settings."""
        kept = config.registry
        return cls(keep_versions=kept.keep_versions, keep_days=kept.keep_days, keep_runs=kept.keep_runs, now=now)

    def is_old(self, seconds: float) -> bool:
        """Whether an instant, in Unix seconds, lies more than `keep_days` back."""
        return self.now - seconds > self.keep_days * DAY_SECONDS


class Retention:
    """What the MLflow store holds of one registered model and one experiment, under a policy.

    Args:
        desk: from `title.hold`, which is held as long as this is used.
        config: names the experiment.
        policy: what is kept.
    """

    def __init__(self, desk: Desk, config: Config, policy: Policy) -> None:
        self._desk = desk
        self._client = desk.client
        self._policy = policy
        self._experiment = store.experiment_id(desk.client, desk.home, config)
        registered = is_registered(desk.client, desk.model)
        self._versions = all_versions(desk.client, desk.model) if registered else []
        self._kept = self._kept_versions()

    def plan(self) -> list[Unneeded]:
        """Return the versions, forgotten models and run files that may go."""
        models = self._logged_models()
        versions = [self._describe(v, models) for v in self._versions if str(v.version) not in self._kept]
        return [*versions, *self._orphans(models), *self._run_files()]

    def needed_artifacts(self) -> set[str]:
        """Return the URIs of the artifacts whose models are registered and stay, under whatever name."""
        uris = {str(v.tags[ARTIFACT_TAG]) for v in self._every_version() if ARTIFACT_TAG in v.tags}
        going = [v for v in self._versions if str(v.version) not in self._kept]
        return uris - {str(v.tags.get(ARTIFACT_TAG)) for v in going}

    def delete(self, item: Unneeded) -> None:
        """Delete one thing of the plan. What a crash leaves of it is in the next plan."""
        if item.kind == "version":
            self._client.delete_model_version(self._desk.model, item.name)
            model_ids = [model.model_id for model in self._logged_models() if model.artifact_location in item.places]
        else:
            model_ids = [item.name] if item.kind == "model" else []
        for place in item.places:
            delete_files(self._desk.home, place)
        for model_id in model_ids:
            self._client.delete_logged_model(model_id)
        if item.kind == "run files":
            day = time.strftime("%Y-%m-%d", time.gmtime(self._policy.now))
            self._client.set_tag(item.name, DELETED_TAG, day)

    def _kept_versions(self) -> set[str]:
        numbers = [str(version.version) for version in self._versions]
        named = {str(v) for version in self._versions for v in ([version.version] if version.aliases else [])}
        young = {str(v.version) for v in self._versions if not self._policy.is_old(v.creation_timestamp / 1000)}
        return {*numbers[: self._policy.keep_versions], *named, *self._aliased(), *self._in_ledger(), *young}

    def _aliased(self) -> set[str]:
        if not self._versions:
            return set()
        return {str(v) for v in self._client.get_registered_model(self._desk.model).aliases.values()}

    def _in_ledger(self) -> set[str]:
        lines = ledger.title_of(self._desk.home, every_line(self._desk.home), self._desk.model)
        named = (line.get(key) for line in lines for key in ("version", "from_version"))
        return {str(version) for version in named if version is not None}

    def _every_version(self) -> Iterable["ModelVersion"]:
        for registered in self._client.search_registered_models(max_results=PAGE):
            yield from all_versions(self._client, registered.name)

    def _logged_models(self) -> list["LoggedModel"]:
        found: list[LoggedModel] = []
        token = None
        while True:
            page = self._client.search_logged_models([self._experiment], page_token=token)
            found += [model for model in page if ARTIFACT_TAG in model.tags]
            token = page.token
            if not token:
                return found

    def _describe(self, version: "ModelVersion", models: Sequence["LoggedModel"]) -> Unneeded:
        kept = [v for v in self._versions if str(v.version) in self._kept]
        mine = [m for m in models if _stands_on(version, m) and not any(_stands_on(v, m) for v in kept)]
        places = tuple(model.artifact_location for model in mine)
        days = int((self._policy.now - version.creation_timestamp / 1000) // DAY_SECONDS)
        return Unneeded(
            kind="version",
            name=str(version.version),
            bytes=sum(_size(self._desk.home, place) for place in places),
            why=f"registered {days} days ago, never champion, without an alias",
            places=places,
        )

    def _orphans(self, models: Sequence["LoggedModel"]) -> list[Unneeded]:
        """Models of a registration or a deletion that was cut short."""
        versions = list(self._every_version())
        needed = champions_artifacts(self._desk.home)
        return [
            Unneeded(
                kind="model",
                name=model.model_id,
                bytes=_size(self._desk.home, model.artifact_location),
                why="no version of any registered model stands on it",
                places=(model.artifact_location,),
            )
            for model in models
            if not any(_stands_on(version, model) for version in versions)
            and model.tags[ARTIFACT_TAG] not in needed
            and self._policy.is_old(model.creation_timestamp / 1000)
        ]

    def _run_files(self) -> list[Unneeded]:
        """Plots, reports and packaged files of old runs; those of runs whose versions stay, stay."""
        runs = self._runs()
        needed = {version.run_id for version in self._versions if str(version.version) in self._kept}
        old = [
            run
            for run in runs[self._policy.keep_runs :]
            if self._policy.is_old(run.info.start_time / 1000)
            and run.info.status != "RUNNING"
            and run.info.run_id not in needed
            and DELETED_TAG not in run.data.tags
        ]
        found = [
            Unneeded(
                kind="run files",
                name=run.info.run_id,
                bytes=_size(self._desk.home, run.info.artifact_uri),
                why=f"not among the last {self._policy.keep_runs} runs; its figures stay",
                places=(run.info.artifact_uri,),
            )
            for run in old
        ]
        return [item for item in found if item.bytes]

    def _runs(self) -> list["Run"]:
        found: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], order_by=["attributes.start_time DESC"], max_results=PAGE, page_token=token
            )
            found += [run for run in page if store.RUN_TAG in run.data.tags]
            token = page.token
            if not token:
                return found


def _stands_on(version: "ModelVersion", model: "LoggedModel") -> bool:
    """Whether a version's files are a logged model's; MLflow keeps the place, which holds the model's id, alone."""
    return model.artifact_location == version.source or model.model_id in str(version.source)


def every_line(home: Home) -> list[dict[str, Any]]:
    """Return the ledger's lines and what can be read of damaged ledgers that were set aside.

    Raises:
        ledger.LedgerError: when the ledger is not what was written.
    """
    kept = [line for file in ledger.damaged_files(home) for line in ledger.readable_lines(file.read_bytes())]
    return [*kept, *ledger.read(home)]


def champions_artifacts(home: Home) -> set[str]:
    """Return the URIs of the models of every run in the ledger, from the runs' own records."""
    runs = {str(line["run_id"]) for line in every_line(home) if line.get("run_id")}
    records = (home.runs / run / "stages" / f"{stage}.json" for run in runs for stage in ("train", "baselines"))
    found = (ledger.readable_lines(record.read_bytes()) for record in records if record.is_file())
    return {str(record["uri"]) for lines in found for record in lines if "uri" in record}


def _size(home: Home, place: str) -> int:
    """Return the bytes below a place in MLflow; 0 when nothing is there."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place, tracking_uri=store.tracking_uri(home))
    waiting: list[str | None] = [None]
    total = 0
    while waiting:
        for entry in repository.list_artifacts(waiting.pop()):
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                total += entry.file_size or 0
    return total


def delete_files(home: Home, place: str) -> None:
    """Delete what lies below a place in MLflow, if anything does."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if _size(home, place):
        get_artifact_repository(place, tracking_uri=store.tracking_uri(home)).delete_artifacts()
