"""One measured step in a fresh process: its answer, its seconds, and the peak memory of its whole family.

The step runs in `steps.py`, so nothing that an earlier step loaded or kept helps it. Memory is the sum over the process
and all that it starts, every 100 ms: PSS, which counts a page that n processes share as 1/n of a page each.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from behavior_tasks.base.errors import UserError

STEPS = Path(__file__).with_name("steps.py")
SAMPLE_SECONDS = 0.1
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a step gave."""

    seconds: float
    """Of the work itself, as the step's own process timed it; starting Python and importing are not in it."""
    peak_mib: float
    """Sum of PSS over the process tree."""
    answer: dict[str, Any]


def run_step(name: str, *, script: Path = STEPS, **arguments: Any) -> Measured:
    """Run a function of `steps.py`, or of another script like it, in a process of its own and measure it.

    Raises:
        UserError: with the step's last words, when it fails.
    """
    command = [sys.executable, str(script), name, json.dumps(arguments, default=str)]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, _family_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        out, err = process.communicate()
    if process.returncode != 0:
        raise UserError(f"The step {name} failed.", found="\n".join(err.splitlines()[-12:]), next_step="run it alone")
    answer = json.loads(out.splitlines()[-1])
    return Measured(seconds=answer.pop("seconds"), peak_mib=peak / MIB, answer=answer)


def _family_bytes(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_bytes, family))


def _bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    # Only Linux knows PSS.
    return int(getattr(full, "pss", full.rss))
