"""Trials as they stand: what a study has tried, as plain values, and in words.

They come from `study`, which knows the database; everybody else reads them here. The one thing to know: a repeated
trial is one whose process died or was stopped, and whose settings another trial took over, so it counts for nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "running", "waiting", "repeated"]
FINISHED: tuple[State, ...] = ("complete", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial as it stands."""

    number: int
    """Counted from 0, repeated trials included."""
    state: State
    settings: Mapping[str, Any]
    """Dotted setting → value, of what is searched."""
    value: float | None
    """Validation AP of its best epoch; of a trial that is not complete, of its last one."""
    epochs: Mapping[int, float]
    """Epoch → validation AP."""
    seconds: float | None = None
    problem: str | None = None
    """Why it failed."""


def finished(trials: Sequence[Tried]) -> list[Tried]:
    """Return the trials that count towards those that were asked for."""
    return [trial for trial in trials if trial.state in FINISHED]


def best_of(trials: Sequence[Tried]) -> Tried | None:
    """Return the complete trial of the highest validation AP, of equals the first; None when none is complete.

    >>> ended = {"state": "complete", "settings": {}, "epochs": {}}
    >>> best_of([Tried(number=number, value=value, **ended) for number, value in enumerate((0.2, 0.3, 0.3))]).number
    1
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number)) if complete else None


def in_words(trials: Sequence[Tried], number: int, asked: int) -> str:
    """Say how a trial ended, in one line.

    >>> trial = Tried(number=0, state="complete", settings={"train.epochs": 3}, value=0.31, epochs={}, seconds=42)
    >>> in_words([trial], 0, asked=8)
    'trial 0 (1 of 8): validation AP 0.3100, 42 s, the best so far; train.epochs=3'
    """
    trial = next(one for one in trials if one.number == number)
    value = "" if trial.value is None else f"validation AP {trial.value:.4f}"
    ended = {"complete": value, "pruned": f"given up after epoch {max(trial.epochs, default=0)}, {value}"}.get(
        trial.state, f"{trial.state}{f' ({trial.problem})' if trial.problem else ''}"
    )
    best = best_of(trials)
    rank = ""
    if best is not None:
        rank = ", the best so far" if best == trial else f", best {best.value:.4f} (trial {best.number})"
    seconds = "" if trial.seconds is None else f", {trial.seconds:.0f} s"
    count = len(finished(trials))
    return f"trial {number} ({count} of {asked}): {ended}{seconds}{rank}; {settings_in_words(trial.settings)}"


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Return settings on one line, numbers with three digits.

    >>> settings_in_words({"train.learning_rate": 0.00123456, "model.layers": None})
    'train.learning_rate=0.00123 model.layers=default'
    """
    return " ".join(f"{key}={shown_value(value)}" for key, value in settings.items())


def shown_value(value: object) -> str:
    """Return a setting's value for a reader."""
    return "default" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
