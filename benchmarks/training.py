"""Time one epoch of training against the same model in Hugging Face's Trainer, in turns, and print a Markdown table.

    python benchmarks/training.py                                   3,000 simulated shoppers, two turns each
    python benchmarks/training.py --shoppers 9000 --turns 3 --state /some/folder

Ours is the real training process as the stage starts it. The others are `transformers.Trainer` at its defaults: random
batches, padded by DataCollatorWithPadding. "same network" is our network in it, with all heads and numbers; "plain
network" also has the backbone that transformers builds by default (dropout on attention weights, `gelu_new`). All learn
from the same examples with the same batch size, learning rate and losses, from labels and without a head start, with
the same threads. Memory is each process's own peak. The state folder is deleted afterwards unless it is given.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from sklearn.metrics import average_precision_score, log_loss
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoTokenizer, DataCollatorWithPadding, GPT2Config, GPT2Model, Trainer, TrainingArguments

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.model.batches import Batch, number_places
from behavior_tasks.model.decision import sigmoid
from behavior_tasks.model.launch import launch_command, launch_environment
from behavior_tasks.model.losses import amount_loss
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.new_model import build_model
from behavior_tasks.model.predict import run_model
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.model.work_folder import TrainingJob, WorkFolder
from behavior_tasks.pipeline import open_run, run_stages, start_run

OURS, SAME, PLAIN = "ours", "Trainer, same network", "Trainer, plain network"
SETTINGS = {"train.epochs": 1, "train.distillation": 0.0, "train.number_epochs": 0, "model.calibration": "off"}


class HuggingFaceModel(nn.Module):
    """Our network behind the interface that `transformers.Trainer` expects, with the losses over all positions."""

    def __init__(self, model: BehaviorModel, next_token_weight: float, amount_weight: float) -> None:
        super().__init__()
        self.model = model
        self.next_token_weight, self.amount_weight = next_token_weight, amount_weight

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        numbers: torch.Tensor,
        amount: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return the loss of a batch padded on the right."""
        out = self.model(Batch(tokens_BT=input_ids, lengths_B=attention_mask.sum(1), numbers_BF=numbers))
        loss = binary_cross_entropy_with_logits(out.purchase_B, labels)
        logits_BTV = self.model.next_token_logits(out.hidden_BTD[:, :-1].flatten(0, 1))
        following = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100).flatten()
        loss = loss + self.next_token_weight * cross_entropy(logits_BTV, following)
        if out.amount_mean_B is not None and out.amount_log_std_B is not None and (amount > 0).any():
            told = amount_loss(out.amount_mean_B, out.amount_log_std_B, amount, torch.ones_like(amount))
            loss = loss + self.amount_weight * told / (amount > 0).sum()
        return {"loss": loss}


