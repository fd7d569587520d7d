"""The gradients of one batch: row numbers in; gradients in place, and the batch's losses, out.

A batch is shared among the processes and computed in pieces of at most so many padded tokens. When a piece does not
fit into memory, the batch is begun again in pieces of half the size. Neither changes the result: losses are sums over
examples divided by counts of the whole batch, and which next tokens are asked for is drawn for the whole batch.

The gradients of all parameters are views of one buffer, so that clearing, adding up over processes, measuring and
clipping are one operation each. (DistributedDataParallel would start to add up during the last piece, but a process
that runs out of memory at that moment would leave the others waiting for ever.)
"""

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.model.batches import make_batch, number_places, pieces_within
from behavior_tasks.model.memory import is_out_of_memory, one_example_does_not_fit
from behavior_tasks.model.objective import LossWeights, Objective, Sums, Targets, Totals
from behavior_tasks.model.schedule import seed_of
from behavior_tasks.model.training_data import TrainingData

MAX_GRADIENT_NORM = 1.0
RUNAWAY = 100.0
"""Times the first loss from which no training comes back by itself."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What a batch gave, over all processes."""

    purchase: float
    """Losses are sums, in nats."""
    next_token: float
    amount: float
    loss: float
    totals: Totals
    tokens: int
    """Without padding."""
    gradient_norm: float
    """Before clipping."""
    stop: bool
    """Whether any of the processes was asked to stop."""

    def runaway(self, first_loss: float) -> str | None:
        """Say why the step must not be taken, or None when it may.

        Args:
            first_loss: of the training's first step.
        """
        if not math.isfinite(self.loss):
            return "a loss that is not finite"
        if not math.isfinite(self.gradient_norm):
            return "a gradient that is not finite"
        if self.loss > RUNAWAY * max(first_loss, 1.0):
            return f"a loss of {self.loss:.3g}, which began at {first_loss:.3g},"
        return None


class Plan(NamedTuple):
    """A batch, and what is asked of it, the same in every process."""

    rows: np.ndarray
    """Row numbers, shape (B,)."""
    examples: np.ndarray
    """The example, 0 to B - 1, of each next token that is predicted, shape (N,)."""
    places: np.ndarray
    """Its position in the example's text, shape (N,)."""
    totals: Totals


