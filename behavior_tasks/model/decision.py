"""The decision of a model bundle: purchase logits in; calibrated probabilities and the threshold for them out.

It stands in the bundle as `decision.json`, is fitted by `calibration`, and is applied wherever the model is asked.
Whatever the calibration, a higher logit gives a higher probability: it never changes who comes first.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.threshold import NOBODY

DECISION_FILE = "decision.json"


class Decision(BaseModel):
    """How logits become probabilities, and from which probability on a purchase is predicted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: float = Field(ge=0, le=NOBODY)
    """At or above this calibrated probability a purchase is predicted; NOBODY, a hair above 1, predicts none."""
    chosen_on: Literal["validation"] = "validation"
    objective: Literal["f1", "precision", "cost"] = "f1"
    """The policy that chose the threshold; its figures follow."""
    min_precision: float | None = Field(None, gt=0, le=1)
    cost_of_contact: float | None = Field(None, gt=0)
    value_of_sale: float | None = Field(None, gt=0)
    threshold_reason: str | None = None
    """Why the threshold is not what one would expect, e.g. that the asked-for precision is out of reach."""
    calibration: Literal["platt", "isotonic", "off"] = "off"
    """What is applied; `reason` says why when that is not what was asked for."""
    reason: str | None = None
    prior_offset: float = 0.0
    """Added to every logit first: undoes the weights and the sampling of the training."""
    slope: float = Field(1.0, gt=0)
    intercept: float = 0.0
    """Of `platt`."""
    knots: tuple[tuple[float, float], ...] = ()
    """Of `isotonic`: logit → calibrated logit, both rising."""

    @field_validator("knots")
    @classmethod
    def _rise(cls, knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(not (before[0] < after[0] and before[1] < after[1]) for before, after in pairwise(knots)):
            raise ValueError("the knots do not rise")
        return knots

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.calibration == "isotonic") != bool(self.knots):
            raise ValueError("knots belong to isotonic, and isotonic needs them")
        return self

    def calibrate(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64, in the shape of the network's logits."""
        shifted = np.asarray(logits, dtype=np.float64) + self.prior_offset
        if self.calibration == "platt":
            shifted = self.slope * shifted + self.intercept
        elif self.calibration == "isotonic":
            shifted = _through(shifted, self.knots)
        return sigmoid(shifted)

    @classmethod
    def load(cls, model_folder: Path) -> Self:
        """Read a bundle's decision.

        Raises:
            UserError: when it is missing or damaged.
        """
        try:
            return cls.model_validate_json((model_folder / DECISION_FILE).read_bytes())
        except FileNotFoundError:
            raise _unreadable("no such file") from None
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors()[:3])
            raise _unreadable(found) from None

    def save(self, model_folder: Path) -> None:
        """Write the decision into a bundle."""
        write_durably(model_folder / DECISION_FILE, self.model_dump_json(indent=2).encode())


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    # exp of a large positive number overflows; of a negative one it does not.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def logit(probability: float) -> float:
    """Return ln(p / (1 - p)) of a probability strictly between 0 and 1.

    >>> logit(0.5)
    0.0
    """
    return math.log(probability / (1 - probability))


def _through(logits: np.ndarray, knots: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Straight lines between the knots, and on at slope 1 beyond the outer ones, so that nobody ties there."""
    places, values = np.array(knots).T
    inside = np.interp(logits, places, values)
    return inside + np.minimum(logits - places[0], 0.0) + np.maximum(logits - places[-1], 0.0)


def _unreadable(found: str) -> UserError:
    return UserError(
        f"The model's {DECISION_FILE} can't be read.",
        found=found,
        expected="a threshold between 0 and 1, and the calibration",
        next_step="train again; the pipeline makes the model anew",
    )
