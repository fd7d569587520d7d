"""The champions that serve, on a real store: from the artifact store, from MLflow alone, and refused when not right."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output
from behavior_tasks.base.config import changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model.baselines import baselines_stage
from behavior_tasks.registry import store
from behavior_tasks.registry.champions import champions_identity, champions_stage
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.score import score_at
from tests.registry.crowned import CONFIG, crown, keep, keep_both, models
from tests.serve.world import NAMES, ServedShop


@pytest.fixture(scope="module")
def packed(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An artifact store with the shop's two models, trained by nobody, each with its package."""
    made = Home(tmp_path_factory.mktemp("packed") / "home")
    keep_both(made, shop)
    return made


@pytest.fixture
def served(home: Home, packed: Home) -> Home:
    """A state folder whose store has both packages, and no champion."""
    shutil.copytree(packed.artifacts, home.artifacts)
    return home


def bring(home: Home, out: Path, **settings: Any) -> Artifact:
    """The artifact of the stage, made in a store of its own."""
    config = changed(CONFIG, {name.replace("__", "."): value for name, value in settings.items()})

    def work(folder: Path, key: str) -> Output:
        outside = champions_identity(None, config, home)
        return champions_stage(
            Job(config=config, inputs={}, out=folder, key=key, home=home, today=date(2026, 11, 23), outside=outside)
        )

    return ArtifactStore(out).build(stage="champions", code="", settings={}, inputs={}, work=work).artifact


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_both_units_come_whole_from_the_store_and_from_mlflow_alone(
    served: Home, shop: ServedShop, tmp_path: Path
) -> None:
    crown(served, "shopper")
    crown(served, "shopper_product")
    for number, unit in enumerate(NAMES):
        if unit == "shopper_product":  # the second time nothing of the first run is left
            shutil.rmtree(served.artifacts)
        found = bring(served, tmp_path / str(number))
        for there in NAMES:
            assert files(found.path / there) == files(shop.champions.path / there)
            champion = Champion.load(found, there)
            assert champion is not None
            assert (champion.name, champion.version, champion.unit) == (NAMES[there], "1", there)
            assert champion.examples.unit == there
            assert found.facts[there]["run_id"] == f"night-{there}"
        assert found.manifest.rows.rows_out == 2


def test_one_champion_serves_alone_and_whatever_is_not_right_is_refused(
    served: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = champions_identity(None, CONFIG, served)
    crown(served, "shopper")
    wanted = models(served)["shopper"].uri
    after = champions_identity(None, CONFIG, served)
    assert after["champion of shopper"] == f"1 {wanted}"
    assert {name for name in after if after[name] != before[name]} == {"champion of shopper"}

    (tmp_path / "late").mkdir()
    asked: dict[str, Any] = {"config": CONFIG, "inputs": {}, "home": served, "today": date(2026, 11, 23)}
    with pytest.raises(UserError, match="changed while it was asked for"):
        champions_stage(Job(**asked, out=tmp_path / "late", key="k", outside=before))

    # Another run's package is damaged, and stands in front of the champion's.
    first = served.artifacts / "package" / ("0" * 20)
    shutil.copytree(next((served.artifacts / "package").iterdir()), first)
    (first / "manifest.json").write_text("{")
    found = bring(served, tmp_path / "damaged")
    assert Champion.load(found, "shopper") is not None
    assert Champion.load(found, "shopper_product") is None
    assert found.facts["shopper_product"] is None
    assert "It is passed over" in caplog.text

    with pytest.raises(UserError, match="champion of behavior answers another question") as caught:
        bring(served, tmp_path / "other", serve__product_model="behavior")
    assert (caught.value.found, caught.value.expected) == ("unit shopper", "unit shopper_product")

    shutil.rmtree(served.artifacts)
    for folder in served.mlflow.rglob("artifacts/events"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="files of version 1 of behavior, the champion, can't be had") as caught:
        bring(served, tmp_path / "nowhere")
    assert "behavior rollback --model behavior" in str(caught.value.next_step)
    assert not list((tmp_path / "nowhere" / "champions").glob("[0-9a-f]*"))


@pytest.mark.slow
def test_a_boosting_that_was_promoted_serves_from_the_store_and_from_mlflow(
    served: Home, shop: ServedShop, tmp_path: Path
) -> None:
    def boosted(out: Path) -> Output:
        inputs = {"features": shop.run.need("features")}
        today = date(2026, 11, 23)
        return baselines_stage(Job(config=shop.config, inputs=inputs, out=out, key="k", home=served, today=today))

    keep(served, shop, "shopper", "baselines", boosted)
    crown(served, "shopper", stage="baselines")
    scored = []
    for out in ("store", "mlflow"):
        champion = Champion.load(bring(served, tmp_path / out), "shopper")
        assert champion is not None
        assert champion.text is None, "it reads no text"
        (tmp_path / f"{out}-scores").mkdir()
        written = score_at(
            champion, shop.events, shop.moment, tmp_path / f"{out}-scores", place=shop.place, data_hash="d"
        )
        scored.append(pd.concat(pd.read_parquet(bucket.file) for bucket in written))
        shutil.rmtree(served.artifacts, ignore_errors=True)
    assert len(scored[0]) > 50
    pd.testing.assert_frame_equal(scored[0], scored[1])
    assert scored[0]["probability"].nunique() > 5


def test_without_any_champion_nothing_is_served_and_the_next_command_is_named(home: Home, tmp_path: Path) -> None:
    assert champions_identity(None, CONFIG, home) == {
        "champion of shopper": "none",
        "champion of shopper_product": "none",
    }
    with pytest.raises(UserError, match="There is no champion yet") as caught:
        bring(home, tmp_path / "out")
    assert "behavior run" in str(caught.value.next_step)


def test_an_mlflow_that_does_not_answer_stops_serving(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.URI_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(store.UnreachableError, match="nobody can say which model is champion") as caught:
        champions_identity(None, CONFIG, home)
    assert "behavior score" in str(caught.value.next_step)
