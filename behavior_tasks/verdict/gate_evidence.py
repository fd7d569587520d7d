"""What the gate judges by: the files of the stages before it in; one case for each model that is judged out.

A case hands a rule exactly the figures that the rule says it reads, and tells which is missing or not a finite number.
The one thing to know: nothing is filled in. What is not there has no value, and a rule that needs it does not pass.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype

from behavior_tasks.base.config import GateConfig
from behavior_tasks.verdict.metrics import (
    BASELINES,
    Difference,
    Resampling,
    Scored,
    average_precision_difference,
    f1_difference,
    hash_examples,
)

Judged = Literal["candidate", "boosting"]
NAMES: dict[str, str] = {
    "candidate": "the language model",
    "champion": "the champion",
    "prior": "the prior",
    "logistic": "logistic regression",
    "boosting": "gradient boosting",
}
FILES: dict[str, str] = {
    "metrics": "metrics.json",
    "audit": "audit.json",
    "package": "package.json",
    "run": "the run",
}
"""How each document is called in words."""
COLUMNS = ("example", "shopper", "label", "candidate", *BASELINES, "champion")
FIGURES = ("accuracy", "precision", "recall", "f1", "average_precision", "roc_auc", "log_loss", "ece", "brier")
"""What must be known of every model that is compared, whether or not a rule reads it."""
AGREE_WITHIN = 1e-9
"""An F1 read from the metrics and one computed from the predictions are the same up to rounding."""

LARGEST = 1e300
"""No figure is beyond; an integer that no float can hold must not end in a crash."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One value that a rule reads: in which document, at which path, and of which kind it must be."""

    name: str
    """How the rule calls it."""
    document: Literal["metrics", "audit", "package", "run"]
    path: str
    """Keys parted by dots; `{model}` stands for the model that is judged."""
    kind: Literal["number", "yes or no", "text", "list"] = "number"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is to judge by, or why it can't be read."""

    measured: Mapping[str, Any] | None
    """Content of `metrics.json`."""
    predictions: pd.DataFrame | None
    """Content of `predictions.parquet`."""
    problem: str | None = None
    """Why one of the two can't be read."""
    audit: Mapping[str, Any] | None = None
    """Content of `audit.json`."""
    package: Mapping[str, Any] | None = None
    """Content of `package.json`."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """What the run itself says: `day`, `models` (name → URI and `epsilon`), `doctor`, and the `champion` it found."""


class Case:
    """The evidence from the side of one model, with what several rules need computed once."""

    def __init__(self, evidence: Evidence, config: GateConfig, model: Judged) -> None:
        self.evidence = evidence
        self.config = config
        self.model: Judged = model
        self.resampling = Resampling(resamples=config.bootstrap, confidence=config.confidence, seed=config.seed)

    def value(self, figure: Figure) -> Any:
        """Return a figure's value, or None when it is missing or not of its kind."""
        documents = {
            "metrics": self.measured,
            "audit": self.evidence.audit,
            "package": self.evidence.package,
            "run": self.evidence.run,
        }
        found: Any = documents[figure.document]
        for key in figure.path.format(model=self.model).split("."):
            found = mapping(found).get(key)
        right = {
            "number": finite(found),
            "yes or no": isinstance(found, bool),
            "text": isinstance(found, str) and bool(found),
            "list": isinstance(found, list),
        }
        return found if right[figure.kind] else None

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        """Content of `metrics.json`."""
        return mapping(self.evidence.measured)

    @cached_property
    def champion(self) -> Mapping[str, Any]:
        """What the evaluation says of the champion."""
        return mapping(self.measured.get("champion"))

    @cached_property
    def table(self) -> pd.DataFrame:
        """The predictions, in the order of the examples' ids, whatever their order in the file."""
        found = self.evidence.predictions
        if found is None or "example" not in found.columns:
            return pd.DataFrame()
        return found.sort_values("example", kind="stable", ignore_index=True)

    @property
    def labels(self) -> np.ndarray:
        """0 or 1, (n,)."""
        return self.table["label"].to_numpy(dtype=float)

    @property
    def same_as_champion(self) -> bool:
        """Whether the judged model is the champion itself."""
        if self.model == "candidate" and self.champion.get("same_model") is True:
            return True
        own = mapping(mapping(self.evidence.run.get("models")).get(self.model)).get("uri")
        return own is not None and own == mapping(self.evidence.run.get("champion")).get("model")

    def metrics(self, model: str) -> Mapping[str, Any]:
        """The measured figures of a model."""
        return mapping(mapping(self.measured.get("models")).get(model))

    def scored(self, model: str) -> Scored:
        """A model's probabilities and threshold."""
        threshold = float(self.metrics(model)["threshold"])
        return Scored(probabilities=self.table[model].to_numpy(dtype=float), threshold=threshold)

    @property
    def champion_measured(self) -> bool:
        """Whether there is a champion with scores of its own."""
        known = self.champion.get("version") is not None
        return known and not self.champion.get("problem")

    def f1_against(self, model: str) -> Difference:
        """F1 of the judged model minus another's, on the same examples."""
        shoppers = self.table["shopper"].to_numpy()
        return f1_difference(self.labels, self.scored(self.model), self.scored(model), shoppers, self.resampling)

    def ranking_against(self, model: str) -> Difference:
        """Average precision of the judged model minus another's, on the same examples."""
        first, second = (self.scored(name).probabilities for name in (self.model, model))
        shoppers = self.table["shopper"].to_numpy()
        return average_precision_difference(self.labels, first, second, shoppers, self.resampling)

    def interval(self, difference: Difference) -> str:
        """Say a difference and its interval in words."""
        level = f"{100 * self.config.confidence:g} % interval"
        return (
            f"difference {signed(difference.difference)}, "
            f"{level} {signed(difference.lower)} to {signed(difference.upper)}"
        )

    @cached_property
    def incomplete(self) -> str | None:
        """Why metrics and predictions can't be judged by, or None when they can."""
        return self.evidence.problem or self._missing() or self._inconsistent()

    @property
    def compared(self) -> list[str]:
        """The models that are compared on the test examples."""
        return ["candidate", *BASELINES, *(["champion"] if self.champion_measured else [])]

    def _missing(self) -> str | None:
        if not isinstance(self.champion.get("same_model"), bool) or "version" not in self.champion:
            return "metrics.json does not say whether there is a champion"
        found = mapping(self.evidence.run.get("champion"))
        if "version" not in found:
            return "the run does not say whether there is a champion"
        for key in ("version", "problem"):
            if found.get(key) != self.champion.get(key) and (key == "version" or found.get(key)):
                return f"the run found champion.{key} {found.get(key)}, metrics.json says {self.champion.get(key)}"
        if not text(self.measured.get("candidate")):
            return "metrics.json does not name the candidate"
        columns = [name for name in COLUMNS if name not in self.table.columns]
        if columns:
            return f"predictions.parquet lacks {', '.join(columns)}"
        words = [name for name in ("label", *self.compared) if not is_numeric_dtype(self.table[name])]
        if words:
            return f"predictions.parquet holds what is no number as {', '.join(words)}"
        for model in self.compared:
            metrics = self.metrics(model)
            undefined = [name for name in ("threshold", *FIGURES) if not finite(metrics.get(name))]
            if undefined:
                return f"{model} has no {', '.join(undefined)}: missing or not a finite number"
            if not np.isfinite(self.table[model].to_numpy(dtype=float)).all():
                return f"{model} has no probability for some test examples"
        return None

    def _inconsistent(self) -> str | None:
        table, measured = self.table, self.measured
        if not set(table["label"].unique()) <= {0, 1}:
            return "a test example's label is neither 0 nor 1"
        if not table["example"].is_unique:
            return "a test example is there twice"
        for name, found in (("examples", len(table)), ("buyers", int(self.labels.sum()))):
            if found != measured.get(name):
                return f"the metrics are about {measured.get(name)} {name}, the predictions about {found}"
        if hash_examples(table["example"], table["label"]) != measured.get("test_hash"):
            return "the predictions are not about the test examples that the metrics name: their hashes differ"
        for model in self.compared:
            told, found_f1 = float(self.metrics(model)["f1"]), f1(self.labels, self.scored(model))
            if not abs(told - found_f1) <= AGREE_WITHIN:
                return f"the metrics say F1 {told:.3f} for {model}, the predictions give {found_f1:.3f}"
        named = mapping(mapping(self.evidence.run.get("models")).get("candidate")).get("uri")
        if named is not None and named != measured["candidate"]:
            return f"the metrics are about {measured['candidate']}, the run trained {named}"
        return None


