"""Two runs or versions side by side: only what differs, and never a figure of other examples as if it compared."""

import shutil
from pathlib import Path

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.compare import Comparison, compare
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.registry import store, tracking
from tests.pipeline.records import LABELS, build, make_artifact, make_run, measured

CONFIG = Config.model_validate({"gate": {"bootstrap": 100}})
PERFECT = [0.9 if label else 0.1 for label in LABELS]
EVERYBODY = [0.8] * len(LABELS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    return Home(tmp_path / "home")


def run_of(home: Home, run_id: str, answers: list[float], *, clean: str = "same", test_hash: str = "a" * 64) -> Run:
    made = {
        "clean": build(home, "clean", clean, lambda out: (out / "x").write_text(clean), content_hash=f"hash-{clean}"),
        "evaluate": measured(home, run_id, answers, test_hash=test_hash),
    }
    seed = 7 if run_id == "first" else 8
    return make_run(home, run_id, made, train={"seed": seed})


def names(found: Comparison, what: str) -> list[str]:
    return [row.name for row in getattr(found, what)]


def test_only_what_differs_is_shown_with_a_paired_difference(home: Home) -> None:
    run_of(home, "first", EVERYBODY)
    run_of(home, "second", PERFECT)
    found = compare(home, CONFIG, "first", "run second")
    assert found.not_comparable is None
    assert names(found, "settings") == ["train.seed"]
    assert names(found, "data") == []
    # Both have the same threshold and average precision in their metrics, which are therefore not shown.
    assert names(found, "metrics") == ["f1"]
    f1, precision = found.differences["f1"], found.differences["average_precision"]
    # Calling everybody a buyer gives F1 2/3 where half of them are; calling exactly the buyers gives 1.
    assert f1.difference == pytest.approx(1 / 3)
    assert precision.difference == pytest.approx(0.5)
    assert 0 < f1.lower < f1.difference < f1.upper
    back = compare(home, CONFIG, "second", "first")
    assert back.differences["f1"].difference == pytest.approx(-1 / 3)


def test_other_test_examples_are_not_comparable(home: Home) -> None:
    run_of(home, "first", EVERYBODY)
    run_of(home, "second", PERFECT, clean="other", test_hash="b" * 64)
    found = compare(home, CONFIG, "first", "second")
    assert found.not_comparable == "they were measured on different test examples (aaaaaaaa and bbbbbbbb)"
    assert found.differences == {}
    (row,) = found.data
    assert (row.name, row.first, row.second) == ("clean", "hash-same", "hash-other")


def test_a_run_whose_files_are_gone_is_read_from_mlflow(home: Home) -> None:
    first = run_of(home, "first", EVERYBODY)
    run_of(home, "second", PERFECT)
    tracking.start_tracking(home, CONFIG, run_id="first", name="run first", tags={"log": "log.csv"})
    tracking.log_results(
        home,
        CONFIG,
        run_id="first",
        params={"train.seed": 7},
        metrics={"test_f1": 0.5, "test_threshold": 0.5, "boosting_test_f1": 0.25},
        epochs=[],
        plots=[],
        files=[],
        datasets={"clean": "hash-same"},
        tags={"test_hash": "a" * 64},
    )
    with store.connect(home) as client:
        mlflow_run = store.need_run(client, home, CONFIG, "first").info.run_id
    shutil.rmtree(first.folder)
    for word in ("first", mlflow_run):
        found = compare(home, CONFIG, word, "second")
        assert found.first.run_id == "first"
        assert found.first.metrics == {"f1": 0.5, "threshold": 0.5}
        assert found.not_comparable is None
        assert found.differences == {}
        assert "train.seed" in names(found, "settings")
        assert "clean" not in names(found, "data")


def test_a_version_is_found_by_number_and_alias_and_boosting_brings_its_own_figures(home: Home) -> None:
    run_of(home, "first", PERFECT)
    with store.connect(home) as client:
        client.create_registered_model("behavior")
        for kind in ("language_model", "boosting"):
            tags = {"run_id": "first", "kind": kind}
            client.create_model_version("behavior", source="file:///nowhere", tags=tags)
        client.set_registered_model_alias("behavior", "challenger", "2")
    found = compare(home, CONFIG, "v1", "challenger")
    assert (found.first.version, found.second.version) == ("1", "2")
    assert found.second.label == "version 2 (challenger) · run first"
    assert found.second.metrics["f1"] == 0.25
    # Nobody reaches boosting's threshold, so its F1 is 0 on these predictions.
    assert found.differences["f1"].difference == pytest.approx(-1.0)
    with pytest.raises(UserError, match="No version has the alias previous"):
        compare(home, CONFIG, "previous", "1")


def test_words_that_name_nothing_or_too_much_are_refused(home: Home) -> None:
    run_of(home, "first", PERFECT)
    run_of(home, "second", PERFECT)
    make_run(home, "unfinished", {"clean": make_artifact(home, "clean", "x")})
    twin = make_run(home, "third", {})
    (twin.folder / "run.json").write_text((home.runs / "first" / "run.json").read_text().replace('"first"', '"third"'))
    for word, said in (
        ("nobody", "nobody names no version and no run"),
        ("7", "7 names no version and no run"),
        ("../first", "names no version and no run"),
        ("run first", "2 runs are called run first"),
        ("unfinished", "unfinished can't be compared: its run unfinished was not measured"),
    ):
        with pytest.raises(UserError, match=said):
            compare(home, CONFIG, word, "second")
