"""Prediction: a model bundle and sequences (or texts and numbers) in; probabilities and amounts out.

Validation during training, evaluation and scoring all come through here, and texts go through the tokenizer and
the length limit that stand in the bundle, so a text gets the same probability wherever it is asked for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import align_numbers, lengths_of, make_batch, scoring_batches
from behavior_tasks.model.decision import Decision, sigmoid
from behavior_tasks.model.device import DeviceName, pick_device, pinned_threads
from behavior_tasks.model.network import BehaviorModel, load_model, read_config
from behavior_tasks.text.encode import encode_texts
from behavior_tasks.text.tokens import Sequences


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model says of n examples."""

    probability: np.ndarray
    """Of a purchase, float64, shape (n,); calibrated, except straight from `run_model`."""
    logit: np.ndarray
    """What the network itself says, before any calibration, float64, shape (n,)."""
    log_mean: np.ndarray | None
    """Mean of ln(amount) among buyers, shape (n,); None when the model has no amount head."""
    log_std: np.ndarray | None
    """Its standard deviation, shape (n,)."""

    @property
    def expected_amount(self) -> np.ndarray | None:
        """The mean of the zero-inflated lognormal, in the log's currency, shape (n,); None without amount head."""
        if self.log_mean is None or self.log_std is None:
            return None
        return self.probability * np.exp(self.log_mean + self.log_std**2 / 2)


def predict(
    model_folder: Path,
    sequences: Sequences,
    rows: np.ndarray | None = None,
    *,
    device: DeviceName = "auto",
    threads: int = 2,
) -> Predictions:
    """Return what a model bundle says of rows of encoded examples.

    Args:
        model_folder: a model bundle.
        sequences: the encoded examples.
        rows: row numbers in the order in which the answer is wanted; None: all rows.
        device: where to compute.
        threads: CPU threads, pinned.

    Raises:
        UserError: when the bundle can't be read, the numbers it reads are missing, or `cuda` is asked for and there
            is none.
    """
    place, decision = pick_device(device), Decision.load(model_folder)
    if rows is None:
        rows = np.arange(len(sequences))
    with pinned_threads(threads):
        model = load_model(model_folder).to(place)
        raw = run_model(model, sequences, rows, device=place)
    return replace(raw, probability=decision.calibrate(raw.logit))


def score_texts(
    model_folder: Path,
    texts: Sequence[str],
    numbers: pd.DataFrame | None = None,
    *,
    device: DeviceName = "auto",
    threads: int = 2,
) -> Predictions:
    """Return what a model bundle says of texts, through the bundle's own tokenizer.

    Args:
        model_folder: a model bundle.
        texts: n texts.
        numbers: n rows with the features that the model reads as numbers; None when it reads none.
        device: where to compute.
        threads: CPU threads, pinned.
    """
    content = read_config(model_folder)
    tokens, offsets = encode_texts(model_folder / "tokenizer", texts, int(content["max_tokens"]))
    names = tuple(content["numbers"]["names"]) if content["numbers"] else ()
    values = np.zeros((len(texts), 0), dtype=np.float32)
    if names:
        missing = sorted(set(names) - set(() if numbers is None else numbers.columns))
        if missing or numbers is None:
            raise UserError(
                "The model reads numbers beside the text, and they are not all there.",
                found=f"no {', '.join(missing)}",
                expected="a column for each of them; empty where one is undefined",
                next_step="add the columns, or train with model.numbers=false",
            )
        values = numbers[list(names)].to_numpy(dtype=np.float32, na_value=math.nan)
    sequences = Sequences(tokens=tokens, offsets=offsets, numbers=values, number_names=names)
    return predict(model_folder, sequences, device=device, threads=threads)


def threshold(model_folder: Path) -> float:
    """Return the bundle's decision threshold: at or above it, a purchase is predicted."""
    return Decision.load(model_folder).threshold


def run_model(
    model: BehaviorModel,
    sequences: Sequences,
    rows: np.ndarray,
    *,
    device: torch.device,
    between_batches: Callable[[], None] = lambda: None,
) -> Predictions:
    """Return what a loaded model says of rows, in their order, without calibration.

    Args:
        between_batches: called before every batch; may raise to stop.
    """
    sequences = align_numbers(sequences, model.number_names)
    count = 3 if model.inputs.amounts else 1
    answers = np.empty((count, len(rows)), dtype=np.float64)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for places in scoring_batches(lengths_of(sequences.offsets)[rows]):
            between_batches()
            outputs = model(make_batch(sequences, rows[places]).to(device))
            told = [outputs.purchase_B, outputs.amount_mean_B, outputs.amount_log_std_B][:count]
            answers[:, places] = torch.stack(told).double().cpu().numpy()
    model.train(was_training)
    return Predictions(
        probability=sigmoid(answers[0]),
        logit=answers[0],
        log_mean=answers[1] if count > 1 else None,
        log_std=np.exp(answers[2]) if count > 1 else None,
    )
