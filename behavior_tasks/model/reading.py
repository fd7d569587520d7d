"""Reading: token sequences in, what each text tells by itself out; and what texts and numbers tell together.

Nearly all the time of an answer goes into the text, and an answer is the text's share plus the numbers' share, so who
keeps what texts have told need not have them read again, whatever the numbers beside them are. The one thing to know:
on a CPU a text's share is the same to the last bit in any company, because a text is padded to a width that its own
length decides, and neither rows nor tokens of a batch are so few or so odd that another kernel would take them.

Shapes: n texts, H answers (purchase, and amount where the model tells amounts), F numbers.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from behavior_tasks.model.batches import SCORING_BATCH_TOKENS, lengths_of, make_batch
from behavior_tasks.model.decision import sigmoid
from behavior_tasks.model.device import pinned_threads
from behavior_tasks.model.fused import FEWEST_ROWS
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.predictions import Predictions
from behavior_tasks.text.tokens import Sequences

WIDTH_STEP = 32
"""Tokens; a text is padded to the next multiple: attention sums over as many places as a batch is wide."""
ROW_STEP = 8
"""Examples come in multiples of this: the rows left over from whole vectors are summed in another order."""
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

    def read(piece: tuple[int, np.ndarray]) -> None:
        width, chosen = piece
        batch = make_batch(sequences, _filled(chosen, width), [], width=width).to(device)
        with torch.inference_mode():
            told[chosen] = model.read_text(batch)[: len(chosen)].cpu().numpy()

    batches = list(_batches(lengths_of(sequences.offsets), model.backbone.config.max_position_embeddings))
    with pinned_threads(1):
        if device.type == "cpu" and 1 < workers <= len(batches):
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(read, batches))
        else:
            for piece in batches:
                read(piece)
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


def _batches(lengths: np.ndarray, widest: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the width of each batch and its rows."""
    widths = np.minimum(-(-lengths // WIDTH_STEP) * WIDTH_STEP, widest)
    for width in np.unique(widths).tolist():
        rows = np.flatnonzero(widths == width)
        most = max(SCORING_BATCH_TOKENS // width // ROW_STEP, 1) * ROW_STEP
        yield from ((width, rows[start : start + most]) for start in range(0, len(rows), most))


def _filled(chosen: np.ndarray, width: int) -> np.ndarray:
    """Return a batch's rows, the last of them again until there are FEWEST_ROWS tokens and a multiple of ROW_STEP."""
    wanted = max(-(-FEWEST_ROWS // width), len(chosen))
    wanted = -(-wanted // ROW_STEP) * ROW_STEP
    return np.append(chosen, np.repeat(chosen[-1:], wanted - len(chosen)))


def _rows_of_one_size(values: np.ndarray) -> torch.Tensor:
    filled = np.zeros((NUMBER_ROWS, values.shape[1]), dtype=np.float32)
    filled[: len(values)] = values
    return torch.from_numpy(filled)
