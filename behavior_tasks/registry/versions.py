"""Versions: a trained model and a verdict in; a registered version, the alias `champion` and a ledger line out.

The same trained model is registered once, however many runs give it; its version is found by the tag `artifact`.
`promote` moves the alias only from the champion that the verdict was about, and `title` moves it whole or not at all.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model.formats import BOOSTING, BOOSTING_FILES, LANGUAGE_FILES, PIPELINE_FILE
from behavior_tasks.registry import store, title
from behavior_tasks.registry.aliases import CHALLENGER, challenger_of, find_version, read_aliases, set_alias
from behavior_tasks.registry.package import MODEL_PLACE, adopt_package, need_packaged

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

ARTIFACT_TAG = "artifact"
DAY_TAG = "day"
"""Tag of a version: the day that its run was for."""
KIND_TAG = "kind"
"""Tag of a version: language_model or boosting."""
UNASKED = "MLflow did not answer"
"""What stands for the champion when nobody could be asked: the verdict is then to keep him, whoever he is."""
log = logging.getLogger("behavior")


class RefusedError(UserError):
    """The verdict is out of date: the champion changed since, or the version is gone. Asking again gives the same."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered version, and whether it had been there before."""

    version: str
    reused: bool


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that the alias `champion` names."""

    version: str
    model: str | None
    """URI of the train artifact; None when somebody registered the version by other means."""
    run_id: str | None
    day: str
    """The day that its run was for, e.g. `2026-11-23`; where the version does not say, the day of its registration."""


def register(home: Home, config: Config, *, run_id: str, model: Artifact, tags: Mapping[str, str]) -> Registered:
    """Register a trained model, unless it is registered already. The newest version becomes the challenger.

    Args:
        home: the state folder.
        config: names the registered model.
        run_id: the run's own id; its MLflow run must have been started.
        model: the train artifact.
        tags: for the version, e.g. verdict, test_hash and f1.
    """
    name = config.registry.model_name
    with store.connect(home) as client, store.exclusive(home):
        known = client.search_model_versions(f"name = '{name}' and tag.{ARTIFACT_TAG} = '{model.uri}'")
        if known:
            _challenge(client, name)
            return Registered(version=str(min(int(v.version) for v in known)), reused=True)
        run = store.need_run(client, home, config, run_id)
        logged = _logged_model(client, run.info.experiment_id, run.info.run_id, model, name)
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        # The version is made together with its tags: a crash leaves no version that can't be found again.
        version = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=run.info.run_id,
            tags={**tags, ARTIFACT_TAG: model.uri, "run_id": run_id},
            model_id=logged.model_id,
        )
        _challenge(client, name)
    return Registered(version=str(version.version), reused=False)


def promote(
    home: Home,
    config: Config,
    *,
    version: str,
    verdict: Mapping[str, Any],
    run_id: str,
    who: str,
    when: datetime,
) -> None:
    """Make a version the champion and write it into the ledger, whole or not at all. Repeating it changes nothing.

    Args:
        home: the state folder.
        config: names the registered model.
        version: what `register` gave.
        verdict: the gate's verdict, whose decision is promote, about this version's model.
        run_id: the run's own id.
        who: person or service.
        when: the instant, with its zone.

    Raises:
        RefusedError: when another version became champion after the verdict, or the version was deleted.
        ledger.LedgerError: when the ledger is not what was written.
        ValueError: when the verdict says keep or is about another model.
    """
    name, was = config.registry.model_name, verdict["champion_version"]
    if verdict["decision"] != "promote":
        raise ValueError(f"version {version} is not to be promoted: {verdict['reason']}")
    with title.hold(home, config) as desk:
        if _promoted_before(desk.lines, run_id=run_id, version=version, was=was):
            return
        judged = find_version(desk.client, name, version)
        if judged is None:
            raise RefusedError(
                f"Version {version} of {name} is gone: somebody has deleted it in MLflow.",
                expected="the version that this run registered",
                next_step="run again; the model is then registered anew",
            )
        if judged.tags.get(ARTIFACT_TAG) != verdict["candidate"]:
            raise ValueError(f"the verdict is about {verdict['candidate']}, which is not version {version}")
        _refuse_another_champion(desk.aliases.champion, was, version)
        title.move(
            desk,
            {
                "kind": "baseline_promotion" if judged.tags.get(KIND_TAG) == BOOSTING else "promotion",
                "model": name,
                "when": when.isoformat(timespec="seconds"),
                "who": who,
                "why": verdict["reason"],
                "verdict": verdict["decision"],
                "test_hash": verdict["test_hash"],
                "from_version": was,
                "version": version,
                "run_id": run_id,
            },
        )


def _refuse_another_champion(current: str | None, was: str | None, version: str) -> None:
    if current != was:
        raise RefusedError(
            f"The champion changed while this run was judged; version {version} is not promoted.",
            found=f"version {current} is champion" if current else "no version is champion",
            expected=f"version {was}, with which the candidate was compared" if was else "no champion",
            next_step="run again; the candidate is then compared with today's champion",
        )


def _promoted_before(lines: Sequence[Mapping[str, Any]], *, run_id: str, version: str, was: str | None) -> bool:
    """Whether the ledger says that this very promotion was made, and the title was not lost since."""
    for line in reversed(lines):
        if line["version"] is None:
            return False
        if (line["run_id"], line["version"], line["from_version"]) == (run_id, version, was):
            return line.get("kind", "promotion") in {"promotion", "baseline_promotion"}
    return False


def _challenge(client: "MlflowClient", name: str) -> None:
    champion = read_aliases(client, name).champion
    set_alias(client, name, CHALLENGER, challenger_of(client, name, champion=champion))


def champion(home: Home, config: Config) -> Champion | None:
    """Return the champion, or None when there is none. Without a store, MLflow is not even imported.

    What a crash left half done is finished or undone first, and what was changed by hand goes into the ledger.
    """
    if not store.exists(home):
        return None
    title.look(home, config)
    with store.connect(home) as client:
        found = _champion(client, config.registry.model_name)
    if found is None:
        return None
    return Champion(
        version=str(found.version),
        model=found.tags.get(ARTIFACT_TAG) or None,
        run_id=found.tags.get("run_id"),
        day=found.tags.get(DAY_TAG) or datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).date().isoformat(),
    )


def champion_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names the champion in the key of `champion_stage`; `raw` plays no part.

    Whether its files can be read belongs to the name: a champion that could not be read yesterday and can be
    today is compared again. An MLflow that does not answer has a name of its own, so that its champion is
    asked for again by the next run.
    """
    try:
        found = champion(home, config)
        if found is None:
            return {"champion": "none"}
        problem = _problem(home, config, found) or "none"
    except store.UnreachableError as error:
        log.warning("%s\nThe run goes on, but whatever it finds, the champion is kept.", error)
        return {"champion": UNASKED}
    return {"champion": found.version, "model": found.model or "unknown", "problem": problem}


