import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.model.device import cores
from behavior_tasks.model.predict import score_texts
from behavior_tasks.model.train import TrainingStoppedError, train_stage
from behavior_tasks.model.work_folder import WorkFolder
from tests.model.toy import MODEL, NUMBERS, TRAIN, Toy, make_artifact, make_job, make_work, train_here, weights_hash


def artifacts(toy: Toy) -> list[Artifact]:
    """What the stage reads: tokens, text settings, and baselines that teach nothing."""
    places = {"encode": toy.encode, "verbalize": toy.verbalize, "baselines": toy.verbalize}
    return [make_artifact(path, stage) for stage, path in places.items()]


def job_on(toy: Toy, folder: Path, *, model: dict[str, object] | None = None, **settings: object) -> Job:
    config = {"model": MODEL | (model or {}), "train": TRAIN | settings}
    return make_job(folder, config, *artifacts(toy))


BLOCKER = """
import sys
from importlib.machinery import ModuleSpec

class Blocked:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] in ("airflow", "mlflow") else None
    def create_module(self, spec):
        raise ImportError(spec.name + " is blocked")
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def without_airflow_and_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes that are started now, importing either fails."""
    (tmp_path / "blocker").mkdir()
    (tmp_path / "blocker" / "sitecustomize.py").write_text(BLOCKER)
    found = [str(tmp_path / "blocker"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    imported = subprocess.run([sys.executable, "-c", "import mlflow"], capture_output=True, text=True, check=False)
    assert "mlflow is blocked" in imported.stderr


@pytest.mark.usefixtures("without_airflow_and_mlflow")
def test_the_stage_leaves_the_bundle_and_the_metrics_and_nothing_unfinished(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path, epochs=2)
    output = train_stage(job)

    files = {str(file.relative_to(job.out)) for file in job.out.rglob("*") if file.is_file()}
    assert files >= {
        "metrics.jsonl",
        "plots/learning_curve.png",
        "plots/loss.png",
        "model/config.json",
        "model/model.safetensors",
        "model/decision.json",
    }
    assert {name.split("/")[0] for name in files} == {"metrics.jsonl", "model", "plots"}
    assert output.rows.rows_in == 220
    assert output.facts is not None
    assert output.facts["epochs"] == 2
    assert list((job.home.work / "train").iterdir()) == []
    numbers = pd.DataFrame(0.0, index=range(3), columns=NUMBERS)
    assert len(score_texts(job.out / "model", toy.texts[:3], numbers, device="cpu", threads=1).probability) == 3


def test_a_mistake_found_by_the_process_comes_back_as_the_users(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    job = job_on(toy, tmp_path / "job", model={"checkpoint": str(tmp_path / "empty")})
    with pytest.raises(UserError, match="neither a GPT-2 nor a BERT"):
        train_stage(job)
    assert list(job.out.iterdir()) == []


def test_a_process_that_dies_leaves_its_last_words(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path / "job", epochs=1)
    missing = make_artifact(tmp_path / "nowhere", "verbalize")
    with pytest.raises(TrainingStoppedError, match="run again") as caught:
        train_stage(Job(**{**vars(job), "inputs": {**job.inputs, "verbalize": missing}}))
    assert "FileNotFoundError" in str(caught.value)
    assert str(job.home.root) not in str(caught.value)


def test_a_signal_stops_the_process_in_good_order_and_then_reaches_the_caller(toy: Toy, tmp_path: Path) -> None:
    job = job_on(toy, tmp_path, epochs=1000, patience=100)
    folder = job.home.work / "train" / job.key

    def interrupt_when_training() -> None:
        deadline = time.monotonic() + 300
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


@pytest.mark.slow
def test_a_training_that_hangs_is_ended_and_goes_on_to_the_same_weights(toy: Toy, tmp_path: Path) -> None:
    settings = {"epochs": 12, "patience": 12, "batch_size": 2, "checkpoint_steps": 20}
    job = job_on(toy, tmp_path / "hangs", stall_seconds=5, **settings)
    work = WorkFolder(job.home.work / "train" / job.key)
    stopped: list[int] = []

    def stop_when_training() -> None:
        limit = time.monotonic() + 240
        while time.monotonic() < limit and not stopped:
            beat = work.read_heartbeat()
            if beat is not None and beat.step > 40:
                os.kill(beat.pid, signal.SIGSTOP)
                stopped.append(beat.pid)
            time.sleep(0.02)

    thread = threading.Thread(target=stop_when_training)
    thread.start()
    with pytest.raises(TrainingStoppedError, match=r"did nothing for 5 s.*train\.stall_seconds.*run again"):
        train_stage(job)
    thread.join()
    assert not psutil.pid_exists(stopped[0])
    assert work.last.is_file()

    # On a busy machine, five seconds of silence may be honest; the limit changes nothing of what is learned.
    patient = job.config.model_copy(update={"train": job.config.train.model_copy(update={"stall_seconds": 300.0})})
    train_stage(replace(job, config=patient))
    whole = make_work(tmp_path / "whole", toy, **settings)
    assert train_here(whole) == 0
    assert weights_hash(job.out / "model") == weights_hash(whole.bundle)


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="two processes need two cores")
def test_two_processes_learn_the_same_as_one(toy: Toy, tmp_path: Path) -> None:
    still = {"dropout": 0.0}
    """Dropout is drawn by each process for its share."""
    one = make_work(tmp_path / "one", toy, model=still, epochs=2)
    assert train_here(one) == 0
    job = job_on(toy, tmp_path / "two", model=still, epochs=2, processes=2)
    train_stage(job)
    lines = [json.loads(line) for line in (job.out / "metrics.jsonl").read_text().splitlines()]
    for expected, found in zip(one.read_metrics(), lines, strict=True):
        for name in ("train_loss", "purchase_loss", "next_token_loss", "validation_loss"):
            assert found[name] == pytest.approx(getattr(expected, name), rel=1e-4)


NEEDED = ("accelerate", "duckdb", "filelock", "fsspec", "httpx", "huggingface-hub", "jinja2", "matplotlib", "numpy")
NEEDED += ("pandas", "psutil", "pyarrow", "pydantic", "pyyaml", "rich", "safetensors", "scikit-learn", "skops")
NEEDED += ("threadpoolctl", "tokenizers", "torch", "transformers", "typer")
IN_VENV = """
import importlib.util, sys
from pathlib import Path
from behavior_tasks.model.train import train_stage
from tests.model.toy import MODEL, TRAIN, make_artifact, make_job, make_toy
assert not [name for name in ("airflow", "mlflow", "pytest") if importlib.util.find_spec(name)]
folder = Path(sys.argv[1])
toy = make_toy(folder / "toy")
stages = {"encode": toy.encode, "verbalize": toy.verbalize, "baselines": toy.verbalize}
inputs = [make_artifact(path, stage) for stage, path in stages.items()]
train_stage(make_job(folder, {"model": MODEL, "train": TRAIN | {"epochs": 1}}, *inputs))
"""


@pytest.mark.slow
def test_it_trains_where_neither_airflow_nor_mlflow_is_installed(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    link_packages(packages, NEEDED)
    root = Path(__file__).resolve().parents[2]
    command = [str(tmp_path / "venv" / "bin" / "python"), "-c", IN_VENV, str(tmp_path / "work")]
    # Only PYTHONPATH leads to this project; what else the caller's names is not to be found.
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "work" / "out" / "model" / "model.safetensors").is_file()


def link_packages(place: Path, names: Iterable[str]) -> None:
    """Link installed distributions, and all that they require, into another environment's packages."""
    wanted, seen = list(names), set()
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        name = canonicalize_name(distribution.name)
        if name in seen:
            continue
        seen.add(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            target = place / top
            if not target.exists():
                target.symlink_to(distribution.locate_file(top))
        required = (Requirement(text) for text in distribution.requires or ())
        wanted += [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
