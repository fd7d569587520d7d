"""Measure what differential privacy costs and what it buys, on the simulated shop, and print the result as Markdown.

    python benchmarks/privacy.py
    python benchmarks/privacy.py --shoppers 4000 --models 16 --epochs 8 --out privacy

For each ε several models are trained, each on a random half of the shoppers, with the same settings; ε = ∞ is a
training without DP. Told of each: AP on test, a membership attack by shopper, and the exposure of sequences planted in
the texts of some shoppers, each in all of a shopper's examples. The one thing to know: every random choice but who is
drawn and the noise follows from `--seed`; those are fresh and secret, so a second run gives slightly other figures.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from privacy_attacks import CHANCE_EXPOSURE, Membership, exposure, likelihood_ratios, measure_membership
from sklearn.metrics import average_precision_score
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from behavior_tasks.base.config import ModelConfig, TrainConfig
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.privacy_config import DpConfig
from behavior_tasks.model.batches import Batch, make_batch, number_places, pieces_within
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.trainer import Trainer
from behavior_tasks.model.work_folder import TrainingJob, WorkFolder, best_epoch
from behavior_tasks.pipeline import open_run, run_stages, start_run
from behavior_tasks.text.tokens import Sequences, TokenSet

EPSILONS = (1.0, 3.0, 8.0, math.inf)
CANARIES, REFERENCES, CANARY_TOKENS = 4, 255, 8
GOAL = 0.55
BATCH_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one ε gave."""

    epsilon: float
    spent: float | None
    precision: tuple[float, float, float]
    """AP on test, mean over the models, and its 95 % interval over shoppers."""
    membership: Membership
    """Of the stronger of two attacks: by the loss of the purchase, or of the text."""
    attack: str
    exposure: float
    """Mean over canaries and models, in bits."""
    speed: float
    """Examples a second."""


class Shop:
    """The encoded simulated shop, with canaries planted in the texts of some shoppers."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.seed = folder, arguments.seed
        overrides = {"simulate.shoppers": arguments.shoppers, "simulate.rollouts": 10, "model.max_tokens": 96}
        overrides |= {"simulate.seed": arguments.seed, "model.vocabulary": 600, "engine.workers": 1}
        uri = start_run("privacy", day=date(2026, 11, 25), trigger="inspection", overrides=overrides)
        run_stages(uri, until="encode", without=("report",))
        run = open_run(uri)
        self.text_settings = run.need("verbalize").path / "text.json"
        self.encode = folder / "encode"
        shutil.copytree(run.need("encode").path, self.encode)
        self.index = pd.read_parquet(self.encode / "index.parquet")
        train = self.index["split"] == "train"
        random = np.random.default_rng(arguments.seed)
        everybody = np.sort(self.index.loc[train, "shopper"].unique())
        self.planted = random.choice(everybody, CANARIES, replace=False)
        self.shoppers = np.setdiff1d(everybody, self.planted)
        vocabulary = TokenSet.load(self.encode).encoding.vocabulary
        sequences = random.integers(vocabulary // 2, vocabulary, (CANARIES + REFERENCES, CANARY_TOKENS))
        self.canaries, self.references = sequences[:CANARIES], sequences[CANARIES:]
        self._plant()

    def _plant(self) -> None:
        """Write each canary over the beginning of every train text of its shopper."""
        offsets = np.load(self.encode / "offsets.npy")
        tokens = np.array(np.load(self.encode / "tokens.npy"))
        for shopper, canary in zip(self.planted, self.canaries, strict=True):
            mine = (self.index["shopper"] == shopper) & (self.index["split"] == "train")
            for row in np.flatnonzero(mine.to_numpy()):
                if offsets[row + 1] - offsets[row] >= CANARY_TOKENS:
                    tokens[offsets[row] : offsets[row] + CANARY_TOKENS] = canary
        np.save(self.encode / "tokens.npy", tokens)

    def half(self, members: np.ndarray, name: str) -> Path:
        """Return a token set whose train split knows only some shoppers, and those with a canary."""
        folder = self.folder / name
        shutil.copytree(self.encode, folder)
        index = self.index.copy()
        out = (index["split"] == "train") & ~index["shopper"].isin([*members, *self.planted])
        index.loc[out, "split"] = "held"
        index.to_parquet(folder / "index.parquet")
        return folder


def train_one(shop: Shop, encode: Path, name: str, epsilon: float, arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Train one model; return it and its kept epoch."""
    dp = None
    if math.isfinite(epsilon):
        dp = DpConfig(epsilon=epsilon, delta=arguments.delta, shoppers_per_step=arguments.shoppers_per_step)
    settings = {"epochs": arguments.epochs, "patience": arguments.epochs, "threads": 1, "device": "cpu"}
    settings |= {"distillation": 0.0, "number_epochs": 0, "seed": arguments.seed, "learning_rate": 2e-3}
    work = WorkFolder(shop.folder / f"work-{name}")
    work.root.mkdir()
    job = TrainingJob(
        tokens=encode,
        text_settings=shop.text_settings,
        model=ModelConfig(size="tiny", max_tokens=96, dropout=0.1, vocabulary=600),
        train=TrainConfig(**settings),
        dp=dp,
    )
    work.job.write_text(job.model_dump_json(), encoding="utf-8")
    trainer = Trainer(work, lambda: False)
    trainer.run()
    kept = best_epoch(work.read_metrics())
    shutil.rmtree(work.root)
    return trainer.model.eval(), kept


