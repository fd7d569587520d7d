"""The settings of the rooms text and model: how a history becomes text, what reads it, and how that is trained.

In come plain values, out come frozen sections of the one configuration model in `base/config.py`. The one thing to
know: whatever changes a trained model stands here; what only changes how fast it is trained does too.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from behavior_tasks.base.section import Section

PartName = Literal["older", "events", "profile", "features"]
PART_ORDER: tuple[PartName, ...] = ("older", "events", "profile", "features")
"""The parts of a text in their default order."""


class TextConfig(Section):
    """How a shopper's history becomes text."""

    style: Literal["sentence", "compact"] = Field(
        "compact",
        description="sentence: as people write. compact: amounts, gaps, days, hours and features are one token each.",
    )
    language: Literal["en", "zh"] = Field("en", description="Language of the text: English or Chinese.")
    templates: Path | None = Field(
        None,
        description="Your own YAML file of words instead of the language's; copy text/templates/en.yaml and edit it.",
    )
    order: tuple[PartName, ...] = Field(
        PART_ORDER,
        description="Order of the parts: a summary of older history, the last events, the profile, the features. What "
        "comes first is cut first when a text is too long.",
    )
    last_events: int = Field(16, ge=1, le=500, description="Number of most recent phrases written out.")
    feature_words: bool = Field(True, description="Write the engineered features as quantile words.")
    quantiles: int = Field(8, ge=2, le=50, description="Quantile words per feature or amount, fitted on train.")
    named_products: int = Field(
        100,
        ge=0,
        le=100_000,
        description="Products, those with the most events on train, that a text calls by name; of rarer ones it tells "
        "the category.",
    )

    @field_validator("order")
    @classmethod
    def _each_part_once(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        if sorted(order) != sorted(PART_ORDER):
            raise ValueError(f"needs each of {', '.join(PART_ORDER)} once")
        return order


class ModelConfig(Section):
    """The language model."""

    checkpoint: str = Field(
        "scratch",
        description="scratch, or a GPT-2 or BERT checkpoint: `gpt2`, `bert-base-uncased`, a hub id, a local folder.",
    )
    architecture: Literal["gpt2", "bert"] = Field(
        "gpt2", description="Architecture of a model from scratch; a checkpoint says itself what it is."
    )
    size: Literal["tiny", "compact", "base"] = Field(
        "compact", description="Size of a model from scratch; a checkpoint has its own."
    )
    layers: int | None = Field(
        None, ge=1, le=48, description="Layers of a model from scratch; empty: as many as its size has (2, 3 or 6)."
    )
    vocabulary: int = Field(1500, ge=300, le=100_000, description="Tokenizer vocabulary for `scratch`.")
    max_tokens: int = Field(
        192,
        ge=16,
        le=8192,
        description="Longest text in tokens, no more than a checkpoint has positions; its beginning goes first.",
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="Dropout probability.")
    numbers: bool = Field(True, description="Read the engineered features as numbers too, beside the text.")
    lora_rank: int = Field(
        0,
        ge=0,
        le=256,
        description="Train low-rank adapters (LoRA) of this rank instead of a checkpoint's weights; 0: off.",
    )
    calibration: Literal["platt", "isotonic", "off"] = Field(
        "platt", description="How probabilities are calibrated on validation."
    )


class DecisionConfig(Section):
    """From which probability on somebody is called a buyer; for the language model and the baselines alike."""

    policy: Literal["f1", "precision", "cost"] = Field(
        "f1",
        description="f1: the best F1 on validation. precision: as many buyers as possible while min_precision of those "
        "called buy on validation. cost: whoever's probability reaches cost_of_contact / value_of_sale.",
    )
    min_precision: float | None = Field(
        None, gt=0, le=1, description="For policy precision: share of those called who must be buyers on validation."
    )
    cost_of_contact: float | None = Field(
        None,
        gt=0,
        description="What it costs to contact somebody, in the log's currency. With value_of_sale, the profit on test "
        "is told under every policy.",
    )
    value_of_sale: float | None = Field(
        None,
        gt=0,
        description="What a contacted buyer is worth, before the cost of the contact, in the log's currency.",
    )


class TrainConfig(Section):
    """Fine-tuning."""

    epochs: int = Field(3, ge=1, le=1000, description="Most passes over the train split.")
    patience: int = Field(1, ge=0, le=100, description="Epochs without a better validation AP before stopping.")
    batch_size: int = Field(32, ge=1, le=4096, description="Examples per optimiser step.")
    batch_tokens: int = Field(
        16_384,
        ge=64,
        le=10_000_000,
        description="Most padded tokens computed at once; a larger batch is computed in pieces, with the same result.",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak AdamW learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW weight decay.")
    next_token_weight: float = Field(0.2, ge=0, le=10, description="Weight of the next-token cross-entropy.")
    amount_weight: float = Field(0.5, ge=0, le=10, description="Weight of the amount's log-likelihood, among buyers.")
    distillation: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How far the purchase is learned from gradient boosting's out-of-fold probability instead of from "
        "the label alone; 0: labels only. Of unit shopper only.",
    )
    number_epochs: int = Field(
        6,
        ge=0,
        le=100,
        description="Passes in which the numbers are learned by themselves before the text joins them, in seconds; "
        "0: together from the start.",
    )
    positive_weight: float = Field(
        1.0, gt=0, le=1000, description="Weight of a buyer's loss; probabilities are corrected for it afterwards."
    )
    negative_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of non-buyers drawn anew for every epoch; probabilities are corrected for it afterwards.",
    )
    checkpoint_steps: int = Field(100, ge=1, description="Optimiser steps between checkpoints.")
    seed: int = Field(7, ge=0, description="Random seed.")
    threads: int = Field(2, ge=1, le=256, description="CPU threads; pinned, so that a resumed run is the same.")
    processes: int = Field(1, ge=1, le=64, description="Training processes: one a GPU, or several on the CPU.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto uses a GPU when there is one.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network; auto: bf16 on a GPU that has it, else fp32."
    )
    compile: bool = Field(False, description="Compile the network with torch.compile; pays on long GPU runs.")
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them; for models that do not fit."
    )
    divergence_retries: int = Field(
        2, ge=0, le=10, description="How often a diverged training goes back and on at half the learning rate."
    )
    stall_seconds: float = Field(
        600, ge=5, description="Silence of the training process after which it is ended as stalled, in seconds."
    )


def decision_problems(decision: DecisionConfig) -> list[str]:
    """Return what contradicts itself in how the threshold is chosen, a line each."""
    found = []
    policy, cost, value = decision.policy, decision.cost_of_contact, decision.value_of_sale
    if (policy == "precision") != (decision.min_precision is not None):
        found.append(
            f"decision.min_precision: {decision.min_precision}, but decision.policy = {policy}; "
            "expected a number exactly when the policy is precision"
        )
    for name, given in (("cost_of_contact", cost), ("value_of_sale", value)):
        if given is None and (policy == "cost" or cost is not None or value is not None):
            why = "decision.policy = cost needs it" if policy == "cost" else "one of the two costs says nothing alone"
            found.append(f"decision.{name}: not given, but {why}; expected a number above 0")
    if cost is not None and value is not None and cost >= value:
        found.append(
            f"decision.cost_of_contact: {cost:g} is not below decision.value_of_sale {value:g}, so no contact could pay"
        )
    return found
