"""A state folder with an embedded MLflow store, and one small world for the models."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store
from tests.verdict.world import World, make_world, package_of


@pytest.fixture(autouse=True, scope="session")
def embedded() -> Iterator[None]:
    """No tracking server of the machine that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def tables(embedded: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them; making one takes more than a second."""
    home = Home(tmp_path_factory.mktemp("tables"))
    with store.connect(home):
        return home.mlflow / store.DATABASE


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A state folder in which nothing was ever written."""
    return Home(tmp_path / "home")


@pytest.fixture
def home(bare: Home, tables: Path) -> Home:
    """A state folder of the test's own, with an embedded store."""
    bare.mlflow.mkdir(parents=True)
    shutil.copy(tables, bare.mlflow / store.DATABASE)
    return bare


@pytest.fixture
def model(world: World, home: Home) -> Artifact:
    """A train artifact that lies in the test's own artifact store."""
    return adopt(world.model(1), home)


def adopt(model: Artifact, home: Home) -> Artifact:
    """Copy a train artifact, and how it is packaged, into a state folder's store."""
    package = package_of(model)
    shutil.copytree(package.path, home.artifacts / "package" / package.key, dirs_exist_ok=True)
    place = home.artifacts / "train" / model.key
    shutil.copytree(model.path, place)
    return Artifact(path=place, manifest=model.manifest)


@pytest.fixture
def world_model(world: World) -> Artifact:
    """A train artifact that lies in no store of the test's own state folder."""
    return world.model(1)
