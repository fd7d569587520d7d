"""The champions that serve: the registered models' names in; each champion's package, as two folders, out.

A champion answers one unit; the shop may have one for each. Its folder of events says how it reads and how far it looks
ahead. The one thing to know: without any champion, or with an MLflow that does not answer, serving stops here, and what
was served before stays.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.examples.feature_table import UNITS, Unit
from behavior_tasks.model.event_folder import EventSettings
from behavior_tasks.registry import store
from behavior_tasks.registry.package import find_packaged
from behavior_tasks.registry.versions import Champion, champion

PACKED = "artifacts"
FOLDERS = ("model", "events")
log = logging.getLogger("behavior")


def champions_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names both champions in the key of `champions_stage`; `raw` plays no part.

    Raises:
        store.UnreachableError: when MLflow does not answer.
    """
    named: dict[str, str] = {}
    for unit in UNITS:
        try:
            found = champion(home, of_unit(config, unit))
        except store.UnreachableError as error:
            raise store.UnreachableError(
                "The MLflow server does not answer, so nobody can say which model is champion.",
                found=error.found,
                expected=error.expected,
                next_step="start the server, then behavior score; what was handed out before is still there",
            ) from None
        named[f"champion of {unit}"] = f"{found.version} {found.model or 'unknown'}" if found else "none"
    return named


def champions_stage(job: Job) -> Output:
    """Bring each champion's folders, `UNIT/model` and `UNIT/events`.

    Facts: for each unit None, or `name`, `version`, `model` (URI of its artifact), `run_id` and `day` (which its run
    was for).

    Raises:
        UserError: when there is no champion at all, one is not what its title says, its files can't be had, or the
            title moved since this artifact's key was made.
    """
    if job.outside and champions_identity(None, job.config, job.home) != job.outside:
        raise UserError(
            "The champion changed while it was asked for.", next_step="behavior score, which then asks the new one"
        )
    facts: dict[str, Any] = {}
    for unit in UNITS:
        config = of_unit(job.config, unit)
        found = champion(job.home, config)
        facts[unit] = None
        if found is not None:
            _bring(job.home, config, found, job.out / unit)
            _check_unit(job.out / unit, unit, config.registry.model_name)
            told = {"version": found.version, "model": found.model, "run_id": found.run_id, "day": found.day}
            facts[unit] = {"name": config.registry.model_name, **told}
    there = sum(fact is not None for fact in facts.values())
    if not there:
        raise UserError(
            "There is no champion yet, so nothing can be served.",
            found=f"no champion of {job.config.serve.shopper_model} nor of {job.config.serve.product_model}",
            expected="a registered model whose version has cleared the gate",
            next_step="behavior run --input log.csv; if the gate keeps the candidate, its report says why",
        )
    rows = Rows(unit_in="champions", unit_out="champions", rows_in=there, rows_out=there)
    return Output(rows=rows, facts=facts)


def of_unit(config: Config, unit: Unit) -> Config:
    """Return the configuration with the registered model that answers a unit."""
    name = config.serve.shopper_model if unit == "shopper" else config.serve.product_model
    return changed(config, {"registry.model_name": name})


def _bring(home: Home, config: Config, found: Champion, out: Path) -> None:
    """Copy a champion's folders from the artifact store, else download them from MLflow."""
    packed = _packed(home, found)
    out.mkdir()
    if packed is not None:
        for name in FOLDERS:
            shutil.copytree(packed / PACKED / name, out / name)
        return
    name, version = config.registry.model_name, found.version
    with store.connect(home) as client:
        from mlflow.artifacts import download_artifacts, list_artifacts

        place, uri = client.get_model_version_download_uri(name, version), store.tracking_uri(home)
        entries = list_artifacts(artifact_uri=f"{place}/{PACKED}", tracking_uri=uri)
        there = {Path(entry.path).name for entry in entries}
        if not there.issuperset(FOLDERS):
            raise UserError(
                f"The files of version {version} of {name}, the champion, can't be had.",
                found=f"neither in the state folder nor whole in MLflow ({', '.join(sorted(there)) or 'nothing'})",
                expected=f"the folders {' and '.join(FOLDERS)} in its packaged model",
                next_step=f"behavior rollback --model {name}, or train a model that replaces it",
            )
        for folder in FOLDERS:
            download_artifacts(artifact_uri=f"{place}/{PACKED}/{folder}", dst_path=str(out), tracking_uri=uri)


def _packed(home: Home, found: Champion) -> Path | None:
    """Return the champion's packaged model if it is still in the artifact store, whole."""
    if found.model is None:
        return None
    try:
        return find_packaged(ArtifactStore(home.artifacts).open(found.model))
    except UserError as gone:
        log.info("%s The champion's files come from MLflow.", gone.problem)
        return None


def _check_unit(folder: Path, unit: Unit, name: str) -> None:
    settings = EventSettings.load(folder / "events")
    if settings.examples.unit != unit:
        raise UserError(
            f"The champion of {name} answers another question.",
            found=f"unit {settings.examples.unit}",
            expected=f"unit {unit}",
            next_step=f"set serve.{'shopper' if unit == 'shopper' else 'product'}_model to another registered model",
        )
