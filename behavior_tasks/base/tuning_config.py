"""The settings of a tuning: which settings are searched within which ranges, for how long, and where trials are kept.

In come plain values; out come a frozen section and what contradicts the rest of the configuration. The one thing to
know: a search may only change what a model is, never what it is measured on, so that trials stay comparable.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from behavior_tasks.base.addresses import is_database, shown_address
from behavior_tasks.base.errors import nearest
from behavior_tasks.base.model_config import ModelConfig, TextConfig, TrainConfig
from behavior_tasks.base.section import Section

PASSWORD_VARIABLE = "BEHAVIOR_TUNING_PASSWORD"  # noqa: S105  # the variable's name, not a password
STEP_TOLERANCE = 1e-6
OF_SCRATCH = ("model.size", "model.layers", "model.architecture", "model.vocabulary")
"""What only a model from scratch has."""
NEVER_SEARCHED = {
    "train.seed": "changes the luck, not the quality",
    "model.calibration": "is chosen on validation after the training",
    **dict.fromkeys(
        (
            "train.batch_tokens",
            "train.checkpoint_steps",
            "train.threads",
            "train.processes",
            "train.device",
            "train.compile",
            "train.gradient_checkpointing",
            "train.divergence_retries",
            "train.stall_seconds",
        ),
        "changes how fast a model is trained, not what it becomes",
    ),
}
"""Setting → why no search may change it."""


class Span(Section):
    """The values that one setting may take in a search: a range, or a list."""

    low: int | float | None = Field(None, description="Lowest value of a range.")
    high: int | float | None = Field(None, description="Highest value of a range.")
    log: bool = Field(False, description="Search the range by factors instead of by differences.")
    step: int | float | None = Field(None, gt=0, description="Only every so many, counted from the lowest.")
    choices: tuple[bool | int | float | str | None, ...] | None = Field(None, description="The values, one by one.")

    @model_validator(mode="before")
    @classmethod
    def _list_is_choices(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("needs a range (low, high) or choices, not both")
            if len({(type(choice), choice) for choice in self.choices}) < max(len(self.choices), 2):
                raise ValueError("needs at least two choices, each once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or a list of choices")
        if self.low >= self.high:
            raise ValueError(f"has low {self.low}, which is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"is searched by factors (log), which needs a low above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("has log and step; expected one of them")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether a search can come upon a value."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float) or self.low is None or self.high is None:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < STEP_TOLERANCE


SEARCH: Mapping[str, Span] = {
    "train.learning_rate": Span(low=2e-4, high=5e-3, log=True),
    "train.epochs": Span(low=2, high=8),
    "train.next_token_weight": Span(low=0.0, high=1.0),
    "model.size": Span(choices=("tiny", "compact", "base")),
    "model.layers": Span(choices=(None, 1, 2, 4)),
    "model.dropout": Span(low=0.0, high=0.5),
    "text.last_events": Span(low=4, high=48, log=True),
    "text.style": Span(choices=("compact", "sentence")),
}
"""What is searched when `tuning.search` says nothing."""


class TuningConfig(Section):
    """The search for better settings (behavior tune, the DAG behavior_tuning)."""

    study: str = Field(
        "study",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        description="Name of the study. Its trials are found again by it, and its best settings are the preset "
        "tuned/NAME.",
    )
    trials: int = Field(
        16, ge=1, le=10_000, description="Trials in all; a study that has them already only writes its report."
    )
    workers: int = Field(
        1, ge=1, le=64, description="Trials at the same time, each with its own training processes (train.threads)."
    )
    minutes: float | None = Field(
        None, gt=0, description="No trial is begun after so many minutes of a worker; empty: no limit."
    )
    search: dict[str, Span] | None = Field(
        None,
        description="What is searched: setting of text, model or train → {low, high, log, step} or a list of values. "
        "Given, it is the whole search; empty: learning rate, epochs, next-token weight, size, layers, dropout, last "
        "events and text style.",
    )
    pruner: Literal["median", "hyperband", "off"] = Field(
        "median",
        description="Which trials are given up early: those below the median of the others at the same epoch (median), "
        "by successive halving (hyperband), or none.",
    )
    warmup_trials: int = Field(
        5, ge=1, le=1000, description="Finished trials before the search guesses, and before any trial is given up."
    )
    warmup_epochs: int = Field(1, ge=0, le=1000, description="Epochs that every trial may finish.")
    seed: int = Field(7, ge=0, description="Random seed of the search.")
    storage: str | None = Field(
        None,
        description="Postgres that keeps the trials, e.g. postgresql://tuner@db:5432/tuning; its password comes from "
        f"the environment variable {PASSWORD_VARIABLE}. Empty: SQLite in the state folder.",
    )


def search_of(tuning: TuningConfig, model: ModelConfig) -> dict[str, Span]:
    """Return what is searched; of the default search, only what the model has."""
    if tuning.search is not None:
        return tuning.search
    scratch = model.checkpoint == "scratch"
    return {key: span for key, span in SEARCH.items() if scratch or key not in OF_SCRATCH}


def tuning_problems(tuning: TuningConfig, *, text: TextConfig, model: ModelConfig, train: TrainConfig) -> list[str]:
    """Return what contradicts the rest of the configuration, or can't be, a line each.

    The values of a search are tried as a setting would be, at both ends of a range.
    """
    sections: dict[str, Section] = {"text": text, "model": model, "train": train}
    found = []
    if tuning.search is not None and not tuning.search:
        found.append("tuning.search: nothing is searched; expected at least one setting, or leave it out")
    for dotted, span in (tuning.search or {}).items():
        problem = _span_problem(dotted, span, sections, scratch=model.checkpoint == "scratch")
        if problem:
            found.append(f"tuning.search.{dotted}: {problem}")
    if tuning.storage is not None:
        shown = shown_address(tuning.storage)
        if not is_database(tuning.storage):
            found.append(f"tuning.storage: {shown!r} is not the address of a Postgres; leave it out for SQLite")
        elif shown != tuning.storage:
            found.append(f"tuning.storage: {shown} came with a password; leave it out and set {PASSWORD_VARIABLE}")
    return found


def _span_problem(dotted: str, span: Span, sections: Mapping[str, Section], *, scratch: bool) -> str | None:
    name, _, key = dotted.partition(".")
    section = sections.get(name)
    if section is None or key not in type(section).model_fields:
        every = [f"{room}.{name}" for room, values in sections.items() for name in type(values).model_fields]
        close = nearest(dotted, set(every) - set(NEVER_SEARCHED))
        return "not a setting of text, model or train" + (f"; did you mean {close}?" if close else "")
    if dotted in NEVER_SEARCHED:
        return f"it {NEVER_SEARCHED[dotted]}"
    if dotted in OF_SCRATCH and not scratch:
        return "only a model from scratch has it, but model.checkpoint names a checkpoint"
    for value in span.ends:
        try:
            made = type(section).model_validate({**section.model_dump(), key: value})
        except ValidationError as error:
            message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            return f"{value!r}: {message[:1].lower()}{message[1:]}"
        kind = type(getattr(made, key))
        if span.choices is None and kind not in (int, float):
            return "it is not a number; expected a list of values"
        if span.choices is None and kind is int and isinstance(span.step, float):
            return f"it is a whole number; expected a whole step, not {span.step}"
    return None
