import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.model.predict import score_texts
from behavior_tasks.model.train import TrainingStoppedError, stopping_on_signals, train_stage
from tests.model.toy import MODEL, TRAIN, Toy, make_artifact, make_job


def job_on(toy: Toy, folder: Path, *, model: dict[str, object] | None = None, **settings: object) -> Job:
    config = {"model": MODEL | (model or {}), "train": TRAIN | settings}
    return make_job(folder, config, make_artifact(toy.encode, "encode"), make_artifact(toy.verbalize, "verbalize"))


def test_the_stage_leaves_the_bundle_and_the_metrics_and_nothing_unfinished(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path, epochs=2)
    output = train_stage(job)

    files = {str(file.relative_to(job.out)) for file in job.out.rglob("*") if file.is_file()}
    assert files >= {"metrics.jsonl", "model/config.json", "model/model.safetensors", "model/decision.json"}
    assert {name.split("/")[0] for name in files} == {"metrics.jsonl", "model"}
    assert output.rows.rows_in == 220
    assert output.facts is not None
    assert output.facts["epochs"] == 2
    assert list((job.home.work / "train").iterdir()) == []
    assert score_texts(job.out / "model", toy.texts[:3], device="cpu", threads=1).shape == (3,)


def test_a_mistake_found_by_the_process_comes_back_as_the_users(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    job = job_on(toy, tmp_path / "job", model={"checkpoint": str(tmp_path / "empty")})
    with pytest.raises(UserError, match="is not a GPT-2"):
        train_stage(job)
    assert list(job.out.iterdir()) == []


def test_a_process_that_dies_leaves_its_last_words(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path / "job")
    missing = make_artifact(tmp_path / "nowhere", "encode")
    with pytest.raises(TrainingStoppedError, match="run again") as caught:
        train_stage(Job(**{**vars(job), "inputs": {**job.inputs, "encode": missing}}))
    assert "FileNotFoundError" in str(caught.value)
    assert str(job.home.root) not in str(caught.value)


def test_a_signal_stops_the_process_in_good_order_and_then_reaches_the_caller(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path, epochs=1000, patience=100)
    folder = job.home.work / "train" / job.key

    def interrupt_when_training() -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (folder / "last.safetensors").is_file():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # A script's background jobs start with the interrupt ignored; this one is meant to be heeded.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt_when_training)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            train_stage(job)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert '"stopped"' in (folder / "outcome.json").read_text()
    assert (folder / "last.safetensors").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named_before_anything_starts(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path, device="cuda")
    with pytest.raises(UserError, match=r"train\.device") as caught:
        train_stage(job)
    assert str(caught.value.next_step).startswith("set train.device=auto")
    assert not job.home.work.exists()


def test_two_runs_never_train_the_same_model_at_once(toy: Toy, tmp_path: Path) -> None:
    from filelock import FileLock

    job = job_on(toy, tmp_path)
    (job.home.work / "train").mkdir(parents=True)
    with (
        FileLock(job.home.work / "train" / f"{job.key}.lock"),
        pytest.raises(UserError, match="being trained by another run"),
    ):
        train_stage(job)


def test_a_termination_without_a_handler_ends_the_caller_tidily() -> None:
    stopped = []
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as caught, stopping_on_signals(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 128 + signal.SIGTERM
    assert stopped == [True]


def test_a_signal_that_the_caller_ignores_stops_nothing() -> None:
    stopped = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped == []
