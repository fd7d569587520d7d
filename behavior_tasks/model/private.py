"""DP-SGD by shopper (Abadi et al. 2016): nothing but a step's number in; a clipped, noised gradient in place out.

A step draws each shopper of train by the same chance (Poisson). The examples of one shopper, at most so many, are one
batch whose loss depends on nobody else; its gradient is clipped to a length, and Gaussian noise is added to the sum
over shoppers. One shopper therefore moves the sum by no more than that length, whatever they did and however often.
Shoppers go through the network one after the other, which is exact for every architecture: tied embeddings, positions
that all examples share, fused attention, adapters. (Per-example hooks, as Opacus' own, miss uses of a weight outside of
its layer; see docs/privacy.md for what each costs.) Noise and accounting are Opacus' DP-SGD, see `accounting`.

The one thing to know: who is drawn and which noise is added follow from (key, step). The key is secret, random and as
old as the work folder, so a resumed training takes the same steps again and nobody else can take the noise off.
"""

import os
import secrets
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.privacy_config import DpConfig
from behavior_tasks.base.workfolder import flush
from behavior_tasks.model.accounting import Spending, plan_dp
from behavior_tasks.model.gradients import BatchGradients, BatchResult, Plan
from behavior_tasks.model.objective import Objective, Sums, Totals
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.model.work_folder import WorkFolder

KEY_BYTES = 16
WHO, WHICH, NOISE = 3, 4, 5
"""Set the random numbers apart that draw shoppers, draw their examples, and are added as noise."""


@dataclass(frozen=True, kw_only=True)
class PrivateResult(BatchResult):
    """What a private batch gave. Its losses have no noise: they are shown, and decide nothing."""

    def runaway(self, first_loss: float) -> str | None:
        """Return None: to stop by a loss would be to decide by what shoppers did."""
        return None


