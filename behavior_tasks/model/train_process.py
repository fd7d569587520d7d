"""The training process: a work folder with a job in, a model bundle in the same folder out.

    accelerate launch -m behavior_tasks.model.train_process WORK_FOLDER

It stops after the step at hand on SIGTERM (exit code 75) and goes on from its last checkpoint when it is started
again, to the same bits as if it had never stopped: batches follow from (seed, epoch), dropout and the choice of
next-token targets from (seed, step), the learning rate from the step, and everything else is in the checkpoint.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, log_loss
from tokenizers import Tokenizer
from torch.nn.functional import binary_cross_entropy_with_logits

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import (
    Batch,
    align_numbers,
    epoch_batches,
    lengths_of,
    make_batch,
    next_token_positions,
)
from behavior_tasks.model.checkpoint import Position, load_checkpoint, save_checkpoint, save_tensors
from behavior_tasks.model.device import pick_device
from behavior_tasks.model.losses import amount_loss
from behavior_tasks.model.network import BehaviorModel, Inputs, build_scratch, save_model
from behavior_tasks.model.numbers import fit_numbers
from behavior_tasks.model.predict import run_model
from behavior_tasks.model.pretrained import build_pretrained
from behavior_tasks.model.threshold import best_f1_threshold
from behavior_tasks.model.work_folder import (
    EXIT_REFUSED,
    EXIT_RESUME,
    Epoch,
    Heartbeat,
    Outcome,
    TrainingJob,
    WorkFolder,
)
from behavior_tasks.text.tokens import TokenSet

WARMUP_FRACTION = 0.1
FINAL_RATE_FRACTION = 0.05
MAX_GRADIENT_NORM = 1.0
NEXT_TOKEN_FRACTION = 0.25
"""Share of the positions whose next token is predicted in a step, drawn anew each step. The mean over a random
part is an unbiased estimate of the mean over all, and the vocabulary's logits are a third of a small model's cost."""
TOKEN_WEIGHT_RATE_FACTOR = 5.0
"""The token weights start at zero and each sees few examples, so they move faster than the backbone."""
HEARTBEAT_SECONDS = 1.0
LOCK_SECONDS = 60.0


class StopRequestedError(Exception):
    """Somebody asked the process to stop; what is done stands in the last checkpoint."""


class StopFlag:
    """Set by SIGTERM, and by the end of standard input when the starting stage holds the other end of it."""

    def __init__(self, *, follow_stdin: bool) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._on_signal)
        if follow_stdin:
            threading.Thread(target=self._wait_for_stdin, daemon=True).start()

    def check(self) -> None:
        """Raise StopRequestedError when a stop was asked for."""
        if self.requested:
            raise StopRequestedError

    def _on_signal(self, _signum: int, _frame: object) -> None:
        self.requested = True

    def _wait_for_stdin(self) -> None:
        # However the stage ends, even by kill -9, its end of the pipe closes.
        while os.read(sys.stdin.fileno(), 1):
            pass
        self.requested = True


class Trainer:
    """One training: its job, model, optimiser and position."""

    def __init__(self, work: WorkFolder, stop: StopFlag) -> None:
        self.work = work
        self.stop = stop
        self.job = work.read_job()
        settings = self.job.train
        torch.set_num_threads(settings.threads)
        self.device = pick_device(settings.device)
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        self.accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        self.data = TokenSet.load(self.job.tokens)
        self.labels = self.data.index["label"].to_numpy(dtype=np.float32)
        # Weights of mean one over train leave the size of a step as it is; a constant weight stays exactly one.
        weights = self.data.index["weight"].to_numpy(dtype=np.float64)
        self.weights = (weights / weights[self.data.rows("train")].mean()).astype(np.float32)
        self.amounts = self.data.index["amount"].to_numpy(dtype=np.float32)
        self.lengths = lengths_of(self.data.sequences.offsets)
        self.train_rows = self.data.rows("train")
        self.validation_rows = self.data.rows("validation")
        model = self._build_model()
        self.sequences = align_numbers(self.data.sequences, model.number_names)
        self.optimiser = torch.optim.AdamW(_parameter_groups(model, settings.weight_decay), fused=True)
        # The accelerator's wrapper steps the same optimiser and the same parameters.
        self.model, self.stepper = self.accelerator.prepare(model, self.optimiser)
        self.steps_per_epoch = math.ceil(len(self.train_rows) / settings.batch_size)
        self.position = Position()
        if work.last.is_file():
            self.position = load_checkpoint(work.last, self.model, self.optimiser)
        self.beaten = 0.0

    def run(self) -> None:
        """Train until the last epoch, or until validation AP has stopped rising; then write the bundle."""
        while not self.position.finished:
            self._train_epoch()
            # Validation may be interrupted; it then needs no training repeated.
            self._checkpoint()
            self._end_epoch()
            self._checkpoint()
        write_bundle(self.work, self.job, self.model, self.position)

    def _build_model(self) -> BehaviorModel:
        settings = self.job.model
        tokenizer = Tokenizer.from_file(str(self.job.tokens / "tokenizer" / "tokenizer.json"))
        vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
        torch.manual_seed(self.job.train.seed)
        sequences = self.data.sequences
        inputs = Inputs(
            numbers=fit_numbers(sequences.numbers[self.train_rows], sequences.number_names)
            if settings.numbers
            else None,
            amounts=bool(np.any(self.amounts[self.train_rows] > 0)),
        )
        build = build_scratch if settings.checkpoint == "scratch" else build_pretrained
        model = build(settings, vocabulary=vocabulary, inputs=inputs)
        # The first predictions are then the share of buyers, not one half, which saves the first steps.
        share = np.average(self.labels[self.train_rows], weights=self.weights[self.train_rows])
        buyers = float(np.clip(share, 1e-4, 1 - 1e-4))
        torch.nn.init.constant_(model.purchase.bias, math.log(buyers / (1 - buyers)))
        if inputs.amounts:
            paid = self.amounts[self.train_rows]
            logs = np.log(paid[paid > 0])
            model.amount.bias.data[0] = float(logs.mean())
            model.amount.bias.data[1] = math.log(max(float(logs.std()), 0.1))
        return model

    def _train_epoch(self) -> None:
        """Go through what is left of the epoch."""
        settings, position = self.job.train, self.position
        batches = epoch_batches(
            self.train_rows,
            self.lengths[self.train_rows],
            batch_size=settings.batch_size,
            seed=settings.seed,
            epoch=position.epoch,
        )
        self.model.train()
        started = time.monotonic() - position.seconds
        for rows in batches[position.batch :]:
            if self.stop.requested:
                self._checkpoint()
                self.stop.check()
            self._step(rows)
            position.seconds = time.monotonic() - started
            self._beat()
            if position.step % settings.checkpoint_steps == 0:
                self._checkpoint()

    def _step(self, rows: np.ndarray) -> None:
        settings, position = self.job.train, self.position
        torch.manual_seed(_step_seed(settings.seed, position.step))
        rate = learning_rate(position.step, self.steps_per_epoch * settings.epochs, settings.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_factor"]
        batch = make_batch(self.sequences, rows).to(self.device)
        labels_B = torch.from_numpy(self.labels[rows]).to(self.device)
        weights_B = torch.from_numpy(self.weights[rows]).to(self.device)
        outputs = self.model(batch)
        # The mean over the batch of weighted losses estimates the loss over all negatives without bias.
        purchase = binary_cross_entropy_with_logits(outputs.purchase_B, labels_B, weight=weights_B)
        targets_N = _draw_targets(batch) if settings.next_token_weight else batch.lengths_B[:0]
        loss = purchase
        if len(targets_N):
            next_token = self.model.next_token_loss(batch, outputs.hidden_BTD, targets_N)
            loss = purchase + settings.next_token_weight * next_token
            position.next_token_sum += next_token.item() * len(targets_N)
        if outputs.amount_mean_B is not None and outputs.amount_log_std_B is not None:
            amounts_B = torch.from_numpy(self.amounts[rows]).to(self.device)
            amount = amount_loss(outputs.amount_mean_B, outputs.amount_log_std_B, amounts_B, weights_B)
            loss = loss + settings.amount_weight * amount
        if not math.isfinite(loss.item()):
            raise _diverged(f"a loss of {loss.item()} at step {position.step + 1}, epoch {position.epoch + 1}")
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.stepper.step()
        self.stepper.zero_grad()
        position.purchase_sum += purchase.item() * len(rows)
        position.examples += len(rows)
        position.tokens += batch.real_tokens
        position.targets += len(targets_N)
        position.batch += 1
        position.step += 1

    def _end_epoch(self) -> None:
        """Validate, keep the epoch's metrics and, when it is the best so far, its weights."""
        position, settings = self.position, self.job.train
        labels = self.labels[self.validation_rows]
        scores = run_model(
            self.model,
            self.sequences,
            self.validation_rows,
            device=self.device,
            between_batches=self.stop.check,
        ).probability
        if not np.isfinite(scores).all():
            raise _diverged(f"undefined probabilities on validation after epoch {position.epoch + 1}")
        best_before = position.best_average_precision
        epoch = _summary(position, settings.next_token_weight, labels, scores)
        position.epochs.append(epoch)
        if best_before is None or epoch.validation_average_precision > best_before:
            position.best_epoch = epoch.epoch
            position.threshold = best_f1_threshold(labels, scores)
            save_tensors(self.work.best, self.model.state_dict())
        self.work.write_metrics(position.epochs)
        self.position = position.next_epoch()
        assert self.position.best_epoch is not None
        without_better = epoch.epoch - self.position.best_epoch
        self.position.finished = epoch.epoch == settings.epochs or without_better >= max(settings.patience, 1)

    def _checkpoint(self) -> None:
        save_checkpoint(self.work.last, self.model, self.optimiser, self.position)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self.beaten < HEARTBEAT_SECONDS:
            return
        self.beaten = now
        position = self.position
        total = self.steps_per_epoch * self.job.train.epochs
        seconds = sum(epoch.seconds for epoch in position.epochs) + position.seconds
        examples = len(position.epochs) * len(self.train_rows) + position.examples
        self.work.beat(
            Heartbeat(
                pid=os.getpid(),
                epoch=position.epoch + 1,
                step=position.step,
                total_steps=total,
                loss=_mean_loss(position, self.job.train.next_token_weight),
                examples_per_second=examples / seconds,
                seconds_left=seconds / position.step * (total - position.step),
                validation_average_precision=(
                    position.epochs[-1].validation_average_precision if position.epochs else None
                ),
            )
        )


