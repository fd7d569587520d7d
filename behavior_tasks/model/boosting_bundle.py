"""Gradient boosting as a model folder: a fitted pipeline and its decision in; a folder that scores by itself out.

It stands beside the language model's bundle as an equal: `config.json` says what it is and reads, `decision.json` how
its answers become probabilities and a decision. The one thing to know: the pipeline is kept with skops, which loads
only the types that `TRUSTED` names, so a folder from anywhere can be opened without running what somebody put in it.
"""

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.formats import BOOSTING_FILES, BOOSTING_FORMAT, CONFIG_FILE, PIPELINE_FILE, read_content
from behavior_tasks.model.predictions import Predictions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TRUSTED: tuple[str, ...] = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""Beside the types that skops trusts by itself: the trees' arrays, and the check of the booster's input."""

DAMAGE = (
    *(OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(AttributeError, ImportError, LookupError, TypeError, ValueError),
)
"""What zipfile and skops raise for a file whose bytes are not what skops wrote: nothing more precise."""


class BoostingConfig(BaseModel):
    """Content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["behavior-boosting/1"] = BOOSTING_FORMAT
    unit: str
    """What a probability is about: a shopper, or a product of a shopper."""
    horizon_days: int
    """Days after the cutoff in which a purchase counts."""
    lookback_days: int
    """Days before the cutoff from which the features are made."""
    timezone: str
    """Zone of the features' days and hours."""
    numbers: tuple[str, ...]
    """Features that are read as numbers, in order."""
    words: tuple[str, ...]
    """Features that are read as words, in order."""
    rounds: int
    """Trees of the booster."""


@dataclass(frozen=True, kw_only=True)
class BoostingScorer:
    """A folder of this format that is loaded once and asked often."""

    folder: Path
    config: BoostingConfig
    pipeline: "Pipeline"
    decision: Decision
    threads: int

    @classmethod
    def load(cls, model_folder: Path, *, threads: int = 2) -> Self:
        """Load a folder.

        Args:
            model_folder: what `save_boosting` wrote.
            threads: CPU threads; the answers do not depend on them.

        Raises:
            UserError: when it is damaged, of another format, or holds types that are not trusted.
        """
        import skops.io  # it imports the whole of scikit-learn, which takes seconds
        from skops.io.exceptions import UntrustedTypesFoundException

        config = read_boosting_config(model_folder)
        try:
            pipeline = skops.io.load(model_folder / PIPELINE_FILE, trusted=list(TRUSTED))
            names = pipeline.feature_names_in_.tolist()
        except UntrustedTypesFoundException as error:
            raise _unreadable(model_folder, str(error).splitlines()[0]) from None
        except FileNotFoundError:
            raise _unreadable(model_folder, f"no {PIPELINE_FILE}") from None
        except DAMAGE as error:
            raise _unreadable(model_folder, f"a {PIPELINE_FILE} that is damaged ({type(error).__name__})") from None
        if sorted(names) != sorted(config.numbers + config.words):
            raise _unreadable(model_folder, "a pipeline that reads other features than config.json says")
        decision = Decision.load(model_folder)
        return cls(folder=model_folder, config=config, pipeline=pipeline, decision=decision, threads=threads)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The features that it reads as numbers."""
        return self.config.numbers

    @property
    def words(self) -> tuple[str, ...]:
        """The features that it reads as words."""
        return self.config.words

    def score(self, features: pd.DataFrame) -> Predictions:
        """Return what the model says of n rows with a column for each of `numbers` and `words`, empty where undefined.

        Raises:
            UserError: when a column is missing, or one of the numbers holds what is not a number.
        """
        table = feature_table(features, self.numbers, self.words)
        with threadpool_limits(limits=self.threads):
            logits = pipeline_logits(self.pipeline, table)
        return Predictions(probability=self.decision.calibrate(logits), logit=logits, log_mean=None, log_std=None)

    def score_texts(self, texts: Sequence[str], numbers: pd.DataFrame | None = None) -> Predictions:
        """Return what `score` says of n rows of features; the n texts are not read."""
        return self._score(len(texts), numbers)

    def score_parts(self, parts: Sequence[Sequence[str]], numbers: pd.DataFrame | None = None) -> Predictions:
        """Return what `score` says of n rows of features; the n texts' parts are not read."""
        return self._score(len(parts), numbers)

    def _score(self, rows: int, features: pd.DataFrame | None) -> Predictions:
        table = pd.DataFrame(index=range(rows)) if features is None else features
        if len(table) != rows:
            raise ValueError(f"{rows} texts and {len(table)} rows of features")
        return self.score(table)


def save_boosting(folder: Path, pipeline: "Pipeline", config: BoostingConfig, decision: Decision) -> None:
    """Write a model folder, in place of an older one.

    Args:
        folder: to make.
        pipeline: fitted, of the steps `columns` and `model`.
        config: what it is and reads.
        decision: calibration and threshold, chosen on validation.
    """
    import skops.io  # it imports the whole of scikit-learn, which takes seconds

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2), encoding="utf-8")
    skops.io.dump(pipeline, folder / PIPELINE_FILE, compression=zipfile.ZIP_DEFLATED)
    decision.save(folder)


def read_boosting_config(model_folder: Path) -> BoostingConfig:
    """Return a folder's `config.json`.

    Raises:
        UserError: when it is missing, damaged or of another format.
    """
    content = read_content(model_folder)
    if content.get("format") != BOOSTING_FORMAT:
        raise _unreadable(model_folder, f"format {content.get('format')}")
    try:
        return BoostingConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(model_folder, f"config.json, {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def pipeline_logits(pipeline: "Pipeline", table: pd.DataFrame) -> np.ndarray:
    """Return a fitted pipeline's logits of a purchase, float64, shape (n,)."""
    return np.asarray(pipeline.decision_function(table), dtype=np.float64)


def feature_table(table: pd.DataFrame, numbers: Sequence[str], words: Sequence[str]) -> pd.DataFrame:
    """Return the features alone: numbers as float64 with NaN, words as text with None where there is none.

    Args:
        table: n rows with a column for each feature.
        numbers: columns that hold numbers.
        words: columns that hold words.

    Raises:
        UserError: when a column is missing or holds what is not a number.
    """
    missing = [name for name in (*numbers, *words) if name not in table.columns]
    if missing:
        raise UserError(
            "The model reads features that are not all there.",
            found=f"no {', '.join(missing)}",
            expected="a column for each of them; empty where one is undefined",
            next_step="make the features with the settings that the model was trained with",
        )
    columns: dict[str, Any] = {}
    for name in numbers:
        columns[name] = number_column(table, name)
    for name in words:
        columns[name] = np.array([str(value) if told else None for value, told in _told(table[name])], dtype=object)
    return pd.DataFrame(columns, index=range(len(table)))


def number_column(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column as float64, NaN where it is empty.

    Raises:
        UserError: when it holds what is not a number.
    """
    try:
        return pd.to_numeric(table[name]).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise UserError(
            f'The column "{name}" holds what is not a number.', found=str(error), expected="numbers, or empty"
        ) from None


def _told(values: pd.Series) -> Iterator[tuple[object, bool]]:
    return zip(values, values.notna(), strict=True)


def _unreadable(folder: Path, found: str) -> UserError:
    return UserError(
        f"The model folder {folder.name} can't be read.",
        found=found.replace(str(folder), folder.name),
        expected=f"{', '.join(BOOSTING_FILES)} of the format {BOOSTING_FORMAT}",
        next_step="run the pipeline again; it makes the model anew",
    )
