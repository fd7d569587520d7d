"""Prediction: a model bundle and sequences (or texts and numbers) in; probabilities and amounts out.

Validation during training, evaluation and scoring all come through here, and texts go through the tokenizer and
the length limit that stand in the bundle, so a text gets the same probability wherever it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import lengths_of, make_batch, number_places, scoring_batches
from behavior_tasks.model.boosting_bundle import BoostingScorer, number_column
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.device import DeviceName, pick_device, pinned_threads
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.model.network import BehaviorModel, load_model, read_config
from behavior_tasks.model.predictions import Predictions
from behavior_tasks.model.reading import join_numbers, raw_predictions, read_sequences
from behavior_tasks.text.encode import encode_parts, encode_texts
from behavior_tasks.text.tokens import Sequences


class NotFiniteError(UserError):
    """A model gave answers that are no numbers."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model bundle that is loaded once and asked often."""

    folder: Path
    model: BehaviorModel
    decision: Decision
    max_tokens: int
    device: torch.device
    threads: int

    @classmethod
    def load(cls, model_folder: Path, *, device: DeviceName = "auto", threads: int = 2) -> Self:
        """Load a bundle.

        Args:
            model_folder: a model bundle.
            device: where to compute.
            threads: CPU threads, pinned.

        Raises:
            UserError: when the bundle can't be read, or a GPU is asked for and there is none.
        """
        place, content = pick_device(device), read_config(model_folder)
        return cls(
            folder=model_folder,
            model=load_model(model_folder).to(place),
            decision=Decision.load(model_folder),
            max_tokens=int(content["max_tokens"]),
            device=place,
            threads=threads,
        )

    @property
    def numbers(self) -> tuple[str, ...]:
        """The features that it reads as numbers beside the text."""
        return self.model.number_names

    @property
    def words(self) -> tuple[str, ...]:
        """The features that it reads as words beside the text: none, a text tells them."""
        return ()

    def predict(self, sequences: Sequences, rows: np.ndarray | None = None) -> Predictions:
        """Return what the model says of rows of encoded examples.

        Args:
            sequences: the encoded examples.
            rows: row numbers in the order in which the answer is wanted; None: all rows.

        Raises:
            UserError: when numbers that the model reads are missing.
            NotFiniteError: when its answers are not finite.
        """
        if rows is None:
            rows = np.arange(len(sequences))
        with pinned_threads(self.threads):
            raw = run_model(self.model, sequences, rows, device=self.device, workers=self.threads)
        _require_finite(raw, self.folder)
        return replace(raw, probability=self.decision.calibrate(raw.logit))

    def score_texts(self, texts: Sequence[str], numbers: pd.DataFrame | None = None) -> Predictions:
        """Return what the model says of texts, through the bundle's own tokenizer.

        Args:
            texts: n texts.
            numbers: n rows with the features that the model reads as numbers; None when it reads none.

        Raises:
            UserError: as `predict`, and when a feature holds what is not a number.
        """
        return self._score(encode_texts(self.folder / "tokenizer", texts, self.max_tokens), numbers)

    def score_parts(self, parts: Sequence[Sequence[str]], numbers: pd.DataFrame | None = None) -> Predictions:
        """Return what `score_texts` says of the joined parts; faster where parts repeat."""
        return self._score(encode_parts(self.folder / "tokenizer", parts, self.max_tokens), numbers)

    def read_parts(self, parts: pa.ListArray | Sequence[Sequence[str]]) -> np.ndarray:
        """Return what n texts, in parts, tell by themselves; see `reading.read_sequences`.

        Raises:
            NotFiniteError: when that is not finite.
        """
        tokens, offsets = encode_parts(self.folder / "tokenizer", parts, self.max_tokens)
        numbers = np.zeros((len(offsets) - 1, 0), dtype=np.float32)
        sequences = Sequences(tokens=tokens, offsets=offsets, numbers=numbers, number_names=())
        told = read_sequences(self.model, sequences, device=self.device, workers=self.threads)
        _refuse_infinite({"answers": told}, self.folder)
        return told

    def join(self, told: np.ndarray, numbers: pd.DataFrame) -> Predictions:
        """Return what n texts and the numbers beside them tell together: what `score_parts` says of them.

        Args:
            told: what `read_parts` gave, shape (n, H).
            numbers: n rows with the features that the model reads as numbers.

        Raises:
            UserError: as `score_parts`.
            NotFiniteError: when its answers are not finite.
        """
        values = _number_values(numbers, self.model.number_names, len(told))
        with pinned_threads(1):
            raw = join_numbers(self.model, told, values, device=self.device)
        _require_finite(raw, self.folder)
        return replace(raw, probability=self.decision.calibrate(raw.logit))

    @property
    def answers(self) -> int:
        """How many numbers a text tells by itself, H."""
        return 2 if self.model.inputs.amounts else 1

    def _score(self, encoded: tuple[np.ndarray, np.ndarray], numbers: pd.DataFrame | None) -> Predictions:
        tokens, offsets = encoded
        names = self.model.number_names
        values = _number_values(numbers, names, len(offsets) - 1)
        return self.predict(Sequences(tokens=tokens, offsets=offsets, numbers=values, number_names=names))


