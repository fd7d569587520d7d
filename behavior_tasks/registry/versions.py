"""Versions: a trained model and a verdict in; a registered version, the alias `champion` and a ledger line out.

The same trained model is registered once, however many runs give it; its version is found by the tag `artifact`.
Only `promote` moves the alias, and only from the champion that the verdict was about.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model.formats import BOOSTING_FILES, LANGUAGE_FILES, PIPELINE_FILE
from behavior_tasks.registry import ledger, store
from behavior_tasks.registry.package import MODEL_PLACE, adopt_package, need_packaged

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
ARTIFACT_TAG = "artifact"
log = logging.getLogger("behavior")


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


def register(home: Home, config: Config, *, run_id: str, model: Artifact, tags: Mapping[str, str]) -> Registered:
    """Register a trained model, unless it is registered already.

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
    """Make a version the champion and write it into the ledger. Repeating it changes nothing.

    The alias moves first and the line follows; when a crash parts them, the retry writes the line.

    Args:
        home: the state folder.
        config: names the registered model.
        version: what `register` gave.
        verdict: the gate's verdict, whose decision is promote, about this version's model.
        run_id: the run's own id.
        who: person or service.
        when: the instant, with its zone.

    Raises:
        UserError: when another version became champion after the verdict.
        ValueError: when the verdict says keep or is about another model.
    """
    name, was = config.registry.model_name, verdict["champion_version"]
    if verdict["decision"] != "promote":
        raise ValueError(f"version {version} is not to be promoted: {verdict['reason']}")

    def same(entry: Mapping[str, Any]) -> bool:
        return (entry["run_id"], entry["version"], entry["from_version"]) == (run_id, version, was)

    with store.connect(home) as client, store.exclusive(home):
        if any(same(entry) for entry in ledger.read(home)):
            return
        judged = client.get_model_version(name, version)
        if judged.tags.get(ARTIFACT_TAG) != verdict["candidate"]:
            raise ValueError(f"the verdict is about {verdict['candidate']}, which is not version {version}")
        current = _champion_version(client, name)
        if current not in (was, version):
            raise UserError(
                f"The champion changed while this run was judged; version {version} is not promoted.",
                found=f"version {current} is champion" if current else "no version is champion",
                expected=f"version {was}, with which the candidate was compared" if was else "no champion",
                next_step="run again; the candidate is then compared with today's champion",
            )
        for key in ("decision", "test_hash"):
            tag = {"decision": "verdict"}.get(key, key)
            client.set_model_version_tag(name, version, tag, str(verdict[key]))
        client.set_registered_model_alias(name, ALIAS, version)
        entry = {
            "when": when.isoformat(timespec="seconds"),
            "who": who,
            **_judged(verdict),
            "version": version,
            "run_id": run_id,
        }
        ledger.append(home, entry, unless=same)


def _judged(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ledger keeps of a verdict."""
    return {
        "why": verdict["reason"],
        "from_version": verdict["champion_version"],
        "verdict": verdict["decision"],
        "test_hash": verdict["test_hash"],
    }


def champion(home: Home, config: Config) -> Champion | None:
    """Return the champion, or None when there is none. Without a store, MLflow is not even imported."""
    if not store.exists(home):
        return None
    with store.connect(home) as client:
        found = _champion(client, config.registry.model_name)
    if found is None:
        return None
    return Champion(
        version=str(found.version), model=found.tags.get(ARTIFACT_TAG) or None, run_id=found.tags.get("run_id")
    )


def champion_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names the champion in the key of `champion_stage`; `raw` plays no part.

    Whether its files can be read belongs to the name: a champion that could not be read yesterday and can be
    today is compared again.
    """
    found = champion(home, config)
    if found is None:
        return {"champion": "none"}
    return {
        "champion": found.version,
        "model": found.model or "unknown",
        "problem": _problem(home, config, found) or "none",
    }


def champion_stage(job: Job) -> Output:
    """Bring the champion's model folder: from the artifact store, else from MLflow.

    Facts: `version`, `model` (URI of its train artifact) and `problem`, each None where there is none.

    Raises:
        UserError: when another run has moved the title since this artifact's key was made.
    """
    if job.outside and champion_identity(None, job.config, job.home) != job.outside:
        raise UserError(
            "The champion changed while this run was asking for it.",
            next_step="run again; the candidate is then compared with today's champion",
        )
    found = champion(job.home, job.config)
    if found is None:
        return Output(rows=_rows(0, 0), facts={"version": None, "model": None, "problem": None})
    problem = _problem(job.home, job.config, found)
    if problem is None:
        trained = _trained(job.home, found)
        if trained is not None:
            shutil.copytree(trained.path / "model", job.out / "model")
        else:
            _download(job.home, job.config, found, job.out)
    facts = {"version": found.version, "model": found.model, "problem": problem}
    return Output(rows=_rows(1, int(problem is None)), facts=facts)


def _rows(champions: int, readable: int) -> Rows:
    removed = {"unreadable": champions - readable} if champions > readable else {}
    return Rows(unit_in="champions", unit_out="champions", rows_in=champions, rows_out=readable, removed=removed)


def _champion_version(client: "MlflowClient", name: str) -> str | None:
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    if not found:
        return None
    version = client.get_registered_model(name).aliases.get(ALIAS)
    return None if version is None else str(version)


def _champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    version = _champion_version(client, name)
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