def champion_stage(job: Job) -> Output:
    """Bring the champion's model folder: from the artifact store, else from MLflow.

    Facts: `version`, `model` (URI of the artifact that it came from), `day` (which its run was for) and `problem`, each
    None where there is none.

    Raises:
        UserError: when another run has moved the title since this artifact's key was made.
    """
    if job.outside.get("champion") == UNASKED:
        facts = {
            "version": None,
            "model": None,
            "day": None,
            "problem": "MLflow did not answer when it was asked for the champion",
        }
        return Output(rows=_rows(0, 0), facts=facts)
    if job.outside and champion_identity(None, job.config, job.home) != job.outside:
        raise UserError(
            "The champion changed while this run was asking for it.",
            next_step="run again; the candidate is then compared with today's champion",
        )
    found = champion(job.home, job.config)
    if found is None:
        return Output(rows=_rows(0, 0), facts={"version": None, "model": None, "day": None, "problem": None})
    problem = _problem(job.home, job.config, found)
    if problem is None:
        trained = _trained(job.home, found)
        if trained is not None:
            shutil.copytree(trained.path / "model", job.out / "model")
        else:
            _download(job.home, job.config, found, job.out)
    facts = {"version": found.version, "model": found.model, "day": found.day, "problem": problem}
    return Output(rows=_rows(1, int(problem is None)), facts=facts)


def _rows(champions: int, readable: int) -> Rows:
    removed = {"unreadable": champions - readable} if champions > readable else {}
    return Rows(unit_in="champions", unit_out="champions", rows_in=champions, rows_out=readable, removed=removed)


def _champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    version = read_aliases(client, name).champion
    return None if version is None else client.get_model_version(name, version)


def _logged_model(
    client: "MlflowClient", experiment_id: str, mlflow_run_id: str, model: Artifact, name: str
) -> "LoggedModel":
    """Log the model into MLflow, or take up what an interrupted attempt left."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    found = client.search_logged_models([experiment_id], filter_string=f"tags.{ARTIFACT_TAG} = '{model.uri}'")
    logged = (
        found[0]
        if found
        else client.create_logged_model(
            experiment_id, name=name, source_run_id=mlflow_run_id, tags={ARTIFACT_TAG: model.uri}
        )
    )
    if logged.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "packed"
            adopt_package(need_packaged(model), packed, model_id=logged.model_id, mlflow_run_id=mlflow_run_id)
            client.log_model_artifacts(logged.model_id, str(packed))
        client.log_outputs(mlflow_run_id, [LoggedModelOutput(logged.model_id, step=0)])
        logged = client.finalize_logged_model(logged.model_id, "READY")
    return logged


def _trained(home: Home, found: Champion) -> Artifact | None:
    """Return the champion's train artifact if it is still in the store, whole."""
    if found.model is None:
        return None
    try:
        return ArtifactStore(home.artifacts).open(found.model)
    except UserError:
        return None


def _problem(home: Home, config: Config, found: Champion) -> str | None:
    """Return why the champion's files can't be read, or None; MLflow is asked only when the store lacks them."""
    if _trained(home, found) is not None:
        return None
    with store.connect(home) as client:
        files = _listed(client, home, config, found)
    needed = BOOSTING_FILES if PIPELINE_FILE in files else LANGUAGE_FILES
    missing = [name for name in needed if name not in files]
    if missing:
        return f"its files are neither in the state folder nor whole in MLflow ({', '.join(missing)} missing)"
    return None


def _listed(client: "MlflowClient", home: Home, config: Config, found: Champion) -> set[str]:
    from mlflow.artifacts import list_artifacts

    place = client.get_model_version_download_uri(config.registry.model_name, found.version)
    entries = list_artifacts(artifact_uri=f"{place}/{MODEL_PLACE}", tracking_uri=store.tracking_uri(home))
    return {Path(entry.path).name for entry in entries}


def _download(home: Home, config: Config, found: Champion, out: Path) -> None:
    with store.connect(home) as client:
        from mlflow.artifacts import download_artifacts

        place = client.get_model_version_download_uri(config.registry.model_name, found.version)
        uri = store.tracking_uri(home)
        download_artifacts(artifact_uri=f"{place}/{MODEL_PLACE}", dst_path=str(out), tracking_uri=uri)
