"""How the training process is started: settings in, the command line and environment of `accelerate launch` out.

What the settings ask for is checked against this machine first, so a mistake costs no start. The one thing to know:
accelerate's own configuration file is written here for every training, and a user's `accelerate config` is not read.
"""

import os
import sys

import torch
import yaml

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.device import cores, cpu_computes_bf16, missing_for_compiling, pick_device, pick_precision
from behavior_tasks.model.work_folder import WorkFolder


def check_hardware(settings: TrainConfig) -> list[str]:
    """Check that this machine can do what the settings ask for; return what it can do but slowly, a sentence each.

    Raises:
        UserError: a GPU, a precision, a compiler or a number of processes that there is not.
    """
    device = pick_device(settings.device)
    precision = pick_precision(settings.precision, device)
    most = {"cpu": cores(), "cuda": torch.cuda.device_count()}.get(device.type, 1)
    if settings.processes > most:
        raise UserError(
            "train.processes asks for more processes than this machine has places for.",
            found=f"train.processes = {settings.processes} on {device.type}",
            expected=f"at most {most}: one a {'core' if device.type == 'cpu' else 'GPU'}",
            next_step=f"set train.processes={most}",
        )
    if settings.compile and (missing := missing_for_compiling(device)):
        raise UserError(
            "train.compile asks for torch.compile, which this machine can't do.",
            found=f"train.compile = true on {device.type}",
            expected=missing,
            next_step="set train.compile=false",
        )
    slow = []
    if settings.threads * settings.processes > cores():
        wanted = f"{settings.processes} x {settings.threads}" if settings.processes > 1 else str(settings.threads)
        slow.append(f"{wanted} CPU threads on {cores()} cores get in each other's way (train.threads, a process).")
    if precision == "bf16" and device.type == "cpu" and not cpu_computes_bf16():
        slow.append("This CPU has no instructions for bf16 and trains slower in it than in fp32 (train.precision).")
    return slow


def launch_command(work: WorkFolder, settings: TrainConfig) -> list[str]:
    """Write accelerate's configuration file into the work folder and return the command line."""
    device = pick_device(settings.device)
    config = {
        "compute_environment": "LOCAL_MACHINE",
        # The launcher of this type, torchrun, starts several processes on CPUs too (use_cpu), where accelerate's own
        # for CPUs would need MPI. The processes then find that they are on CPUs and talk through gloo.
        "distributed_type": "MULTI_GPU" if settings.processes > 1 else "NO",
        "mixed_precision": pick_precision(settings.precision, device),
        "num_processes": settings.processes,
        "num_machines": 1,
        "use_cpu": device.type == "cpu",
        # 0: a free port, so that two trainings on one machine don't meet.
        "main_process_port": 0,
    }
    file = work.root / "accelerate.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(file)]
    launch += ["--num_cpu_threads_per_process", str(settings.threads)]
    return [*launch, "-m", "behavior_tasks.model.train_process", str(work.root), "--follow-stdin"]


def launch_environment() -> dict[str, str]:
    """Return the environment of the process: this one's, and what makes its output and its threads behave."""
    # Threads that spin while they wait slow each other down several times on a busy machine.
    return {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONUNBUFFERED": "1"}
