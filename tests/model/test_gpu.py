"""All that can be seen only on a GPU. `make test-gpu` runs it; without a GPU it is skipped and says why."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.model.device import gpu_computes_bf16
from behavior_tasks.model.hardware import look_at_hardware
from behavior_tasks.model.predict import predict
from behavior_tasks.model.work_folder import EXIT_RESUME, Epoch, WorkFolder
from behavior_tasks.text.tokens import TokenSet
from tests.model.toy import Toy, make_toy, make_work, weights_hash

HAS_GPU = torch.cuda.is_available()
# With a GPU, nothing may touch it while tests are only collected.
WHY_NOT = "" if HAS_GPU else next(f.why for f in look_at_hardware(TrainConfig()) if f.what.startswith("NVIDIA"))
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason=f"no NVIDIA GPU: {WHY_NOT}")]
CUDA = {"device": "cuda", "precision": "fp32"}
STILL = {"dropout": 0.0}
"""Dropout is drawn by the device, so without it the GPU learns what the CPU learns."""
TRAINING = "import sys; from pathlib import Path; from behavior_tasks.model.train_process import train\n"
LITTLE_MEMORY = """
import torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv[2]) / torch.cuda.get_device_properties(0).total_memory)
"""
RUN = "sys.exit(train(Path(sys.argv[1]), follow_stdin=False))"


def start(work: WorkFolder, *, memory_bytes: int | None = None) -> "subprocess.Popen[bytes]":
    """Start the training in a process of its own: what it sets in torch must not stay."""
    code = TRAINING + (LITTLE_MEMORY if memory_bytes else "") + RUN
    command = [sys.executable, "-c", code, str(work.root), str(memory_bytes)]
    with work.log.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)


def train(work: WorkFolder, *, memory_bytes: int | None = None) -> list[Epoch]:
    code = start(work, memory_bytes=memory_bytes).wait(timeout=600)
    assert code == 0, work.log.read_text()
    return work.read_metrics()


def losses(epoch: Epoch) -> list[float]:
    return [epoch.purchase_loss, epoch.next_token_loss, epoch.amount_loss or 0.0, epoch.validation_loss]


@pytest.fixture(scope="module")
def on_gpu(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    work = make_work(tmp_path_factory.mktemp("on_gpu") / "work", toy, model=STILL, epochs=1, **CUDA)
    train(work)
    return work


def one_epoch(toy: Toy, tmp_path: Path, **settings: Any) -> Epoch:
    (epoch,) = train(make_work(tmp_path / "work", toy, model=STILL, epochs=1, **(CUDA | settings)))
    return epoch


def test_an_epoch_gives_what_it_gives_on_the_cpu(toy: Toy, on_gpu: WorkFolder, tmp_path: Path) -> None:
    cpu = one_epoch(toy, tmp_path, device="cpu")
    assert losses(on_gpu.read_metrics()[0]) == pytest.approx(losses(cpu), rel=1e-3)


def test_a_model_trained_there_predicts_the_same_on_the_cpu(toy: Toy, on_gpu: WorkFolder) -> None:
    tokens = TokenSet.load(toy.encode)
    rows = tokens.rows("test")
    gpu, cpu = (
        predict(on_gpu.bundle, tokens.sequences, rows, device=name, threads=1).probability for name in ("cuda", "cpu")
    )
    assert gpu == pytest.approx(cpu, abs=1e-4)


def test_bf16_learns_the_toy_as_well(toy: Toy, tmp_path: Path) -> None:
    if not gpu_computes_bf16(torch.device("cuda")):
        pytest.skip("this GPU has no bf16")
    epochs = train(make_work(tmp_path / "work", toy, epochs=30, patience=10, device="cuda", precision="bf16"))
    assert max(epoch.validation_average_precision for epoch in epochs) > 0.98


def test_compiled_it_learns_the_same(toy: Toy, on_gpu: WorkFolder, tmp_path: Path) -> None:
    assert losses(one_epoch(toy, tmp_path, compile=True)) == pytest.approx(losses(on_gpu.read_metrics()[0]), rel=1e-3)


def test_recomputed_activations_give_the_same_losses(toy: Toy, on_gpu: WorkFolder, tmp_path: Path) -> None:
    recomputed = one_epoch(toy, tmp_path, gradient_checkpointing=True)
    assert losses(recomputed) == pytest.approx(losses(on_gpu.read_metrics()[0]), rel=1e-4)


def test_out_of_memory_halves_what_is_computed_at_once_and_not_the_batch(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy", train_examples=8192)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 4096, "batch_tokens": 10_000_000, **CUDA}
    plenty = make_work(tmp_path / "plenty", toy, model=STILL, **settings)
    little = make_work(tmp_path / "little", toy, model=STILL, **settings)
    (whole,) = train(plenty)
    (halved,) = train(little, memory_bytes=120 * 2**20)
    assert "Out of memory" in little.log.read_text()
    assert halved.micro_batch_tokens < whole.micro_batch_tokens
    assert halved.step == whole.step
    assert losses(halved) == pytest.approx(losses(whole), rel=1e-3)


def test_a_stopped_training_goes_on_to_the_same_bits(toy: Toy, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 8, "patience": 8, "batch_size": 4, "checkpoint_steps": 7, **CUDA}
    whole, stopped = (make_work(tmp_path / name, toy, **settings) for name in ("whole", "stopped"))
    train(whole)
    process = start(stopped)
    limit = time.monotonic() + 300
    while len(stopped.read_metrics()) < 2 and time.monotonic() < limit:
        assert process.poll() is None, stopped.log.read_text()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) == EXIT_RESUME
    train(stopped)
    assert weights_hash(stopped.bundle) == weights_hash(whole.bundle)
