"""Validation within a training: the model and the validation examples in, one purchase logit an example out.

The examples are shared among the processes and gone through in rounds. After each round the processes agree on
whether anybody was asked to stop, so all of them stop at the same place.
"""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator

from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.predict import run_model
from behavior_tasks.model.training_data import TrainingData

ROUND_EXAMPLES = 512
"""Of each process, per round: about a second on a slow machine."""


class StopRequestedError(Exception):
    """Somebody asked the training to stop; what is done stands in the last checkpoint."""


def validation_logits(
    model: BehaviorModel,
    data: TrainingData,
    accelerator: Accelerator,
    *,
    stop_requested: Callable[[], bool],
    beat: Callable[[], None],
) -> np.ndarray:
    """Return what the network says, uncorrected, in the order of `data.validation_rows`, float64.

    Args:
        stop_requested: asked once a round.
        beat: called before every batch.

    Raises:
        StopRequestedError: one of the processes was asked to stop.
    """
    rows = data.validation_rows
    logits = torch.zeros(len(rows), dtype=torch.float64)
    order = np.argsort(data.lengths[rows], kind="stable")
    width = ROUND_EXAMPLES * accelerator.num_processes
    for start in range(0, len(rows), width):
        if agree(accelerator, stop_requested()):
            raise StopRequestedError
        mine = order[start : start + width][accelerator.process_index :: accelerator.num_processes]
        if len(mine):
            answer = run_model(model, data.sequences, rows[mine], device=accelerator.device, between_batches=beat)
            logits[mine] = torch.from_numpy(answer.logit)
    if accelerator.num_processes > 1:
        together = logits.to(accelerator.device)
        torch.distributed.all_reduce(together)
        logits = together.cpu()
    return logits.numpy()


def agree(accelerator: Accelerator, said: bool) -> bool:
    """Whether any of the processes says yes; all of them get the same answer."""
    if accelerator.num_processes == 1:
        return said
    return bool(accelerator.gather(torch.tensor([float(said)], device=accelerator.device)).max() > 0)
