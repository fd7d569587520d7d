"""The trainer: a work folder with a job in; checkpoints, metrics and a model bundle in the same folder out.

Everything that a step does follows from the checkpoint before it and from its number: batches from (seed, epoch),
dropout and the choice of next-token targets from (seed, step), the learning rate from the step. So a training that
was stopped or killed goes on to the same bits. Of several processes only the first writes.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from sklearn.metrics import average_precision_score, log_loss

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import epoch_batches
from behavior_tasks.model.bundle import save_best, write_bundle
from behavior_tasks.model.checkpoint import DivergedError, Position, load_checkpoint, save_checkpoint
from behavior_tasks.model.cpu_speed import speed_up_on_cpu
from behavior_tasks.model.decision import sigmoid
from behavior_tasks.model.device import DeviceName, PrecisionName, pick_device, pick_precision
from behavior_tasks.model.gradients import BatchGradients
from behavior_tasks.model.groups import parameter_groups
from behavior_tasks.model.head_start import give_head_start, has_head_start
from behavior_tasks.model.new_model import build_model
from behavior_tasks.model.objective import Objective
from behavior_tasks.model.private import PrivateGradients
from behavior_tasks.model.schedule import learning_rate
from behavior_tasks.model.teacher import read_teacher
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.model.validation import StopRequestedError, validation_logits
from behavior_tasks.model.work_folder import Epoch, Heartbeat, WorkFolder

HEARTBEAT_SECONDS = 1.0
log = logging.getLogger("behavior")


class Trainer:
    """One training: its job, model, optimiser and position.

    Args:
        work: holds the job, and the last checkpoint when there is one to go on from.
        stop_requested: whether this process was asked to stop.
    """

    def __init__(self, work: WorkFolder, stop_requested: Callable[[], bool]) -> None:
        self.work = work
        self.stop_requested = stop_requested
        self.job = work.read_job()
        settings = self.job.train
        self.accelerator = _start(self.job.train.device, self.job.train.precision)
        torch.set_num_threads(settings.threads)
        self.data = self._taught(TrainingData.load(self.job.tokens, settings))
        model = build_model(self.job.model, self.data)
        self.model = model.to(self.accelerator.device)
        if not work.last.is_file() and self.accelerator.is_main_process:
            # The others find what came of it in the first checkpoint.
            give_head_start(self.model, self.data, self._check_stop)
        if self.accelerator.device.type == "cpu":
            speed_up_on_cpu(model, bf16=self.accelerator.mixed_precision == "bf16")
        if settings.gradient_checkpointing:
            model.backbone.activation_checkpointing_enable({"use_reentrant": False})
        objective = Objective(model, settings.positive_weight)
        if settings.compile:
            objective.compile(dynamic=True)
        self.private: PrivateGradients | None = None
        if self.job.dp is not None:
            self.private = PrivateGradients(objective, self.data, settings, self.accelerator, dp=self.job.dp, work=work)
        self.gradients = self.private or BatchGradients(objective, self.data, settings, self.accelerator)
        groups = parameter_groups(model, settings.weight_decay, numbers_know=has_head_start(model, settings))
        self.optimiser = torch.optim.AdamW([dict(group) for group in groups], fused=True)
        self.steps_per_epoch = (
            self.private.plan.steps_per_epoch
            if self.private
            else math.ceil(self.data.epoch_examples / settings.batch_size)
        )
        self._say_what_differs()
        self.position = Position()
        self.beaten = 0.0
        if work.last.is_file():
            self._go_back()
        else:
            self._first_checkpoint()

    def run(self) -> None:
        """Train until the last epoch, or until validation AP has stopped rising; then write the bundle.

        Raises:
            StopRequestedError: asked to stop; the checkpoint is written.
            UserError: the training diverged time and again, or not even one example fits into memory.
        """
        while not self.position.finished:
            try:
                self._say_what_numbers_know()
                self._train_epoch()
                # Validation may be interrupted; it then needs no training repeated.
                self._checkpoint()
                self._end_epoch()
                self._checkpoint()
            except DivergedError as error:
                self._fall_back(str(error))
        if self.accelerator.is_main_process:
            write_bundle(self.work, self.job, self.model, self.data)

    def _train_epoch(self) -> None:
        """Go through what is left of the epoch."""
        settings, position = self.job.train, self.position
        batches = self._batches()
        self.model.train()
        started = time.monotonic() - position.seconds
        for batch in batches[position.batch :]:
            stop = self._step(batch)
            position.seconds = time.monotonic() - started
            self._beat("train")
            if stop or position.step % settings.checkpoint_steps == 0:
                self._checkpoint()
            if stop:
                raise StopRequestedError

    def _batches(self) -> list[np.ndarray]:
        """Return the rows of each batch of the epoch; with differential privacy each step draws its own."""
        settings, epoch = self.job.train, self.position.epoch
        if self.private:
            return [np.zeros(0, dtype=np.int64)] * self.steps_per_epoch
        rows = self.data.epoch_rows(epoch)
        return epoch_batches(
            rows, self.data.lengths[rows], batch_size=settings.batch_size, seed=settings.seed, epoch=epoch
        )

    def _step(self, rows: np.ndarray) -> bool:
        """Take a step; return whether any of the processes was asked to stop."""
        settings, position = self.job.train, self.position
        result = self.gradients.compute(rows, position.step, stop=self.stop_requested())
        if position.first_loss is None:
            position.first_loss = result.loss
        if (found := result.runaway(position.first_loss)) is not None:
            raise DivergedError(f"{found} at step {position.step + 1}, epoch {position.epoch + 1}")
        rate = learning_rate(position.step, self.steps_per_epoch * settings.epochs, settings.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * position.rate_factor * group["rate_factor"]
        self.optimiser.step()
        position.purchase_sum += result.purchase
        position.next_token_sum += result.next_token
        position.amount_sum += result.amount
        position.examples += result.totals.examples
        position.targets += result.totals.targets
        position.buyers += result.totals.buyers
        position.tokens += result.tokens
        position.batch += 1
        position.step += 1
        if self.gradients.batch_tokens < settings.batch_tokens:
            position.batch_tokens = self.gradients.batch_tokens
        return result.stop

    def _say_what_numbers_know(self) -> None:
        """Before the first step, say what the numbers tell by themselves: what the text then adds to."""
        if self.position.step or not has_head_start(self.model, self.job.train):
            return
        score = average_precision_score(self.data.labels[self.data.validation_rows], self._validate())
        log.info("The numbers by themselves: validation AP %.3f.", score)

    def _validate(self) -> np.ndarray:
        logits = validation_logits(
            self.model,
            self.data,
            self.accelerator,
            stop_requested=self.stop_requested,
            beat=lambda: self._beat("validate"),
        )
        if not np.isfinite(logits).all():
            raise DivergedError(f"undefined probabilities on validation after step {self.position.step}")
        return logits

    def _end_epoch(self) -> None:
        """Validate, keep the epoch's metrics and, when it is the best so far, its weights."""
        position, settings = self.position, self.job.train
        labels = self.data.labels[self.data.validation_rows]
        logits = self._validate()
        best_before = position.best_average_precision
        epoch = self._summary(labels, logits)
        position.epochs.append(epoch)
        if self.private or best_before is None or epoch.validation_average_precision > best_before:
            position.best_epoch = epoch.epoch
            if self.accelerator.is_main_process:
                save_best(self.work, self.model, logits)
        if self.accelerator.is_main_process:
            self.work.write_metrics(position.epochs)
        self.position = position.next_epoch()
        assert self.position.best_epoch is not None
        without_better = epoch.epoch - self.position.best_epoch
        waited = not self.private and without_better >= max(settings.patience, 1)
        self.position.finished = epoch.epoch == settings.epochs or waited

    def _checkpoint(self) -> None:
        self.accelerator.wait_for_everyone()
        save_checkpoint(
            self.work.last, self.model, self.optimiser, self.position, write=self.accelerator.is_main_process
        )
        self.accelerator.wait_for_everyone()

    def _taught(self, data: TrainingData) -> TrainingData:
        """Return the data with the teacher's probabilities in its targets, when there is a teacher."""
        if self.job.teacher is None or not self.job.train.distillation:
            return data
        examples = data.tokens.read_index(["example"])["example"].iloc[data.train_rows]
        return data.with_teacher(read_teacher(self.job.teacher, examples))

    def _first_checkpoint(self) -> None:
        """Keep where all begins: every process, and every later attempt, begins there."""
        try:
            self._checkpoint()
        except DivergedError:
            raise UserError(
                "The model's weights are not finite before the first step (model.checkpoint).",
                found="NaN or infinity in the checkpoint's weights",
                next_step="take another checkpoint, or set model.checkpoint=scratch",
            ) from None
        self._go_back()

    def _check_stop(self) -> None:
        if self.stop_requested():
            raise StopRequestedError

    def _go_back(self) -> None:
        """Take up the last checkpoint."""
        self.position = load_checkpoint(self.work.last, self.model, self.optimiser)
        if self.position.batch_tokens is not None:
            self.gradients.batch_tokens = min(self.gradients.batch_tokens, self.position.batch_tokens)

    def _fall_back(self, found: str) -> None:
        """Go on from the last checkpoint at half the learning rate.

        Raises:
            UserError: that was done often enough.
        """
        settings, divergences = self.job.train, self.position.divergences + 1
        # What was spent on steps that are taken anew stays spent, so a private training takes none anew.
        if self.private or divergences > settings.divergence_retries:
            rates = ", ".join(f"{settings.learning_rate * 0.5**n:.3g}" for n in range(divergences))
            raise UserError(
                "The training diverged: its loss ran away (train.learning_rate).",
                found=f"{found}; tried at a learning rate of {rates}",
                expected="a finite loss that falls",
                next_step="lower train.learning_rate, e.g. to a tenth",
            )
        self._go_back()
        self.position.divergences = divergences
        log.warning(
            "The training diverged (%s); on from step %d at half the learning rate, %.3g.",
            found,
            self.position.step,
            settings.learning_rate * self.position.rate_factor,
        )
        self._checkpoint()

    def _say_what_differs(self) -> None:
        """Tell the log what a reader of the settings would not expect."""
        if not self.accelerator.is_main_process:
            return
        if self.accelerator.num_processes > 1:
            log.info("%d processes share each batch.", self.accelerator.num_processes)
        if self.private:
            plan = self.private.plan
            log.info(
                "Differential privacy: %d steps, each of about %.0f of %d shoppers (in place of train.batch_size), "
                "noise %.3g times the longest gradient. All epochs are trained and the last is kept.",
                plan.mechanism.steps,
                plan.expected,
                plan.shoppers,
                plan.mechanism.noise_multiplier,
            )
        if not self.model.inputs.amounts:
            log.warning("The amount head is off: no train example has an amount above zero.")
        if not self.job.train.next_token_weight:
            log.warning("The next-token head is not trained: train.next_token_weight is 0.")

    def _mean_losses(self) -> tuple[float, float, float]:
        """Purchase, next token and amount, means over the epoch so far."""
        position = self.position
        return (
            position.purchase_sum / max(1, position.examples),
            position.next_token_sum / max(1, position.targets),
            position.amount_sum / position.buyers if position.buyers else 0.0,
        )

    def _mean_loss(self) -> float:
        purchase, next_token, amount = self._mean_losses()
        weights = self.gradients.weights
        return purchase + weights.next_token * next_token + weights.amount * amount

    def _epsilon(self) -> float | None:
        return self.private.spending.after(self.position.step) if self.private else None

    def _summary(self, labels: np.ndarray, logits: np.ndarray) -> Epoch:
        position = self.position
        purchase, next_token, amount = self._mean_losses()
        return Epoch(
            epoch=position.epoch + 1,
            step=position.step,
            train_loss=self._mean_loss(),
            purchase_loss=purchase,
            next_token_loss=next_token,
            amount_loss=amount if self.model.inputs.amounts else None,
            validation_loss=float(log_loss(labels, sigmoid(logits + self.data.prior_offset), labels=[0, 1])),
            validation_average_precision=float(average_precision_score(labels, logits)),
            examples_per_second=position.examples / position.seconds,
            tokens_per_second=position.tokens / position.seconds,
            micro_batch_tokens=self.gradients.batch_tokens,
            seconds=position.seconds,
            epsilon=self._epsilon(),
        )

    def _beat(self, doing: Literal["train", "validate"]) -> None:
        now = time.monotonic()
        if now - self.beaten < HEARTBEAT_SECONDS or not self.accelerator.is_main_process or not self.position.step:
            return
        self.beaten = now
        position = self.position
        total = self.steps_per_epoch * self.job.train.epochs
        seconds = sum(epoch.seconds for epoch in position.epochs) + position.seconds
        examples = len(position.epochs) * self.data.epoch_examples + position.examples
        self.work.beat(
            Heartbeat(
                pid=os.getpid(),
                doing=doing,
                epoch=position.epoch + 1,
                step=position.step,
                total_steps=total,
                loss=self._mean_loss(),
                examples_per_second=examples / seconds,
                tokens_per_second=position.tokens / position.seconds,
                seconds_left=seconds / position.step * (total - position.step),
                validation_average_precision=(
                    position.epochs[-1].validation_average_precision if position.epochs else None
                ),
                best_average_precision=position.best_average_precision,
                micro_batch_tokens=self.gradients.batch_tokens,
                epsilon=self._epsilon(),
            )
        )


def _start(device_name: DeviceName, precision: PrecisionName) -> Accelerator:
    """Join the other processes, if there are any, and find the device."""
    device = pick_device(device_name)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=pick_precision(precision, device))
