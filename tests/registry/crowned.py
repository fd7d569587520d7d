"""The served shop's models kept, packaged, registered and promoted as a night of training would, on a real store."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.home import Home
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.registry import tracking, versions
from behavior_tasks.registry.package import package_model
from tests.registry.titles import WHEN
from tests.serve.world import NAMES, ServedShop

CONFIG = Config()
ONE = Rows(unit_in="models", unit_out="models", rows_in=1, rows_out=1)


def keep_both(home: Home, shop: ServedShop) -> None:
    """Keep the shop's two models, which nobody trained, each with its package."""
    for unit in NAMES:
        model = shop.champions.path / unit / "model"

        def trained(out: Path, model: Path = model) -> Output:
            shutil.copytree(model, out / "model")
            return Output(rows=ONE)

        keep(home, shop, unit, "train", trained)


def keep(
    home: Home,
    shop: ServedShop,
    unit: Unit,
    stage: str,
    work: Callable[[Path], Output],
    *,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Keep a model as its stage does, made from these inputs, with its package."""
    artifacts = ArtifactStore(home.artifacts)
    model = artifacts.build(
        stage=stage, code="", settings={"unit": unit}, inputs=inputs or {}, work=lambda out, key: work(out)
    ).artifact
    name, events = "boosting" if stage == "baselines" else "candidate", shop.champions.path / unit / "events"

    def package(out: Path, key: str) -> Output:
        (out / "packages").mkdir()
        package_model(model.path / "model", events, out / "packages" / name, uri=model.uri)
        return Output(rows=ONE)

    artifacts.build(stage="package", code="", settings={}, inputs={stage: model.uri}, work=package)


def models(home: Home, stage: str = "train") -> dict[Unit, Artifact]:
    artifacts = ArtifactStore(home.artifacts)
    found = (artifacts.find(stage, folder.name) for folder in (home.artifacts / stage).iterdir())
    return {artifact.manifest.settings["unit"]: artifact for artifact in found if artifact is not None}


def crown(home: Home, unit: Unit, *, stage: str = "train") -> None:
    """Register a unit's model under its name and promote it."""
    config, model = changed(CONFIG, {"registry.model_name": NAMES[unit]}), models(home, stage)[unit]
    run_id = f"night-{unit}"
    tracking.start_tracking(home, config, run_id=run_id, name=run_id, tags={})
    version = versions.register(home, config, run_id=run_id, model=model, tags={}).version
    told = {"decision": "promote", "reason": "better", "champion_version": None, "candidate": model.uri}
    versions.promote(
        home, config, version=version, verdict={**told, "test_hash": "abc"}, run_id=run_id, who="nightly", when=WHEN
    )