def learning_rate(step: int, total_steps: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up to the peak, then half a cosine down to a twentieth.

    >>> [round(learning_rate(step, 100, 1.0), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.525, 0.05]
    """
    warmup = max(1, int(total_steps * WARMUP_FRACTION))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    cosine = (1 + math.cos(math.pi * done)) / 2
    return peak * (FINAL_RATE_FRACTION + (1 - FINAL_RATE_FRACTION) * cosine)


def write_bundle(work: WorkFolder, job: TrainingJob, model: BehaviorModel, position: Position) -> None:
    """Write the self-contained model bundle of the best epoch into the work folder."""
    model.load_state_dict(load_file(work.best))
    partial = work.root / "bundle.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_model(model, partial, max_tokens=job.model.max_tokens)
    shutil.copytree(job.tokens / "tokenizer", partial / "tokenizer")
    shutil.copyfile(job.text_settings, partial / "text.json")
    decision = {"threshold": position.threshold, "chosen_on": "validation", "objective": "f1"}
    write_durably(partial / "decision.json", json.dumps(decision, indent=2).encode())
    shutil.rmtree(work.bundle, ignore_errors=True)
    partial.rename(work.bundle)


def _parameter_groups(model: BehaviorModel, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and token weights; not biases, layer norms (vectors) or embeddings."""
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    wide: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.startswith("token_weight."):
            wide.append(parameter)
        elif parameter.ndim < 2 or name.startswith(("backbone.wte.", "backbone.wpe.")):
            free.append(parameter)
        else:
            decayed.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": free, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": wide, "weight_decay": weight_decay, "rate_factor": TOKEN_WEIGHT_RATE_FACTOR},
    ]


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _draw_targets(batch: Batch) -> torch.Tensor:
    """Return the flat positions whose next token this step predicts: a random part of all, ascending."""
    positions_N = next_token_positions(batch)
    count = math.ceil(len(positions_N) * NEXT_TOKEN_FRACTION)
    # Drawn on the CPU: the same targets on every device.
    drawn = torch.randperm(len(positions_N))[:count].sort().values
    return positions_N[drawn.to(positions_N.device)]


