"""Explanations: a model bundle and one example in; what it predicts, and what of the example moved it most, out.

Occlusion (Zeiler and Fergus 2014; for text Li, Monroe and Jurafsky 2016): each part of the text is left out alone,
each number alone is made undefined, and the change of the calibrated probability is its effect. The one thing to know:
effects do not add up, and of two phrases that say the same neither may seem to matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from behavior_tasks.model.predict import Predictions, Scorer
from behavior_tasks.text.tokens import Sequences
from behavior_tasks.text.trace import Trace

Kind = Literal["part", "number"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How one part or number moved the prediction."""

    kind: Kind
    place: int
    """Which part of the text, or which of the numbers given, counted from 0."""
    name: str
    """The part's own words, or the number's name."""
    change: float
    """The probability with it less the probability without it: above 0, it speaks for a purchase."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a model says of one example, and why."""

    prediction: Predictions
    """Of the example as it is, shape (1,)."""
    effects: tuple[Effect, ...]
    """The largest first, whatever its sign; of parts that are read and numbers that are defined."""


def explain(scorer: Scorer, trace: Trace, numbers: Mapping[str, float], *, occlude: bool = True) -> Explanation:
    """Predict one example, and every variant of it that lacks one part or one number, together.

    A part is left out token by token of what is read: nothing that was cut off slides in at the beginning, so that
    the effect is that of the part alone.

    Args:
        scorer: a model bundle that is ready.
        trace: the text, by the bundle's own tokenizer and within its limit.
        numbers: the example's features; NaN where one is undefined. The model takes those that it reads.
        occlude: whether to measure effects at all.

    Raises:
        UserError: when numbers that the model reads are missing, or its answers are not finite.
    """
    names, given = tuple(numbers), np.array([numbers[name] for name in numbers], dtype=np.float32)
    read = set(scorer.model.number_names) if occlude else set()
    parts = trace.read_parts if occlude else []
    defined = [place for place, name in enumerate(names) if name in read and not np.isnan(given[place])]
    texts = [trace.ids, *(trace.ids[trace.part_of != part] for part in parts), *(trace.ids for _ in defined)]
    values = np.tile(given, (len(texts), 1))
    values[np.arange(1 + len(parts), len(texts)), defined] = np.nan
    sequences = Sequences(
        tokens=np.concatenate(texts),
        offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in texts])]).astype(np.int64),
        numbers=values,
        number_names=names,
    )
    found = scorer.predict(sequences)
    changes = found.probability[0] - found.probability[1:]
    what: list[tuple[Kind, int, str]] = [
        *(("part", place, trace.parts[place]) for place in parts),
        *(("number", place, names[place]) for place in defined),
    ]
    effects = [
        Effect(kind=kind, place=place, name=name, change=float(change))
        for (kind, place, name), change in zip(what, changes, strict=True)
    ]
    effects.sort(key=lambda effect: -abs(effect.change))
    return Explanation(prediction=_first(found), effects=tuple(effects))


def _first(found: Predictions) -> Predictions:
    """Return the prediction of the example itself."""
    return Predictions(
        probability=found.probability[:1],
        logit=found.logit[:1],
        log_mean=None if found.log_mean is None else found.log_mean[:1],
        log_std=None if found.log_std is None else found.log_std[:1],
    )


def largest(effects: Sequence[Effect], top: int) -> list[Effect]:
    """Return the `top` largest effects of parts, then the `top` largest of numbers; the effects stand largest first."""
    return [effect for kind in ("part", "number") for effect in [e for e in effects if e.kind == kind][:top]]
