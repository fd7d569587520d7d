"""Prediction: a model bundle and token sequences (or texts) in, purchase probabilities out.

Validation during training, evaluation and scoring all come through here, and texts go through the tokenizer and
the length limit that stand in the bundle, so a text gets the same probability wherever it is asked for.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from behavior_tasks.model.batches import lengths_of, make_batch, scoring_batches
from behavior_tasks.model.device import DeviceName, pick_device, pinned_threads
from behavior_tasks.model.network import BehaviorModel, load_model, read_config
from behavior_tasks.text.encode import encode_texts


def predict(
    model_folder: Path,
    tokens: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray | None,
    *,
    device: DeviceName = "auto",
    threads: int = 2,
) -> np.ndarray:
    """Return the purchase probability of rows of a token set.

    Args:
        model_folder: a model bundle.
        tokens: token ids of all rows behind one another, shape (total,).
        offsets: where each row starts and the last one ends, shape (rows + 1,).
        rows: row numbers in the order in which the answer is wanted; None: all rows.
        device: where to compute.
        threads: CPU threads, pinned.

    Returns:
        Probabilities, float64, shape (n,).

    Raises:
        UserError: when the bundle can't be read, or `cuda` is asked for and there is none.
    """
    place = pick_device(device)
    if rows is None:
        rows = np.arange(len(offsets) - 1)
    with pinned_threads(threads):
        model = load_model(model_folder).to(place)
        return probabilities(model, tokens, offsets, rows, device=place)


def score_texts(
    model_folder: Path, texts: Sequence[str], *, device: DeviceName = "auto", threads: int = 2
) -> np.ndarray:
    """Return the purchase probability of texts, float64, shape (n,), through the bundle's own tokenizer."""
    max_tokens = int(read_config(model_folder)["max_tokens"])
    tokens, offsets = encode_texts(model_folder / "tokenizer", texts, max_tokens)
    return predict(model_folder, tokens, offsets, None, device=device, threads=threads)


def threshold(model_folder: Path) -> float:
    """Return the bundle's decision threshold: at or above it, a purchase is predicted."""
    return float(json.loads((model_folder / "decision.json").read_bytes())["threshold"])


def probabilities(
    model: BehaviorModel,
    tokens: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    *,
    device: torch.device,
    between_batches: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return a loaded model's purchase probabilities, float64, shape (len(rows),), in the order of `rows`.

    Args:
        between_batches: called before every batch; may raise to stop.
    """
    logits = np.empty(len(rows), dtype=np.float64)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for places in scoring_batches(lengths_of(offsets)[rows]):
            between_batches()
            batch = make_batch(tokens, offsets, rows[places]).to(device)
            _, logits_B = model(batch.tokens_BT, batch.lengths_B)
            logits[places] = logits_B.double().cpu().numpy()
    model.train(was_training)
    # exp of a large positive number overflows; of a negative one it does not.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
