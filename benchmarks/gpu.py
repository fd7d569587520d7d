"""Time training on this machine's GPU: examples and tokens a second in fp32, in bf16, and compiled.

    python benchmarks/gpu.py                    a simulated shop of 3,000 shoppers
    python benchmarks/gpu.py --shoppers 10000 --size base

Every line trains the same model on the same tokens for two epochs and reports the second, so that starting and
compiling are left out. Without a GPU it says so and ends with exit code 2.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import date
from typing import Any

import torch

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.model.device import gpu_computes_bf16
from behavior_tasks.model.hardware import look_at_hardware
from behavior_tasks.pipeline import open_run, run_stages, start_run

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"train.precision": "fp32"},
    "bf16": {"train.precision": "bf16"},
    "fp32, compiled": {"train.precision": "fp32", "train.compile": True},
    "bf16, compiled": {"train.precision": "bf16", "train.compile": True},
}
COMMON = {"train.device": "cuda", "train.epochs": 2, "train.patience": 2, "simulate.rollouts": 10}


def measure(name: str, overrides: dict[str, Any]) -> dict[str, float]:
    """Run the stages up to the training, reusing what is there, and return the last epoch's figures."""
    uri = start_run(name, day=date(2026, 11, 24), trigger="inspection", overrides=overrides)
    uris = run_stages(uri, until="train")
    lines = (open_run(uri).store.open(uris["train"]).path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return dict(json.loads(lines[-1]))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Time training on this machine's GPU.")
    parser.add_argument("--shoppers", type=int, default=3_000, help="of the simulated shop")
    parser.add_argument("--size", choices=["tiny", "compact", "base"], default="compact", help="of the model")
    parser.add_argument("--batch-size", type=int, default=256, help="examples an optimiser step")
    arguments = parser.parse_args()
    gpus = [finding for finding in look_at_hardware(TrainConfig()) if finding.what.startswith("NVIDIA")]
    print("\n".join(f"{gpu.what}: {gpu.found}" for gpu in gpus))
    if not torch.cuda.is_available():
        print(f"no GPU here: {gpus[0].why}")
        sys.exit(2)
    print("\n| arithmetic | examples/s | tokens/s | validation AP |\n| --- | --- | --- | --- |")
    sizes = {"simulate.shoppers": arguments.shoppers, "model.size": arguments.size}
    with tempfile.TemporaryDirectory() as folder:
        os.environ[HOME_VARIABLE] = folder
        for way, settings in WAYS.items():
            if "bf16" in way and not gpu_computes_bf16(torch.device("cuda")):
                continue
            told = measure(way, {**COMMON, **sizes, "train.batch_size": arguments.batch_size, **settings})
            rates = f"{told['examples_per_second']:,.0f} | {told['tokens_per_second']:,.0f}"
            print(f"| {way} | {rates} | {told['validation_average_precision']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