class PrivateGradients(BatchGradients):
    """Computes noised gradients of whole shoppers.

    Args:
        objective: the network and its losses.
        data: whose train rows are learned from.
        settings: weights of the losses.
        accelerator: one process.
        dp: ε, unit and length of a gradient.
        work: holds the key of the sampling and the noise, see `noise_key`.
    """

    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        settings: TrainConfig,
        accelerator: Accelerator,
        *,
        dp: DpConfig,
        work: WorkFolder,
    ) -> None:
        self.rows_of = rows_by_shopper(data)
        super().__init__(objective, _weighed_by_shopper(data, self.rows_of), settings, accelerator)
        self.dp = dp
        self.plan = plan_dp(dp, epochs=settings.epochs, shoppers=len(self.rows_of))
        self.spending = Spending(self.plan.mechanism, self.plan.delta)
        self.seed = noise_key(work)

    def compute(self, rows: np.ndarray, step: int, *, stop: bool) -> PrivateResult:
        """Leave the noised gradient of a step in the parameters.

        Args:
            rows: not looked at; the step draws its own.
            step: number of the step, from which with the key all random numbers follow.
            stop: whether this process was asked to stop.

        Raises:
            UserError: not even one example fits into memory.
        """
        summed = torch.zeros_like(self.flat)
        sums_3, examples, targets, buyers, tokens = np.zeros(3), 0, 0, 0.0, 0
        for shopper in self.drawn(step):
            own = self._rows(shopper, step)
            plan = self._plan(own, step * len(self.rows_of) + shopper)
            told = self.clipped(plan, step * len(self.rows_of) + shopper)
            if told is None:
                continue
            summed += self.flat
            sums_3 += told
            examples += plan.totals.examples
            targets += plan.totals.targets
            buyers += plan.totals.buyers
            tokens += int(self.data.lengths[own].sum())
        deviation = self.plan.mechanism.noise_multiplier * self.dp.max_grad_norm
        self.flat.copy_((summed + deviation * self._noise(step)) / self.plan.expected)
        totals = Totals(examples=examples, targets=targets, buyers=buyers)
        sums = Sums(*(torch.tensor(value, dtype=torch.float64) for value in sums_3))
        return PrivateResult(
            purchase=float(sums_3[0]),
            next_token=float(sums_3[1]),
            amount=float(sums_3[2]),
            loss=float(self.weights.combine(sums, totals)) if examples else 0.0,
            totals=totals,
            tokens=tokens,
            gradient_norm=self.flat.norm().item(),
            stop=stop,
        )

    def drawn(self, step: int) -> list[int]:
        """Return the numbers of the shoppers that a step draws, each by a chance of its own."""
        random = np.random.default_rng([self.seed, step, WHO])
        chosen = random.random(len(self.rows_of)) < self.plan.mechanism.sample_rate
        return [int(number) for number in np.flatnonzero(chosen)]

    def clipped(self, plan: Plan, draw: int) -> list[float] | None:
        """Leave one shopper's gradient, clipped to `max_grad_norm`, in the parameters; return their losses.

        None, and zero in the parameters, when it is not finite: it then adds nothing, as if it were zero.

        Args:
            plan: of the shopper's rows.
            draw: what the random numbers of dropout follow from.
        """
        sums_3 = self._accumulate(plan, draw)
        while sums_3 is None:
            sums_3 = self._accumulate(plan, draw)
        norm, told = self.flat.norm().item(), sums_3.tolist()
        if not np.isfinite([norm, *told]).all():
            self.flat.zero_()
            return None
        self.flat.mul_(min(1.0, self.dp.max_grad_norm / max(norm, 1e-12)))
        return told

    def _rows(self, shopper: int, step: int) -> np.ndarray:
        rows, most = self.rows_of[shopper], self.dp.examples_per_shopper
        if len(rows) <= most:
            return rows
        random = np.random.default_rng([self.seed, step, shopper, WHICH])
        return np.sort(random.choice(rows, most, replace=False))

    def _noise(self, step: int) -> torch.Tensor:
        # By numpy, so that it is the same on every device.
        random = np.random.default_rng([self.seed, step, NOISE])
        return torch.from_numpy(random.standard_normal(len(self.flat), dtype=np.float32)).to(self.device)


def rows_by_shopper(data: TrainingData) -> list[np.ndarray]:
    """Return the train rows of each shopper, in the order of their pseudonyms."""
    rows = data.train_rows
    codes, names = pd.factorize(data.tokens.read_index(["shopper"])["shopper"].iloc[rows], sort=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    return np.split(rows[order], ends[:-1])


def noise_key(work: WorkFolder) -> int:
    """Return the work folder's secret, from which sampling and noise follow; made when there is none.

    It goes with the work folder, so another training never uses the same noise again, and no model can be told apart
    from its noise by whoever holds the settings.

    Raises:
        UserError: there is a checkpoint but its key is lost.
    """
    try:
        return int(work.noise_key.read_text(encoding="ascii"), 16)
    except FileNotFoundError:
        if work.last.is_file():
            raise UserError(
                "The private training can't go on: its checkpoint is there, but not the key of its noise.",
                found=f"no {work.noise_key.name} in its work folder",
                next_step=f"delete work/train/{work.root.name} in the state folder and run again; what the first steps "
                "cost stays counted",
            ) from None
    key = secrets.token_hex(KEY_BYTES)
    handle = os.open(work.noise_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    flush(work.root)
    return int(key, 16)


def _weighed_by_shopper(data: TrainingData, rows_of: list[np.ndarray]) -> TrainingData:
    """Return the data with weights whose mean is one over the examples of each shopper, not over all: who else is
    there must not change what a shopper adds."""
    weights = data.weights.astype(np.float64)
    for rows in rows_of:
        weights[rows] /= weights[rows].mean()
    own = weights.astype(np.float32)
    return replace(data, weights=own, purchase_weights=own)
