"""What this machine can train with: torch and the settings in, one finding a line out, with why there is not more.

For `behavior doctor --device`. The one thing to know: nothing is tried out; what is said comes from torch, from the
operating system and from the environment.
"""

import os
import shutil
from pathlib import Path
from typing import Literal

import psutil
import torch
from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.device import (
    cores,
    cpu_computes_bf16,
    gpu_computes_bf16,
    missing_for_compiling,
    pick_device,
    pick_precision,
)
from behavior_tasks.model.launch import check_hardware

INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "sve", "bf16")
"""Instruction sets that decide how fast a CPU trains, as torch names them."""
GIB = 2**30


class Found(BaseModel):
    """One finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["ok", "none", "fail"]
    """ok: there, and used or usable. none: not there. fail: asked for and not there."""
    what: str
    found: str
    why: str = ""
    """Why there is not more, or what to do about it."""


def look_at_hardware(settings: TrainConfig) -> list[Found]:
    """Return what there is, and what the settings would make of it.

    Args:
        settings: device, precision, compile, threads and processes are looked at.

    Returns:
        Findings for a table. One of them has the level `fail` when these settings can't train here.
    """
    return [_torch(), _processor(), *_nvidia(), _apple(), *_choice(settings)]


def _torch() -> Found:
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return Found(level="ok", what="torch", found=f"{torch.__version__}, {build}")


def _processor() -> Found:
    able = torch.cpu.get_capabilities()
    sets = [name for name in INSTRUCTIONS if able.get(name)]
    memory = psutil.virtual_memory()
    usable, all_cores = cores(), os.cpu_count() or 1
    limited = f" (of {all_cores}; a container or `taskset` allows no more)" if usable < all_cores else ""
    return Found(
        level="ok",
        what="CPU",
        found=f"{usable} cores{limited}, {', '.join(sets) or 'no wide instructions known'}, "
        f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB memory free",
        why="" if cpu_computes_bf16() else "no instructions for bf16: train.precision=bf16 works here, but slower",
    )


def _nvidia() -> list[Found]:
    if not torch.cuda.is_available():
        return [Found(level="none", what="NVIDIA GPU", found="none", why=_why_no_cuda())]
    return [_nvidia_device(number) for number in range(torch.cuda.device_count())]


def _nvidia_device(number: int) -> Found:
    properties = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    device = torch.device("cuda", number)
    return Found(
        level="ok",
        what=f"NVIDIA GPU {number}",
        found=f"{properties.name}, {free / GIB:.1f} of {total / GIB:.1f} GiB memory free, compute capability "
        f"{properties.major}.{properties.minor}, {_driver()}, {'bf16' if gpu_computes_bf16(device) else 'no bf16'}",
    )


def _driver() -> str:
    """Return the driver's version, where it tells."""
    version = Path("/sys/module/nvidia/version")
    return f"driver {version.read_text(encoding='utf-8').strip()}" if version.is_file() else "driver unknown"


def _why_no_cuda() -> str:
    """Say what is in the way of an NVIDIA GPU, the first thing first."""
    if not torch.backends.cuda.is_built():
        return "this torch is built without CUDA; with a GPU, install the build for it (pytorch.org, Get Started)"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in {"", "-1"}:
        return f"CUDA_VISIBLE_DEVICES={visible} hides every GPU; unset it"
    if not _has_driver():
        return "no NVIDIA driver is loaded; in a container, it is started with access to the GPU (--gpus all)"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return f"the driver is there, but torch says: {str(error).splitlines()[0]}"
    return "the driver is there, but shows torch no GPU"


def _has_driver() -> bool:
    return Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None


def _apple() -> Found:
    if torch.backends.mps.is_available():
        why = "used when train.device=mps; auto leaves it alone, for it gives other bits than the CPU"
        return Found(level="ok", what="Apple GPU", found=torch.backends.mps.get_name(), why=why)
    built = torch.backends.mps.is_built()
    why = "it needs macOS 14 or newer" if built else "this torch is built without mps, which only a Mac has"
    return Found(level="none", what="Apple GPU", found="none", why=why)


def _choice(settings: TrainConfig) -> list[Found]:
    """Say what the settings come to, and whether they can be had."""
    try:
        slow = check_hardware(settings)
    except UserError as error:
        why = f"{error.problem} {error.next_step or ''}"
        return [Found(level="fail", what="training", found=error.found or "", why=why)]
    device = pick_device(settings.device)
    precision = "bf16" if pick_precision(settings.precision, device) == "bf16" else "fp32"
    processes = "1 process" if settings.processes == 1 else f"{settings.processes} processes"
    chosen = (
        f"train.device={settings.device}: {device.type}; train.precision={settings.precision}: {precision}; "
        f"{processes} of {settings.threads} CPU threads"
    )
    return [Found(level="ok", what="training", found=chosen, why=" ".join(slow)), _compiler(settings, device)]


def _compiler(settings: TrainConfig, device: torch.device) -> Found:
    """Say whether torch.compile has what it needs; that it is asked for and can't be had, `check_hardware` says."""
    asked = f"train.compile={str(settings.compile).lower()}"
    if missing := missing_for_compiling(device):
        return Found(level="none", what="torch.compile", found=f"not possible; {asked}", why=f"it needs {missing}")
    return Found(level="ok", what="torch.compile", found=f"possible; {asked}")
