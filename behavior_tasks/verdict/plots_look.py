"""How each model looks in every plot, and which models there are to draw.

In come labels and answers; out come the drawable ones, in one order. The one thing to know: each model has a colour,
a line style and a marker of its own, so that a plot can be read in grey, too.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from behavior_tasks.base.figures import BLUE, GREEN, PINK, RED
from behavior_tasks.verdict.metrics import Scored

Models = Mapping[str, Scored]
"""Name (a key of LOOKS) → answers."""
NO_BUYER = "No example of the test is a buyer,\nso there is nothing to draw."
NO_ANSWERS = "No model has usable answers on the test,\nso there is nothing to draw."


class Look(NamedTuple):
    """How a model is drawn and called."""

    label: str
    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str


LOOKS: dict[str, Look] = {
    "candidate": Look("language model", BLUE, "-", "o"),
    "champion": Look("champion", RED, "--", "s"),
    "boosting": Look("gradient boosting", GREEN, "-.", "^"),
    "logistic": Look("logistic regression", PINK, ":", "D"),
    "prior": Look("prior", "#000000", (0, (1, 4)), "P"),
}


def drawable(labels: np.ndarray, models: Models) -> dict[str, Scored]:
    """Return the models with usable answers, in the order of LOOKS; none where no example is a buyer."""
    if not labels.any():
        return {}
    return {name: models[name] for name in LOOKS if name in models and models[name].usable}


def why_nothing(labels: np.ndarray) -> str:
    """Return why no model is drawable."""
    return NO_ANSWERS if labels.any() else NO_BUYER
