from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model import device
from behavior_tasks.model.device import cores, pick_device, pick_precision
from behavior_tasks.model.launch import check_hardware, launch_command
from behavior_tasks.model.work_folder import WorkFolder

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def written(folder: Path, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    command = launch_command(WorkFolder(folder), TrainConfig(**settings))
    return yaml.safe_load((folder / "accelerate.yaml").read_text()), command


def test_one_process_is_started_plainly_and_several_through_torchrun(tmp_path: Path) -> None:
    one, command = written(tmp_path, device="cpu", threads=3)
    assert (one["distributed_type"], one["num_processes"], one["use_cpu"]) == ("NO", 1, True)
    assert command[command.index("--num_cpu_threads_per_process") + 1] == "3"
    two, _ = written(tmp_path, device="cpu", processes=2)
    assert (two["distributed_type"], two["num_processes"], two["use_cpu"]) == ("MULTI_GPU", 2, True)


@pytest.mark.parametrize(("precision", "mixed"), [("auto", "no"), ("fp32", "no"), ("bf16", "bf16")])
def test_the_precision_reaches_accelerate(precision: str, mixed: str, tmp_path: Path) -> None:
    assert written(tmp_path, device="cpu", precision=precision)[0]["mixed_precision"] == mixed


@no_gpu
@pytest.mark.parametrize(("name", "what"), [("cuda", "NVIDIA"), ("mps", "Apple")])
def test_a_gpu_that_is_not_there_is_named(name: Any, what: str) -> None:
    with pytest.raises(UserError, match=f"asks for an {what} GPU") as caught:
        check_hardware(TrainConfig(device=name))
    assert caught.value.found == f"train.device = {name}"
    assert "behavior doctor --device" in str(caught.value.next_step)


@no_gpu
def test_auto_takes_the_cpu_where_there_is_no_gpu() -> None:
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_bf16_is_taken_by_itself_only_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(device, "gpu_computes_bf16", lambda _device: True)
    assert (pick_precision("auto", cuda), pick_precision("auto", cpu)) == ("bf16", "no")
    assert pick_precision("fp32", cuda) == "no"
    monkeypatch.setattr(device, "gpu_computes_bf16", lambda _device: False)
    assert pick_precision("auto", cuda) == "no"
    with pytest.raises(UserError, match=r"train\.precision asks for bf16"):
        pick_precision("bf16", cuda)


def test_more_processes_than_cores_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.processes") as caught:
        check_hardware(TrainConfig(device="cpu", processes=cores() + 1 if cores() < 64 else 64, threads=1))
    assert caught.value.next_step == f"set train.processes={cores()}"


def test_more_threads_than_cores_are_told() -> None:
    assert check_hardware(TrainConfig(device="cpu", threads=cores())) == []
    (slow,) = check_hardware(TrainConfig(device="cpu", threads=cores() + 1))
    assert slow.startswith(f"{cores() + 1} CPU threads on {cores()} cores")


def test_bf16_on_a_cpu_without_it_works_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainConfig(device="cpu", threads=1, precision="bf16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert check_hardware(settings) == []
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    (slow,) = check_hardware(settings)
    assert "no instructions for bf16" in slow
