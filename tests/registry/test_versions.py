"""Versions on a real embedded store: registered once, promoted only on promote, and brought back whole."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.registry import ledger, tracking, versions
from behavior_tasks.registry.versions import Registered
from tests.registry.conftest import adopt
from tests.verdict.world import World

CONFIG = Config()
WHEN = datetime(2026, 11, 23, 2, 15, tzinfo=UTC)
TAGS = {"verdict": "promote", "test_hash": "abc", "f1": "0.43"}


@pytest.fixture(autouse=True)
def started(home: Home) -> None:
    start(home, "night-1")


def start(home: Home, run_id: str) -> None:
    tracking.start_tracking(home, CONFIG, run_id=run_id, name=run_id, tags={})


def client(home: Home) -> MlflowClient:
    uri = tracking.tracking_uri(home)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def register(home: Home, model: Artifact, run_id: str = "night-1") -> Registered:
    return versions.register(home, CONFIG, run_id=run_id, model=model, tags=TAGS)


def verdict(model: Artifact, champion: str | None = None, **changes: Any) -> dict[str, Any]:
    told = {"decision": "promote", "reason": "promote: it is better", "champion_version": champion}
    return told | {"candidate": model.uri, "test_hash": "abc"} | changes


def promote(home: Home, version: str, told: dict[str, Any], run_id: str = "night-1") -> None:
    versions.promote(home, CONFIG, version=version, verdict=told, run_id=run_id, who="nightly", when=WHEN)


def champion_version(home: Home) -> str | None:
    found = versions.champion(home, CONFIG)
    return found and found.version


def champion_stage(home: Home, out: Path) -> tuple[Path, dict[str, Any]]:
    out.mkdir()
    job = Job(config=CONFIG, inputs={}, out=out, key="k", home=home, today=date(2026, 11, 23))
    output = versions.champion_stage(job)
    assert output.rows.balanced
    return out / "model", dict(output.facts or {})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_registered_with_its_tags_and_its_run(home: Home, model: Artifact) -> None:
    assert register(home, model) == Registered(version="1", reused=False)
    found = client(home).get_model_version("behavior", "1")
    assert found.tags == {**TAGS, "artifact": model.uri, "run_id": "night-1"}
    run = client(home).get_run(found.run_id)
    assert run.data.tags["dag_run_id"] == "night-1"
    assert run.info.status == "RUNNING"
    assert len(run.outputs.model_outputs) == 1
    assert client(home).get_registered_model("behavior").aliases == {"challenger": 1}


def test_the_same_model_is_registered_once_whatever_run_gives_it(home: Home, model: Artifact, world: World) -> None:
    register(home, model)
    start(home, "night-2")
    assert register(home, model, "night-2") == Registered(version="1", reused=True)
    assert register(home, adopt(world.model(2), home), "night-2") == Registered(version="2", reused=False)
    assert len(client(home).search_model_versions("name = 'behavior'")) == 2


def test_a_model_without_a_run_is_refused(home: Home, model: Artifact) -> None:
    with pytest.raises(UserError, match="no MLflow run for night-7"):
        register(home, model, "night-7")


def test_a_registration_that_crashed_before_the_version_is_completed(
    home: Home, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("log_model_artifacts", "create_model_version"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, step, crash)
            with pytest.raises(KeyboardInterrupt):
                register(home, model)
    assert register(home, model) == Registered(version="1", reused=False)
    experiment = client(home).get_experiment_by_name("behavior").experiment_id
    assert len(client(home).search_logged_models([experiment])) == 1


def test_nothing_registered_names_a_path_of_this_machine(home: Home, model: Artifact) -> None:
    register(home, model)
    (place,) = home.mlflow.rglob("MLmodel")
    told = b"".join(path.read_bytes() for path in place.parent.iterdir() if path.is_file())
    assert str(home.root).encode() not in told
    assert str(model.path).encode() not in told
    assert model.uri.encode() in told
    assert not list(place.parent.rglob("*.pkl"))
    requirements = (place.parent / "requirements.txt").read_text().splitlines()
    assert all("==" in line and "+" not in line for line in requirements)


def test_only_a_promotion_makes_a_champion(home: Home, model: Artifact) -> None:
    register(home, model)
    assert versions.champion(home, CONFIG) is None
    with pytest.raises(ValueError, match="is not to be promoted: keep: worse"):
        promote(home, "1", verdict(model, decision="keep", reason="keep: worse"))
    assert versions.champion(home, CONFIG) is None
    assert ledger.read(home) == []
    promote(home, "1", verdict(model))
    found = versions.champion(home, CONFIG)
    assert (found.version, found.model, found.run_id) == ("1", model.uri, "night-1")


def test_a_promotion_is_one_line_however_often_it_is_repeated(home: Home, model: Artifact) -> None:
    register(home, model)
    for _ in range(3):
        promote(home, "1", verdict(model))
    (line,) = ledger.read(home)
    assert {name: line[name] for name in ledger.FIELDS} == (
        {
            "kind": "promotion",
            "model": "behavior",
            "when": "2026-11-23T02:15:00+00:00",
            "who": "nightly",
            "why": "promote: it is better",
            "version": "1",
            "from_version": None,
            "verdict": "promote",
            "test_hash": "abc",
            "run_id": "night-1",
        }
    )


def test_a_late_retry_does_not_bring_an_old_champion_back(home: Home, model: Artifact, world: World) -> None:
    second = adopt(world.model(2), home)
    register(home, model)
    promote(home, "1", verdict(model))
    start(home, "night-2")
    register(home, second, "night-2")
    promote(home, "2", verdict(second, "1"), "night-2")
    promote(home, "1", verdict(model))
    assert champion_version(home) == "2"
    assert len(ledger.read(home)) == 2


@pytest.mark.parametrize("measured_against", [None, "7"])
def test_a_verdict_about_another_champion_promotes_nothing(
    measured_against: str | None, home: Home, model: Artifact, world: World
) -> None:
    second = adopt(world.model(2), home)
    register(home, model)
    register(home, second)
    promote(home, "1", verdict(model))
    with pytest.raises(UserError, match="champion changed while this run was judged") as caught:
        promote(home, "2", verdict(second, measured_against))
    assert "version 1 is champion" in str(caught.value)
    assert champion_version(home) == "1"
    assert len(ledger.read(home)) == 1


def test_a_verdict_about_another_model_promotes_nothing(home: Home, model: Artifact) -> None:
    register(home, model)
    with pytest.raises(ValueError, match="which is not version 1"):
        promote(home, "1", verdict(model, candidate="artifact://train/other"))
    assert versions.champion(home, CONFIG) is None


def test_the_identity_names_version_model_and_whether_it_can_be_read(home: Home, model: Artifact) -> None:
    assert versions.champion_identity(None, CONFIG, home) == {"champion": "none"}
    register(home, model)
    promote(home, "1", verdict(model))
    whole = {"champion": "1", "model": model.uri, "problem": "none"}
    assert versions.champion_identity(None, CONFIG, home) == whole
    # Gone from the store, it is still in MLflow; gone from there too, it is another identity.
    shutil.rmtree(model.path)
    assert versions.champion_identity(None, CONFIG, home) == whole
    next(home.mlflow.rglob("model.safetensors")).unlink()
    gone = versions.champion_identity(None, CONFIG, home)
    assert "model.safetensors missing" in gone["problem"]


@pytest.mark.parametrize("in_store", [True, False])
def test_the_champions_files_come_back_whole(in_store: bool, home: Home, model: Artifact, tmp_path: Path) -> None:
    register(home, model)
    promote(home, "1", verdict(model))
    expected = files(model.path / "model")
    if in_store:
        shutil.rmtree(home.mlflow / "artifacts")
    else:
        shutil.rmtree(model.path)
    folder, facts = champion_stage(home, tmp_path / "out")
    assert facts == {"version": "1", "model": model.uri, "day": facts["day"], "problem": None}
    assert files(folder) == expected


def test_a_champion_that_changed_after_the_key_was_made_is_refused(home: Home, model: Artifact, tmp_path: Path) -> None:
    before = versions.champion_identity(None, CONFIG, home)
    register(home, model)
    promote(home, "1", verdict(model))
    (tmp_path / "out").mkdir()
    job = Job(
        config=CONFIG, inputs={}, out=tmp_path / "out", key="k", home=home, today=date(2026, 11, 23), outside=before
    )
    with pytest.raises(UserError, match="changed while this run"):
        versions.champion_stage(job)


def test_without_a_champion_there_are_no_files(home: Home, tmp_path: Path) -> None:
    folder, facts = champion_stage(home, tmp_path / "out")
    assert facts == {"version": None, "model": None, "day": None, "problem": None}
    assert not folder.exists()


def test_a_champion_whose_files_are_gone_is_a_problem(home: Home, model: Artifact, tmp_path: Path) -> None:
    register(home, model)
    promote(home, "1", verdict(model))
    shutil.rmtree(model.path)
    shutil.rmtree(home.mlflow / "artifacts")
    folder, facts = champion_stage(home, tmp_path / "out")
    assert (facts["version"], facts["model"]) == ("1", model.uri)
    assert "neither in the state folder nor whole in MLflow" in facts["problem"]
    assert str(home.root) not in facts["problem"]
    assert not folder.exists()


def test_an_alias_that_somebody_set_by_hand_is_the_champion(home: Home, model: Artifact, world: World) -> None:
    register(home, model)
    register(home, adopt(world.model(2), home))
    promote(home, "1", verdict(model))
    client(home).set_registered_model_alias("behavior", "champion", "2")
    assert champion_version(home) == "2"
    client(home).delete_registered_model_alias("behavior", "champion")
    assert versions.champion(home, CONFIG) is None
    with pytest.raises(MlflowException):
        client(home).get_model_version_by_alias("behavior", "champion")