class BatchGradients:
    """Computes gradients; remembers how much fits into memory."""

    def __init__(
        self, objective: Objective, data: TrainingData, settings: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.objective = objective
        self.data = data
        self.seed = settings.seed
        self.weights = LossWeights(next_token=settings.next_token_weight, amount=settings.amount_weight)
        self.places = number_places(data.sequences, objective.model.number_names)
        self.accelerator = accelerator
        self.device = accelerator.device
        self.batch_tokens = settings.batch_tokens
        """Most padded tokens computed at once."""
        trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.flat = torch.zeros(sum(parameter.numel() for parameter in trained), device=self.device)
        for parameter, part in zip(trained, self.flat.split([p.numel() for p in trained]), strict=True):
            parameter.grad = part.view_as(parameter)

    def compute(self, rows: np.ndarray, step: int, *, stop: bool) -> BatchResult:
        """Leave the clipped gradients of a batch's loss in the parameters.

        Args:
            rows: row numbers of the whole batch, shape (B,); this process takes its share of them.
            step: number of the step, from which all random numbers follow.
            stop: whether this process was asked to stop.

        Raises:
            UserError: not even one example fits into memory.
        """
        plan = self._plan(rows, step)
        sums_3 = self._accumulate(plan, step)
        while sums_3 is None:
            sums_3 = self._accumulate(plan, step)
        purchase, next_token, amount, stops = self._add_up(sums_3, stop)
        norm = self.flat.norm()
        self.flat.mul_((MAX_GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0))
        sums = Sums(*(torch.tensor(value, dtype=torch.float64) for value in (purchase, next_token, amount)))
        return BatchResult(
            purchase=purchase,
            next_token=next_token,
            amount=amount,
            loss=float(self.weights.combine(sums, plan.totals)),
            totals=plan.totals,
            tokens=int(self.data.lengths[rows].sum()),
            gradient_norm=norm.item(),
            stop=stops > 0,
        )

    def _plan(self, rows: np.ndarray, step: int) -> Plan:
        examples = places = np.zeros(0, dtype=np.int64)
        if self.weights.next_token:
            examples, places = self.objective.model.draw_targets(self.data.lengths[rows], seed_of(self.seed, step))
        buyers = 0.0
        if self.objective.model.inputs.amounts:
            buyers = float(self.data.weights[rows[self.data.amounts[rows] > 0]].sum(dtype=np.float64))
        return Plan(rows, examples, places, Totals(examples=len(rows), targets=len(places), buyers=buyers))

    def _accumulate(self, plan: Plan, step: int) -> torch.Tensor | None:
        """Add up the gradients of this process's share; None when a piece of it did not fit into memory."""
        self.flat.zero_()
        sums_3 = torch.zeros(3, device=self.device)
        rank = self.accelerator.process_index
        # Rows of a batch ascend in length, so every process gets as much to do.
        mine = np.arange(rank, len(plan.rows), self.accelerator.num_processes)
        places = mine[:0]
        try:
            for number, piece in enumerate(pieces_within(self.data.lengths[plan.rows[mine]], self.batch_tokens)):
                places = mine[piece]
                torch.manual_seed(seed_of(self.seed, step, rank, number))
                sums_3 += self._one_piece(plan, places)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            words = str(error)
        else:
            return sums_3
        # Only here, since the handled error keeps what filled the memory alive.
        self._take_half(plan.rows[places], words)
        return None

    def _one_piece(self, plan: Plan, places: np.ndarray) -> torch.Tensor:
        rows = plan.rows[places]
        batch = make_batch(self.data.sequences, rows, self.places)
        place_in_piece = np.full(len(plan.rows), -1)
        place_in_piece[places] = np.arange(len(places))
        asked = place_in_piece[plan.examples]
        positions = (asked * batch.tokens_BT.shape[1] + plan.places)[asked >= 0]
        targets = Targets(
            purchase_B=torch.from_numpy(self.data.targets[rows]),
            weights_B=torch.from_numpy(self.data.weights[rows]),
            purchase_weights_B=torch.from_numpy(self.data.purchase_weights[rows]),
            amounts_B=torch.from_numpy(self.data.amounts[rows]),
            positions_N=torch.from_numpy(np.sort(positions)),
        )
        with self.accelerator.autocast():
            sums = self.objective(batch.to(self.device), targets.to(self.device))
        self.accelerator.backward(self.weights.combine(sums, plan.totals))
        return torch.stack(sums).detach()

    def _take_half(self, rows: np.ndarray, words: str) -> None:
        lengths = self.data.lengths[rows]
        if len(rows) == 1:
            raise one_example_does_not_fit(int(lengths[0]), words)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        computed = len(rows) * int(lengths.max())
        self.batch_tokens = computed // 2
        log.warning(
            "Out of memory at %d tokens at once; on with %d (train.batch_tokens). The batch stays as large.",
            computed,
            self.batch_tokens,
        )

    def _add_up(self, sums_3: torch.Tensor, stop: bool) -> tuple[float, float, float, float]:
        """Add gradients and losses up over the processes; agree on what fits into memory and on stopping."""
        if self.accelerator.num_processes == 1:
            purchase, next_token, amount = sums_3.tolist()
            return purchase, next_token, amount, float(stop)
        said = torch.cat([sums_3, sums_3.new_tensor([float(stop), float(self.batch_tokens)])])
        said_W5 = self.accelerator.gather(said.unsqueeze(0)).double().cpu()
        self.batch_tokens = int(said_W5[:, 4].min())
        torch.distributed.all_reduce(self.flat)
        purchase, next_token, amount, stops = said_W5[:, :4].sum(0).tolist()
        return purchase, next_token, amount, stops