def read_evidence(folder: Path, **others: Any) -> Evidence:
    """Read an evaluation's `metrics.json` and `predictions.parquet`; what can't be read is a reason to keep.

    Args:
        folder: the artifact of the evaluation.
        others: the other fields of `Evidence`.
    """
    problems = []
    measured = predictions = None
    try:
        measured = json.loads((folder / "metrics.json").read_bytes())
    except (FileNotFoundError, ValueError):
        problems.append("metrics.json is missing or not JSON")
    try:
        predictions = pd.read_parquet(folder / "predictions.parquet")
    except (FileNotFoundError, pa.ArrowException):
        problems.append("predictions.parquet is missing or not Parquet")
    return Evidence(measured=measured, predictions=predictions, problem="; ".join(problems) or None, **others)


def read_document(path: Path) -> Mapping[str, Any] | None:
    """Return a JSON document; None where it is missing or not one."""
    try:
        return mapping(json.loads(path.read_bytes())) or None
    except (FileNotFoundError, ValueError):
        return None


def f1(labels: np.ndarray, scored: Scored) -> float:
    """Return F1 at a model's threshold; NaN without a buyer."""
    hits, total = float(scored.decisions @ labels), float(scored.decisions.sum() + labels.sum())
    return 2 * hits / total if labels.any() else math.nan


def in_figures(difference: Difference) -> dict[str, float | None]:
    """Return a difference with its bounds as JSON has it: what is undefined is None."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(difference).items()}


def signed(value: float) -> str:
    """Return a figure with three places and a real minus sign.

    >>> signed(-0.0193)
    '−0.019'
    """
    return f"{value:.3f}".replace("-", "−")


def finite(value: object) -> bool:
    """Whether a value is a finite number (a yes or no is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and nothing for whatever is none."""
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str | None:
    """Return a text as it is, and None for whatever is none."""
    return value if isinstance(value, str) else None
