"""Where the arithmetic happens: the configured device and thread count in, a torch device out.

Threads are pinned because sums of floats depend on how they are split: the same thread count gives the same
bits, which is what a resumed training and a repeated scoring rely on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from behavior_tasks.base.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda"]


def pick_device(name: DeviceName) -> torch.device:
    """Return the device to compute on; `auto` means a GPU when there is one.

    Raises:
        UserError: when `cuda` is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError(
            "train.device asks for a GPU, and torch finds none on this machine.",
            found="train.device = cuda",
            expected="auto or cpu, or a machine with an NVIDIA GPU and its driver",
            next_step="set train.device=auto",
        )
    return torch.device("cuda" if name != "cpu" and available else "cpu")


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Use this many CPU threads inside the block; the caller's count is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
