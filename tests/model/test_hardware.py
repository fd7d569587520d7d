import shutil
import types

import pytest
import torch

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model import hardware
from behavior_tasks.model.hardware import Found, look_at_hardware
from behavior_tasks.model.launch import check_hardware

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def finding(what: str, **settings: object) -> Found:
    return next(f for f in look_at_hardware(TrainConfig.model_validate(settings)) if f.what.startswith(what))


def test_what_is_found_is_told_with_its_numbers() -> None:
    assert torch.__version__ in finding("torch").found
    assert finding("CPU").found.startswith(f"{hardware.cores()} cores")
    assert "GiB memory free" in finding("CPU").found
    assert finding("training", device="cpu", threads=1).found == (
        "train.device=cpu: cpu; train.precision=auto: fp32; 1 process of 1 CPU threads"
    )


@no_gpu
def test_why_there_is_no_gpu_is_told_from_the_first_obstacle_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def why() -> str:
        assert finding("NVIDIA").level == "none"
        return finding("NVIDIA").why

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "built without CUDA" in why()
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides every GPU" in why()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(hardware, "_has_driver", lambda: False)
    assert "no NVIDIA driver" in why()

    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old.\nPlease update it.")

    monkeypatch.setattr(hardware, "_has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    assert why().endswith("The NVIDIA driver on your system is too old.")


def test_a_gpu_is_told_with_memory_capability_and_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    card = types.SimpleNamespace(name="Card", major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _number: (6 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: False)
    found = look_at_hardware(TrainConfig(threads=1))
    cards = [f.found for f in found if f.what.startswith("NVIDIA")]
    assert len(cards) == 2
    assert cards[0].startswith("Card, 6.0 of 8.0 GiB memory free, compute capability 7.5, driver")
    assert cards[0].endswith("no bf16")
    assert finding("training", threads=1).found.startswith("train.device=auto: cuda; train.precision=auto: fp32")
    assert finding("training", threads=1, precision="bf16").level == "fail"


@no_gpu
def test_settings_that_cannot_be_had_are_the_one_failure() -> None:
    found = look_at_hardware(TrainConfig(device="cuda"))
    assert [f.what for f in found if f.level == "fail"] == ["training"]
    assert "set train.device=auto" in found[-1].why


@no_gpu
def test_compiling_needs_a_compiler_only_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert finding("torch.compile").level == "none"
    assert finding("training", compile=True).level == "fail"
    with pytest.raises(UserError, match=r"torch\.compile") as told:
        check_hardware(TrainConfig(compile=True))
    assert told.value.expected == "a C++ compiler: g++, or CXX names it"
    assert told.value.next_step == "set train.compile=false"