def open_scorer(model_folder: Path, *, device: DeviceName = "auto", threads: int = 2) -> Scorer | BoostingScorer:
    """Return what scores with a model folder, whichever kind of model its `config.json` says it is.

    Both kinds tell their `decision`, the features that they read (`numbers`, `words`), and answer `score_texts` and
    `score_parts` with the same arguments; gradient boosting reads no text and takes the features alone.

    Args:
        model_folder: a model folder; gradient boosting needs no `device`.
        device: where to compute.
        threads: CPU threads.

    Raises:
        UserError: when the folder is damaged or holds no model that is known here.
    """
    if is_boosting(model_folder):
        return BoostingScorer.load(model_folder, threads=threads)
    return Scorer.load(model_folder, device=device, threads=threads)


def predict(
    model_folder: Path,
    sequences: Sequences,
    rows: np.ndarray | None = None,
    *,
    device: DeviceName = "auto",
    threads: int = 2,
) -> Predictions:
    """Return what a model bundle says of rows of encoded examples; see `Scorer`."""
    return Scorer.load(model_folder, device=device, threads=threads).predict(sequences, rows)


def score_texts(
    model_folder: Path,
    texts: Sequence[str],
    numbers: pd.DataFrame | None = None,
    *,
    device: DeviceName = "auto",
    threads: int = 2,
) -> Predictions:
    """Return what a model bundle says of texts and numbers; see `Scorer`."""
    return Scorer.load(model_folder, device=device, threads=threads).score_texts(texts, numbers)


def number_names(model_folder: Path) -> tuple[str, ...]:
    """Return the features that a bundle's model reads as numbers beside the text, in its order; may be none."""
    encoding = read_config(model_folder)["numbers"]
    return tuple(encoding["names"]) if encoding else ()


def _require_finite(raw: Predictions, model_folder: Path) -> None:
    told = {"probabilities": raw.logit, "amounts": raw.log_mean, "spreads of amounts": raw.log_std}
    _refuse_infinite(told, model_folder)


def _refuse_infinite(told: Mapping[str, np.ndarray | None], model_folder: Path) -> None:
    """Refuse answers that are no numbers: damaged weights, or arithmetic that overflowed."""
    for what, values in told.items():
        if values is not None and not np.isfinite(values).all():
            raise NotFiniteError(
                f"The model folder {model_folder.name} gives {what} that are not finite numbers.",
                found=f"{int((~np.isfinite(values)).sum())} of {len(values)}",
                next_step="train again, e.g. with a lower train.learning_rate",
            )


def _number_values(numbers: pd.DataFrame | None, names: tuple[str, ...], rows: int) -> np.ndarray:
    """Return the named columns as float32, shape (rows, F), with NaN for whatever is empty."""
    table = pd.DataFrame(index=range(rows)) if numbers is None else numbers
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise UserError(
            "The model reads numbers beside the text, and they are not all there.",
            found=f"no {', '.join(missing)}",
            expected="a column for each of them; empty where one is undefined",
            next_step="add the columns, or train with model.numbers=false",
        )
    if len(table) != rows:
        raise ValueError(f"{rows} texts and {len(table)} rows of numbers")
    values = np.empty((rows, len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        values[:, place] = number_column(table, name)
    return values


def threshold(model_folder: Path) -> float:
    """Return the bundle's decision threshold: at or above it, a purchase is predicted."""
    return Decision.load(model_folder).threshold


def run_model(
    model: BehaviorModel,
    sequences: Sequences,
    rows: np.ndarray,
    *,
    device: torch.device,
    workers: int = 1,
    between_batches: Callable[[], None] = lambda: None,
) -> Predictions:
    """Return what a loaded model says of rows, in their order, without calibration.

    Args:
        workers: threads with a batch of their own, on a CPU; 1: all threads work on one batch.
        between_batches: called before every batch; may raise to stop.
    """
    places = number_places(sequences, model.number_names)
    count = 3 if model.inputs.amounts else 1
    answers = np.empty((count, len(rows)), dtype=np.float64)

    def score(chosen: np.ndarray) -> None:
        between_batches()
        with torch.inference_mode():
            answers[:, chosen] = model.score(make_batch(sequences, rows[chosen], places).to(device)).stacked()

    batches = list(scoring_batches(lengths_of(sequences.offsets)[rows]))
    was_training = model.training
    model.eval()
    if device.type == "cpu" and 1 < workers <= len(batches):
        # Two threads with a batch each wait for one another far less than two that share every matrix.
        with pinned_threads(1), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(score, batches))
    else:
        for chosen in batches:
            score(chosen)
    model.train(was_training)
    return raw_predictions(answers)
