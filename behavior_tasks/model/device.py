"""Where and how the arithmetic happens: the configured device, precision and threads in, what torch takes out.

Threads are pinned because sums of floats depend on how they are split: the same thread count gives the same
bits, which is what a resumed training and a repeated scoring rely on.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch.utils._triton import has_triton

from behavior_tasks.base.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "fp32", "bf16"]
MixedPrecision = Literal["no", "bf16"]
"""What accelerate calls it: `no` computes in float32."""


def pick_device(name: DeviceName) -> torch.device:
    """Return the device to compute on; `auto` means an NVIDIA GPU when there is one.

    An Apple GPU (`mps`) is used on request only: it has no float64 and gives other bits than the CPU.

    Raises:
        UserError: when a GPU is asked for and there is none.
    """
    if name == "mps" and not torch.backends.mps.is_available():
        raise _no_gpu(name, "an Apple GPU", "a Mac with Apple silicon and macOS 14 or newer")
    if name == "cuda" and not torch.cuda.is_available():
        raise _no_gpu(name, "an NVIDIA GPU", "a machine with an NVIDIA GPU and its driver")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def pick_precision(name: PrecisionName, device: torch.device) -> MixedPrecision:
    """Return the arithmetic of the network; `auto` means bf16 on an NVIDIA GPU that computes in it, else float32.

    On a CPU bf16 always works: one without instructions for it converts to float32 and back, which is slow.

    Raises:
        UserError: when `bf16` is asked for on a GPU that does not compute in it.
    """
    has_it = device.type == "cpu" or gpu_computes_bf16(device)
    if name == "bf16" and not has_it:
        raise UserError(
            "train.precision asks for bf16, which this GPU does not compute in.",
            found=f"train.precision = bf16 on {device.type}",
            expected="an NVIDIA GPU of the generation Ampere (2020) or newer, or macOS 14",
            next_step="set train.precision=auto",
        )
    if name == "auto":
        return "bf16" if device.type == "cuda" and has_it else "no"
    return "bf16" if name == "bf16" else "no"


def missing_for_compiling(device: torch.device) -> str | None:
    """Return what `torch.compile` lacks on a device: a C++ compiler on a CPU, Triton on a GPU; None when nothing."""
    if device.type == "cuda":
        return None if has_triton() else "Triton, which comes with torch for CUDA"
    there = shutil.which(os.environ.get("CXX") or "g++") is not None
    return None if there else "a C++ compiler: g++, or CXX names it"


def gpu_computes_bf16(device: torch.device) -> bool:
    """Whether a GPU has bf16 in hardware; an emulated one is slower than float32 and counts as no."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "mps" and torch.backends.mps.is_macos_or_newer(14, 0)


def cpu_computes_bf16() -> bool:
    """Whether this machine's CPU has instructions for bf16."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    # A container or `taskset` may allow fewer than there are; only Linux can tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Use this many CPU threads inside the block; the caller's count is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _no_gpu(name: str, what: str, needed: str) -> UserError:
    return UserError(
        f"train.device asks for {what}, and torch finds none on this machine.",
        found=f"train.device = {name}",
        expected=f"auto or cpu, or {needed}",
        next_step="set train.device=auto; `behavior doctor --device` says what is here and why not more",
    )
