"""Keys: a stage is done again exactly when something it depends on has changed."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import STAGES, Run, last_runs, open_run, run_stage, start_run
from tests.shop import run_until


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        yield path


def reused(run: Run) -> dict[str, bool]:
    return {record.stage: record.reused for record in run.stages()}


def test_what_is_done_again_after_a_change() -> None:
    assert set(reused(run_until("cutoffs", "first")).values()) == {False}
    assert set(reused(run_until("cutoffs", "same")).values()) == {True}
    unrelated = {"train.epochs": 2, "gate.min_f1": 0.9, "engine.workers": 2, "engine.memory_mb": 512}
    assert set(reused(run_until("cutoffs", "unrelated", overrides=unrelated)).values()) == {True}
    changed = reused(run_until("cutoffs", "changed", overrides={"clean.outlier_factor": 2.5}))
    assert {stage for stage, again in changed.items() if again} == {"simulate", "source", "ingest"}
    assert not changed["clean"]
    assert not changed["cutoffs"]


def test_every_stage_that_is_read_comes_before_its_reader() -> None:
    names = list(STAGES)
    for name, stage in STAGES.items():
        for needed in stage.inputs:
            assert names.index(needed.removesuffix("?")) < names.index(name)


def test_a_run_starts_again_under_its_name_and_keeps_what_is_done(home: Path) -> None:
    run = run_until("source", "manual__2026-11-23T02:00:00+00:00")
    assert run.record.run_id == "manual__2026-11-23T02-00-00-00-00"
    again = run_until("source", "manual__2026-11-23T02:00:00+00:00")
    assert set(reused(again).values()) == {True}
    assert last_runs(again.home, most=1)[0].record.run_id == run.record.run_id


def test_a_user_error_is_kept_for_the_closing_message(home: Path, tmp_path: Path) -> None:
    uri = start_run("broken", day=date(2026, 11, 23), trigger="manual", input_path=str(tmp_path / "none.csv"))
    with pytest.raises(UserError):
        run_stage("source", uri)
    noted = open_run(uri).noted("error")
    assert noted is not None
    assert noted["stage"] == "source"
    assert "none.csv" in noted["message"]
    assert open_run(uri).stages() == []


def test_an_unknown_run_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="no run nowhere"):
        open_run("run://nowhere")


@pytest.mark.parametrize("asked", [{"train.device": "cuda"}, {"train.processes": 64}])
def test_hardware_that_is_not_there_is_refused_before_the_first_stage(
    asked: dict[str, object], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (setting,) = asked
    with pytest.raises(UserError, match=setting.replace(".", r"\.")) as caught:
        start_run("too-much", day=date(2026, 11, 23), trigger="manual", overrides=asked)
    assert str(caught.value.next_step).startswith(f"set {setting}=")
    assert not (home / "runs" / "too-much").exists()
    # A look at the log trains nothing, so it needs no GPU.
    start_run("a-look", day=date(2026, 11, 23), trigger="inspection", overrides=asked)


def test_what_a_newer_version_wrote_is_refused_with_the_keys_that_are_new() -> None:
    run = run_until("source", "newer")
    written = json.loads((run.folder / "run.json").read_bytes())
    artifact = run.need("source")

    def refused(path: Path, content: str) -> str:
        before = path.read_bytes()
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            open_run(run.uri).need("source")
        path.write_bytes(before)
        return str(caught.value)

    newer = {**written, "why": "tea", "config": {**written["config"], "serve": {"teapots": 3}}}
    said = refused(run.folder / "run.json", json.dumps(newer))
    assert said.startswith("runs/newer/run.json was written by a newer version")
    assert "unknown key config.serve.teapots, unknown key why" in " ".join(said.split())
    assert "upgrade" in said
    assert "unknown value of trigger" in refused(run.folder / "run.json", json.dumps({**written, "trigger": "whim"}))
    torn = refused(run.folder / "run.json", json.dumps(written)[:-9])
    assert torn.startswith("runs/newer/run.json is damaged.")
    assert "move runs/newer" in torn
    stage = run.folder / "stages" / "source.json"
    assert "unknown key cups" in refused(stage, json.dumps({**json.loads(stage.read_bytes()), "cups": 1}))
    assert f"artifacts/source/{artifact.key}/manifest.json was written by a newer version" in refused(
        artifact.path / "manifest.json", artifact.manifest.model_dump_json()[:-1] + ', "teapots": []}'
    )
    assert open_run(run.uri).need("source").uri == artifact.uri