def _mean_loss(position: Position, next_token_weight: float) -> float:
    purchase = position.purchase_sum / max(1, position.examples)
    return purchase + next_token_weight * position.next_token_sum / max(1, position.targets)


def _summary(position: Position, next_token_weight: float, labels: np.ndarray, scores: np.ndarray) -> Epoch:
    return Epoch(
        epoch=position.epoch + 1,
        step=position.step,
        train_loss=_mean_loss(position, next_token_weight),
        purchase_loss=position.purchase_sum / position.examples,
        next_token_loss=position.next_token_sum / max(1, position.targets),
        validation_loss=float(log_loss(labels, scores, labels=[0, 1])),
        validation_average_precision=float(average_precision_score(labels, scores)),
        examples_per_second=position.examples / position.seconds,
        tokens_per_second=position.tokens / position.seconds,
        seconds=position.seconds,
    )


def _diverged(found: str) -> UserError:
    return UserError(
        "The training diverged: its numbers are no longer finite (train.learning_rate).",
        found=found,
        expected="a finite loss",
        next_step="lower train.learning_rate, e.g. to a third",
    )


def train(work_folder: Path, *, follow_stdin: bool) -> int:
    """Train in a work folder, going on from its last checkpoint when there is one; return the exit code.

    Args:
        work_folder: holds `job.json`.
        follow_stdin: stop, as on SIGTERM, when standard input ends.
    """
    stop = StopFlag(follow_stdin=follow_stdin)
    work = WorkFolder(work_folder)
    # The process of a killed stage may need a moment to stop.
    with FileLock(work.lock, timeout=LOCK_SECONDS):
        work.outcome.unlink(missing_ok=True)
        try:
            Trainer(work, stop).run()
        except StopRequestedError:
            work.finish(Outcome(status="stopped"))
            return EXIT_RESUME
        except UserError as error:
            work.finish(
                Outcome(
                    status="refused",
                    problem=error.problem,
                    found=error.found,
                    expected=error.expected,
                    next_step=error.next_step,
                )
            )
            return EXIT_REFUSED
        work.finish(Outcome(status="done"))
    return 0


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="Train in a work folder.")
    parser.add_argument("work_folder", type=Path)
    parser.add_argument("--follow-stdin", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    sys.exit(train(arguments.work_folder, follow_stdin=arguments.follow_stdin))


if __name__ == "__main__":
    main()