def train_theirs(work: WorkFolder, *, plain: bool) -> dict[str, float]:
    """Train one epoch in `transformers.Trainer`; return seconds and what came of it."""
    job = work.read_job()
    settings = job.train
    torch.set_num_threads(settings.threads)
    data = TrainingData.load(job.tokens, settings)
    model = build_model(job.model, data)
    if plain:
        ours = model.backbone.config
        sizes = {name: getattr(ours, name) for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
        dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), job.model.dropout)
        model.backbone = GPT2Model(GPT2Config(**sizes, **dropouts))
    places, offsets = number_places(data.sequences, model.number_names), data.sequences.offsets

    def example(row: int) -> dict[str, Any]:
        tokens = data.sequences.tokens[offsets[row] : offsets[row + 1]].astype(np.int64)
        numbers = data.sequences.numbers[row, places]
        told = {"labels": data.labels[row], "numbers": numbers, "amount": data.amounts[row]}
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens), **told}

    wrapped = HuggingFaceModel(model, settings.next_token_weight, settings.amount_weight)
    trainer = Trainer(
        model=wrapped,
        args=TrainingArguments(
            output_dir=str(work.root / "hf"),
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=1,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            use_cpu=True,
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=[example(row) for row in data.train_rows],
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(job.tokens / "tokenizer")),
    )
    seconds = trainer.train().metrics["train_runtime"]
    rows = data.validation_rows
    logits = run_model(model, data.sequences, rows, device=torch.device("cpu")).logit
    return {
        "rate": len(data.train_rows) / seconds,
        "log_loss": float(log_loss(data.labels[rows], sigmoid(logits))),
        "average_precision": float(average_precision_score(data.labels[rows], logits)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_theirs(work: WorkFolder, name: str) -> dict[str, float]:
    """Train theirs in a process of its own, as ours is."""
    command = [sys.executable, __file__, "--theirs", str(work.root), name]
    done = subprocess.run(command, env=launch_environment(), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_ours(work: WorkFolder) -> dict[str, float]:
    """Train ours as the stage does, looking at its memory four times a second."""
    peak = 0
    with work.log.open("wb") as log:
        command = launch_command(work, work.read_job().train)
        process = psutil.Popen(command, env=launch_environment(), stdin=subprocess.PIPE, stdout=log, stderr=log)
        while process.poll() is None:
            for child in process.children(recursive=True):
                try:
                    peak = max(peak, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.25)
        process.stdin.close()
    if process.returncode:
        raise SystemExit(work.log.read_text())
    (epoch,) = work.read_metrics()
    return {
        "rate": epoch.examples_per_second,
        "log_loss": epoch.validation_loss,
        "average_precision": epoch.validation_average_precision,
        "peak_mb": peak / 2**20,
    }


def encode(shoppers: int, settings: dict[str, Any]) -> tuple[Path, Path, Config]:
    """Run the stages up to the tokens; return the token set, the text settings and the configuration."""
    overrides = {"simulate.shoppers": shoppers, "simulate.rollouts": 10, **SETTINGS, **settings}
    uri = start_run(f"benchmark-{shoppers}", day=date(2026, 11, 24), trigger="inspection", overrides=overrides)
    run, uris = open_run(uri), run_stages(uri, until="encode")
    paths = {name: run.store.open(uris[name]).path for name in ("encode", "verbalize")}
    return paths["encode"], paths["verbalize"] / "text.json", load_config(overrides=overrides)


def with_examples(tokens: Path, count: int, folder: Path) -> Path:
    """Return a token set with so many train examples, drawn at random; the files of the old one are linked."""
    shutil.copytree(tokens, folder, copy_function=os.link)
    index = pd.read_parquet(tokens / "index.parquet")
    train = np.flatnonzero(index["split"] == "train")
    if count < len(train):
        left_out = np.random.default_rng(0).permutation(train)[count:]
        index.iloc[left_out, index.columns.get_loc("split")] = "test"
    (folder / "index.parquet").unlink()
    index.to_parquet(folder / "index.parquet")
    return folder


def measure(state: Path, *, shoppers: int, examples: int, turns: int, settings: dict[str, Any]) -> None:
    """Train in turns and print the table."""
    os.environ[HOME_VARIABLE] = str(state)
    tokens, text, config = encode(shoppers, settings)
    found: dict[str, list[dict[str, float]]] = {OURS: [], SAME: [], PLAIN: []}
    with tempfile.TemporaryDirectory() as root:
        subset = with_examples(tokens, examples, Path(root) / "tokens")
        for turn in range(turns):
            for name, results in found.items():
                work = WorkFolder(Path(root) / f"{turn} {name}")
                work.root.mkdir()
                train = config.train.model_copy(update={"seed": config.train.seed + turn})
                job = TrainingJob(tokens=subset, text_settings=text, model=config.model, train=train)
                work.job.write_text(job.model_dump_json())
                results.append(run_ours(work) if name == OURS else run_theirs(work, name))
                load = os.getloadavg()[0]
                print(f"turn {turn + 1}, {name}, load {load:.1f}: {results[-1]}", file=sys.stderr, flush=True)
    print("| | examples/s | ours is faster by | validation log-loss | validation AP | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, results in found.items():
        ratios = [ours["rate"] / theirs["rate"] for ours, theirs in zip(found[OURS], results, strict=True)]
        means = {key: mean(result[key] for result in results) for key in results[0]}
        print(
            f"| {name} | {means['rate']:.0f} | {mean(ratios):.2f} × | {means['log_loss']:.4f} "
            f"| {means['average_precision']:.4f} | {means['peak_mb']:.0f} |"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Time one epoch against Hugging Face's Trainer.")
    parser.add_argument("--shoppers", type=int, default=3000, help="simulated shoppers")
    parser.add_argument("--examples", type=int, default=10_000_000, help="most train examples of an epoch")
    parser.add_argument("--turns", type=int, default=2, help="trainings of each kind, with a seed each")
    parser.add_argument("--state", type=Path, help="state folder to keep; default: a temporary one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, e.g. train.threads=1"
    )
    parser.add_argument("--theirs", nargs=2, metavar=("WORK_FOLDER", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        folder, name = arguments.theirs
        print(json.dumps(train_theirs(WorkFolder(Path(folder)), plain=name == PLAIN)))
        return
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    with tempfile.TemporaryDirectory() as folder:
        measure(
            arguments.state or Path(folder),
            shoppers=arguments.shoppers,
            examples=arguments.examples,
            turns=arguments.turns,
            settings=settings,
        )


if __name__ == "__main__":
    main()
