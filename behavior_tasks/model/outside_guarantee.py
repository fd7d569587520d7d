"""What a private training's guarantee does not cover: a configuration in; each thing that is fitted on shoppers without
noise, and how to close it, out.

DP-SGD makes the optimiser's steps private. Whatever else looks at shoppers, before, beside or after it, is either off,
public, or in this list. The one thing to know: the list follows from the settings alone, and stands in the model
report, the model card and MLflow of every private training.
"""

from collections.abc import Iterator
from typing import NamedTuple

from behavior_tasks.base.config import Config
from behavior_tasks.text.tokenizer_source import SCRATCH


class Outside(NamedTuple):
    """Something that is fitted on shoppers without noise."""

    name: str
    """A short name, for a tag."""
    words: str
    close: str | None
    """The setting that takes it away; None: there is none."""


def outside_guarantee(config: Config) -> list[Outside]:
    """Return what the guarantee of a private training leaves out; nothing where none is asked for."""
    if config.privacy.dp is None:
        return []
    return [*_before(config), *_start(config), *_after(config)]


def _before(config: Config) -> Iterator[Outside]:
    """Yield what makes the texts and numbers that are learned from."""
    if config.clean.outliers != "off" or config.clean.missing:
        yield Outside(
            "cleaning",
            "bounds of outliers and what missing values are filled with are taken from the train period",
            "clean.outliers=off",
        )
    if config.model.checkpoint == SCRATCH:
        yield Outside("tokenizer", "the tokenizer's vocabulary is learned from train", "model.checkpoint=gpt2")
    yield Outside(
        "text bins", "the bins of amounts, gaps and features in texts are quantiles of train (text.quantiles)", None
    )
    if config.text.named_products:
        yield Outside(
            "named products",
            f"the {config.text.named_products} products with the most events on train are called by name",
            "text.named_products=0",
        )
    if config.model.numbers:
        yield Outside(
            "number bins",
            "bins, medians, means and deviations of the numbers are those of train, and travel with the model",
            "model.numbers=false",
        )
    yield Outside(
        "market",
        "some features of a shopper compare with all shoppers: how popular a product is and what it usually costs",
        None,
    )


def _start(config: Config) -> Iterator[Outside]:
    """Yield what the network begins with, and what the plan of its steps reads."""
    yield Outside("share of buyers", "the purchase head begins at the share of buyers on train", None)
    yield Outside(
        "amounts",
        "where the log tells amounts, the amount head is centred and scaled by the buyers of train",
        None,
    )
    yield Outside(
        "shopper count",
        "how many shoppers train has, from which their chance to be drawn follows, is public",
        None,
    )
    yield Outside(
        "choice of settings",
        "settings that somebody, or a study, chose by looking at results; each trial's training is in the budget",
        None,
    )


def _after(config: Config) -> Iterator[Outside]:
    """Yield what is fitted to, measured with, or decided by the finished network."""
    if config.decision.policy != "cost":
        yield Outside("threshold", "the threshold is chosen on the validation split", "decision.policy=cost")
    if config.model.calibration != "off":
        yield Outside("calibration", "probabilities are calibrated on the validation split", "model.calibration=off")
    yield Outside(
        "figures",
        "losses, validation and test figures, plots and groups in reports, MLflow and the page have no noise",
        None,
    )
    yield Outside("gate", "the gate compares models on the test split, and its verdict is seen", None)
    if config.gate.max_epsilon is None:
        yield Outside(
            "gradient boosting",
            "gradient boosting is trained without noise and may become champion in the language model's place",
            "gate.max_epsilon",
        )
    yield Outside(
        "event folder",
        "a packaged model carries the features' quantiles and the newest prices and popularity of products",
        None,
    )