def losses_of(model: BehaviorModel, sequences: Sequences, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return logit, purchase loss and mean loss of the next token of some rows, shape (n, 3)."""
    places = number_places(sequences, model.number_names)
    lengths = np.maximum(np.diff(sequences.offsets)[rows], 1)
    found = np.zeros((len(rows), 3))
    with torch.inference_mode():
        for part in pieces_within(lengths, BATCH_TOKENS):
            batch = make_batch(sequences, rows[part], places)
            outputs = model(batch)
            logits_B = outputs.purchase_B
            targets_B = torch.from_numpy(labels[part].astype(np.float32))
            purchase_B = binary_cross_entropy_with_logits(logits_B, targets_B, reduction="none")
            text_B = text_losses(model, batch, outputs.hidden_BTD)
            found[part] = torch.stack([logits_B, purchase_B, text_B], dim=1).numpy()
    return found


def text_losses(model: BehaviorModel, batch: Batch, hidden_BTD: torch.Tensor) -> torch.Tensor:
    """Return each text's mean loss of its next tokens."""
    logits_BTV = model.next_token_logits(hidden_BTD[:, :-1].flatten(0, 1)).unflatten(0, (len(hidden_BTD), -1))
    losses_BT = cross_entropy(logits_BTV.transpose(1, 2), batch.tokens_BT[:, 1:], reduction="none")
    real_BT = torch.arange(losses_BT.shape[1]) < (batch.lengths_B - 1).unsqueeze(1)
    return (losses_BT * real_BT).sum(1) / real_BT.sum(1).clamp(min=1)


def sequence_losses(model: BehaviorModel, sequences: np.ndarray) -> np.ndarray:
    """Return the summed loss of each sequence of tokens by itself."""
    numbers_BF = torch.zeros(len(sequences), len(model.number_names))
    lengths_B = torch.full((len(sequences),), sequences.shape[1])
    batch = Batch(tokens_BT=torch.from_numpy(sequences), lengths_B=lengths_B, numbers_BF=numbers_BF)
    with torch.inference_mode():
        return text_losses(model, batch, model(batch).hidden_BTD).numpy()


def measure(shop: Shop, epsilon: float, arguments: argparse.Namespace) -> Row:
    """Train the models of one ε and attack them."""
    random = np.random.default_rng([arguments.seed, 1])
    member_MS = random.random((arguments.models, len(shop.shoppers))) < 0.5
    index, sequences = shop.index, TokenSet.load(shop.encode).sequences
    rows = np.flatnonzero(((index["split"] == "train") & index["shopper"].isin(shop.shoppers)).to_numpy())
    test = np.flatnonzero((index["split"] == "test").to_numpy())
    labels = index["label"].to_numpy()
    purchase_MS, text_MS = np.zeros(member_MS.shape), np.zeros(member_MS.shape)
    logits, found, spent, speed = [], [], [], []
    for number, member in enumerate(member_MS):
        name = f"{epsilon:g}-{number}"
        encode = shop.half(shop.shoppers[member], name)
        model, kept = train_one(shop, encode, name, epsilon, arguments)
        told = losses_of(model, sequences, rows, labels[rows])
        means = pd.DataFrame(told[:, 1:]).groupby(index["shopper"].to_numpy()[rows]).mean().loc[shop.shoppers]
        purchase_MS[number], text_MS[number] = means[0], means[1]
        logits.append(losses_of(model, sequences, test, labels[test])[:, 0])
        found.append(exposure(sequence_losses(model, shop.canaries), sequence_losses(model, shop.references)))
        spent.append(kept.epsilon)
        speed.append(kept.examples_per_second)
        shutil.rmtree(encode)
        print(f"ε {epsilon:g}, model {number + 1} of {arguments.models}", file=sys.stderr, flush=True)
    attacks = {}
    for attack, losses_MS in (("purchase", purchase_MS), ("text", text_MS)):
        scores_MS = likelihood_ratios(losses_MS, member_MS)
        attacks[attack] = measure_membership(scores_MS, member_MS, seed=arguments.seed)
    strongest = max(attacks, key=lambda name: attacks[name].auc)
    return Row(
        epsilon=epsilon,
        spent=spent[0],
        precision=_precision(labels[test], np.array(logits), index["shopper"].to_numpy()[test], arguments.seed),
        membership=attacks[strongest],
        attack=strongest,
        exposure=float(np.mean(found)),
        speed=float(np.mean(speed)),
    )


def _precision(
    labels: np.ndarray, logits_MN: np.ndarray, shoppers: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """Return the models' mean AP with its bootstrap interval by shopper (test has one example of each)."""
    random = np.random.default_rng([seed, 2])
    names, of = np.unique(shoppers, return_inverse=True)
    assert len(names) == len(of)
    draws = [np.arange(len(labels)), *(random.integers(len(labels), size=len(labels)) for _ in range(200))]
    told = [np.mean([average_precision_score(labels[d], logits[d]) for logits in logits_MN]) for d in draws]
    return float(told[0]), *(float(one) for one in np.quantile(told[1:], [0.025, 0.975]))  # type: ignore[return-value]


def table(rows: list[Row]) -> str:
    """Return the result as a Markdown table."""
    lines = [
        "| ε | spent | AP on test (95 %) | attack AUC (95 %) | TPR at 1 % FPR | by | exposure, bits | examples/s |"
    ]
    lines.append("| --- | --: | --: | --: | --: | --- | --: | --: |")
    for row in rows:
        ap, low, high = row.precision
        who = row.membership
        cells = [
            "∞" if math.isinf(row.epsilon) else f"{row.epsilon:g}",
            "–" if row.spent is None else f"{row.spent:.2f}",
            f"{ap:.3f} ({low:.3f} to {high:.3f})",
            f"{who.auc:.3f} ({who.lower:.3f} to {who.upper:.3f})",
            f"{who.tpr:.3f}",
            row.attack,
            f"{row.exposure:.2f}",
            f"{row.speed:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[Row], file: Path) -> None:
    """Draw AP and the attack's AUC against ε."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names = ["∞" if math.isinf(row.epsilon) else f"{row.epsilon:g}" for row in rows]
    told = [(row.precision, (row.membership.auc, row.membership.lower, row.membership.upper)) for row in rows]
    for axes, which, title in ((left, 0, "AP on test"), (right, 1, "Membership attack, AUC")):
        middle = np.array([one[which] for one in told])
        bars = np.abs(middle[:, 1:].T - middle[:, 0])
        axes.errorbar(names, middle[:, 0], yerr=bars, fmt="o", capsize=4)
        axes.set(title=title, xlabel="ε")
    right.axhline(0.5, color="grey", linewidth=0.8)
    right.axhline(GOAL, color="grey", linewidth=0.8, linestyle="--")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="What differential privacy costs, and what it buys.")
    parser.add_argument("--shoppers", type=int, default=700)
    parser.add_argument("--models", type=int, default=4, help="models of each ε; the attack needs at least 4")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--shoppers-per-step", type=int, default=64)
    parser.add_argument("--delta", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("privacy"), help="folder of the plot and the table")
    arguments = parser.parse_args()
    if arguments.models < 4:
        parser.error("--models: at least 4, or most shoppers are never on both sides")
    torch.set_num_threads(1)
    started = time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="privacy-") as folder:
        os.environ[HOME_VARIABLE] = str(Path(folder) / "state")
        shop = Shop(Path(folder), arguments)
        rows = [measure(shop, epsilon, arguments) for epsilon in EPSILONS]
    told = table(rows)
    print(told)
    worst = max(row.membership.auc for row in rows if math.isfinite(row.epsilon))
    print(
        f"\n{arguments.models} models an ε, each on half of {len(shop.shoppers):,} shoppers, {arguments.epochs} "
        f"epochs, δ = {arguments.delta:g}, seed {arguments.seed}; guessing: AUC 0.500, TPR 0.010, exposure "
        f"{CHANCE_EXPOSURE:.2f} bits of at most {math.log2(REFERENCES + 1):.0f}. Goal of AUC ≤ {GOAL} with DP: "
        f"{'reached' if worst <= GOAL else f'missed, {worst:.3f}'}. {time.monotonic() - started:.0f} s."
    )
    (arguments.out / "privacy.md").write_text(told + "\n", encoding="utf-8")
    plot(rows, arguments.out / "privacy.png")


if __name__ == "__main__":
    main()
