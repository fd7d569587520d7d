"""The work folder of a training: what is asked of it, how far it is, and how it ended.

The stage writes `job.json` and starts the training process on the folder; the process writes the rest. Nothing
else passes between the two, so either can be killed at any moment and the next pair goes on from the files.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import DecisionConfig, ModelConfig, TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.privacy_config import DpConfig

EXIT_REFUSED = 2
"""The user has to change something first."""
EXIT_RESUME = 75
"""Stopped on request; start again to resume (EX_TEMPFAIL of sysexits.h)."""

SAID_FORMAT = "%(levelname)s:%(name)s:%(message)s"
"""How the process writes log records into `log.txt`, among what its libraries write there."""
SAID = re.compile(r"^(DEBUG|INFO|WARNING|ERROR):behavior:(.*)$")
"""Such a record of this project: its level and its message."""


@contextmanager
def alone_with_training(lock: FileLock) -> Iterator[None]:
    """Hold the lock of a training, that does not wait, while a block runs.

    Raises:
        UserError: another run holds it.
    """
    try:
        with lock:
            yield
    except Timeout:
        raise UserError(
            "The same model is being trained by another run right now.",
            next_step="wait for the other run; this one then finds its model finished",
        ) from None


class Record(BaseModel):
    """Common rules of what is kept in the work folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingJob(Record):
    """What to train on, and how."""

    tokens: Path
    """Folder of the encode artifact."""
    text_settings: Path
    """`text.json` of the verbalize artifact; travels with the model."""
    teacher: Path | None = None
    """`teacher.parquet` of the baselines artifact; None: labels only."""
    model: ModelConfig
    train: TrainConfig
    decision: DecisionConfig = DecisionConfig()
    """How the threshold is chosen."""
    dp: DpConfig | None = None
    """Differential privacy; None: off."""


class Epoch(Record):
    """One line of `metrics.jsonl`. Losses are means, in nats."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimiser steps so far."""
    train_loss: float
    purchase_loss: float
    next_token_loss: float
    amount_loss: float | None = None
    """None when the amount head is off."""
    validation_loss: float
    validation_average_precision: float
    examples_per_second: float
    tokens_per_second: float
    micro_batch_tokens: int | None = None
    """Most padded tokens computed at once."""
    seconds: float
    epsilon: float | None = None
    """Privacy loss of all steps so far; None without differential privacy."""


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """Return the epoch that a bundle is made of: the highest validation AP, of equals the first.

    With differential privacy it is the last: to choose would be to look at shoppers without noise.
    """
    if epochs[-1].epsilon is not None:
        return epochs[-1]
    return max(epochs, key=lambda epoch: (epoch.validation_average_precision, -epoch.epoch))


class Heartbeat(Record):
    """How far the training is; rewritten about once a second by the first process, from the loops that do the work.

    The stage ends a training whose heartbeat stands still, so validation beats too, and no other thread may.
    """

    pid: int
    doing: Literal["train", "validate"] = "train"
    epoch: int
    """Counted from 1."""
    step: int
    """Optimiser steps so far."""
    total_steps: int
    loss: float
    """Mean of the running epoch, in nats."""
    examples_per_second: float
    tokens_per_second: float = 0.0
    seconds_left: float
    validation_average_precision: float | None
    """Of the last finished epoch."""
    best_average_precision: float | None = None
    """Of the best epoch so far, on validation."""
    micro_batch_tokens: int | None = None
    """Most padded tokens computed at once; halved when they did not fit into memory."""
    epsilon: float | None = None
    """Privacy loss of all steps so far; None without differential privacy."""
    written: float = Field(default_factory=time.time)
    """When it was written, in seconds since 1970."""


class Outcome(Record):
    """How the process ended."""

    status: Literal["done", "stopped", "refused"]
    problem: str | None = None
    found: str | None = None
    expected: str | None = None
    next_step: str | None = None


class WorkFolder:
    """Paths and records below one work folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.job = root / "job.json"
        self.log = root / "log.txt"
        self.lock = root / "process.lock"
        self.heartbeat = root / "heartbeat.json"
        self.outcome = root / "outcome.json"
        self.metrics = root / "metrics.jsonl"
        self.last = root / "last.safetensors"
        self.best = root / "best.safetensors"
        self.bundle = root / "bundle"
        self.noise_key = root / "noise.key"

    def read_job(self) -> TrainingJob:
        """Return what is asked."""
        return TrainingJob.model_validate_json(self.job.read_bytes())

    def write_metrics(self, epochs: list[Epoch]) -> None:
        """Write one line an epoch; always the whole file, so a resumed training repeats no line."""
        text = "".join(json.dumps(epoch.model_dump()) + "\n" for epoch in epochs)
        write_durably(self.metrics, text.encode())

    def read_metrics(self) -> list[Epoch]:
        """Return the finished epochs."""
        if not self.metrics.is_file():
            return []
        return [Epoch.model_validate_json(line) for line in self.metrics.read_bytes().splitlines()]

    def beat(self, heartbeat: Heartbeat) -> None:
        """Say how far the training is. Not flushed to disk: after a crash of the machine nobody needs it."""
        temporary = self.heartbeat.with_name(f".heartbeat.{uuid4().hex[:8]}")
        temporary.write_text(heartbeat.model_dump_json(), encoding="utf-8")
        temporary.replace(self.heartbeat)

    def read_heartbeat(self) -> Heartbeat | None:
        """Return how far the training is, or None before its first step."""
        try:
            return Heartbeat.model_validate_json(self.heartbeat.read_bytes())
        except FileNotFoundError:
            return None

    def finish(self, outcome: Outcome) -> None:
        """Say how the process ended."""
        write_durably(self.outcome, outcome.model_dump_json().encode())

    def read_outcome(self) -> Outcome | None:
        """Return how the process ended; None when it was killed or crashed."""
        try:
            return Outcome.model_validate_json(self.outcome.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
