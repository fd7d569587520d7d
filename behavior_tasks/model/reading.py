"""Reading: token sequences in, what each text tells by itself out; and what texts and numbers tell together.

Nearly all the time of an answer goes into the text, and an answer is the text's share plus the numbers' share, so who
keeps what texts have told need not have them read again, whatever the numbers beside them are. The one thing to know:
a text's share must not depend on its company, so no batch is too small for the kernels of a large one, every batch has
one thread, and numbers are added in pieces of one size.

Shapes: n texts, H answers (purchase, and amount where the model tells amounts), F numbers.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from behavior_tasks.model.batches import lengths_of, make_batch, scoring_batches
from behavior_tasks.model.decision import sigmoid
from behavior_tasks.model.device import pinned_threads
from behavior_tasks.model.fused import FEWEST_ROWS
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.predictions import Predictions
from behavior_tasks.text.tokens import Sequences

NUMBER_ROWS = 1024
"""Rows whose numbers are added at a time: always so many, as another matrix may be multiplied by another kernel."""


def read_sequences(model: BehaviorModel, sequences: Sequences, *, device: torch.device, workers: int = 1) -> np.ndarray:
    """Return what n texts tell by themselves, float32, shape (n, H).

    Args:
        model: in evaluation mode, on the device.
        sequences: of n texts; their numbers play no part.
        workers: threads with a batch of their own, on a CPU; the answers do not depend on them.
    """
    told = np.empty((len(sequences), 2 if model.inputs.amounts else 1), dtype=np.float32)

    def read(chosen: np.ndarray) -> None:
        batch = make_batch(sequences, _filled(chosen, lengths), []).to(device)
        with torch.inference_mode():
            told[chosen] = model.read_text(batch)[: len(chosen)].cpu().numpy()

    lengths = lengths_of(sequences.offsets)
    batches = list(scoring_batches(lengths))
    with pinned_threads(1):
        if device.type == "cpu" and 1 < workers <= len(batches):
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(read, batches))
        else:
            for chosen in batches:
                read(chosen)
    return told


def join_numbers(model: BehaviorModel, told: np.ndarray, numbers: np.ndarray, *, device: torch.device) -> Predictions:
    """Return what texts and numbers tell together, without calibration.

    Args:
        model: in evaluation mode, on the device.
        told: what `read_sequences` gave, shape (n, H).
        numbers: float32 in the order of `number_names`, NaN where undefined, shape (n, F).
    """
    pieces = [np.zeros((3 if model.inputs.amounts else 1, 0))]
    for start in range(0, len(told), NUMBER_ROWS):
        part = slice(start, start + NUMBER_ROWS)
        text_BH, numbers_BF = (_rows_of_one_size(values[part]).to(device) for values in (told, numbers))
        with torch.inference_mode():
            pieces.append(model.join(text_BH, numbers_BF).stacked()[:, : len(told[part])])
    return raw_predictions(np.concatenate(pieces, axis=1, dtype=np.float64))


def raw_predictions(answers: np.ndarray) -> Predictions:
    """Return a model's answers (logit, and mean and log-deviation of ln(amount)), shape (1 or 3, n), uncalibrated."""
    has_amounts = len(answers) > 1
    return Predictions(
        probability=sigmoid(answers[0]),
        logit=answers[0],
        log_mean=answers[1] if has_amounts else None,
        log_std=np.exp(answers[2]) if has_amounts else None,
    )


def _filled(chosen: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return a batch's rows, the last of them again and again until the batch has FEWEST_ROWS tokens."""
    fewest = -(-FEWEST_ROWS // int(lengths[chosen].max()))
    return np.append(chosen, np.repeat(chosen[-1:], max(fewest - len(chosen), 0)))


def _rows_of_one_size(values: np.ndarray) -> torch.Tensor:
    filled = np.zeros((NUMBER_ROWS, values.shape[1]), dtype=np.float32)
    filled[: len(values)] = values
    return torch.from_numpy(filled)
