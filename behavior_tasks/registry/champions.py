"""The champions that serve: the registered models' names in; each champion's package, as two folders, out.

A champion answers one unit; the shop may have one for each. Its folder of events says how it reads and how far it looks
ahead. The one thing to know: without any champion, or with an MLflow that does not answer, serving stops here, and what
was served before stays.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model.event_folder import SETTINGS_FILE, EventSettings
from behavior_tasks.registry import store
from behavior_tasks.registry.package import find_packaged
from behavior_tasks.registry.versions import Champion, champion

Unit = Literal["shopper", "shopper_product"]
UNITS: tuple[Unit, ...] = ("shopper", "shopper_product")
PACKED = "artifacts"


def champions_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names both champions in the key of `champions_stage`; `raw` plays no part.

    Raises:
        store.UnreachableError: when MLflow does not answer.
    """
    named: dict[str, str] = {}
    for unit in UNITS:
        found = champion(home, of_unit(config, unit))
        named[f"champion of {unit}"] = f"{found.version} {found.model or 'unknown'}" if found else "none"
    return named


def champions_stage(job: Job) -> Output:
    """Bring each champion's folders, `UNIT/model` and `UNIT/events`.

    Facts: for each unit None, or `name`, `version`, `model` (URI of its artifact), `run_id` and `day` (which its run
    was for).

    Raises:
        UserError: when there is no champion at all, one is not what its title says, or its files can't be had.
    """
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
        for name in ("model", "events"):
            shutil.copytree(packed / PACKED / name, out / name)
        return
    with store.connect(home) as client:
        from mlflow.artifacts import download_artifacts

        place = client.get_model_version_download_uri(config.registry.model_name, found.version)
        uri = store.tracking_uri(home)
        for name in ("model", "events"):
            download_artifacts(artifact_uri=f"{place}/{PACKED}/{name}", dst_path=str(out), tracking_uri=uri)


def _packed(home: Home, found: Champion) -> Path | None:
    if found.model is None:
        return None
    try:
        return find_packaged(ArtifactStore(home.artifacts).open(found.model))
    except UserError:
        return None


def _check_unit(folder: Path, unit: Unit, name: str) -> None:
    settings = EventSettings.model_validate_json((folder / "events" / SETTINGS_FILE).read_bytes())
    if settings.examples.unit != unit:
        raise UserError(
            f"The champion of {name} answers another question.",
            found=f"unit {settings.examples.unit}",
            expected=f"unit {unit}",
            next_step=f"set serve.{'shopper' if unit == 'shopper' else 'product'}_model to another registered model",
        )
