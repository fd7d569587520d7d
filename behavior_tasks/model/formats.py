"""Formats of model folders: a folder in, the kind of model that its `config.json` names out.

What must lie in a folder of each kind is said here, for whoever copies or lists one. The one thing to know: nothing is
imported here that could load a model, so asking costs nothing.
"""

import json
from pathlib import Path
from typing import Any, Literal

LANGUAGE_MODEL, BOOSTING = "language_model", "boosting"
"""The kinds of models, as verdicts and registered versions call them."""
CONFIG_FILE, DECISION_FILE = "config.json", "decision.json"
BOOSTING_FORMAT: Literal["behavior-boosting/1"] = "behavior-boosting/1"
PIPELINE_FILE = "pipeline.skops"
LANGUAGE_FILES: tuple[str, ...] = (CONFIG_FILE, DECISION_FILE, "model.safetensors", "text.json")
"""Of a language model, beside its tokenizer."""
BOOSTING_FILES: tuple[str, ...] = (CONFIG_FILE, DECISION_FILE, PIPELINE_FILE)
"""Of gradient boosting."""


def read_content(model_folder: Path) -> dict[str, Any]:
    """Return a folder's `config.json`; nothing where it is missing or damaged, which whoever opens the folder tells."""
    try:
        content = json.loads((model_folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_boosting(model_folder: Path) -> bool:
    """Whether a folder holds gradient boosting, by what its `config.json` says."""
    return read_content(model_folder).get("format") == BOOSTING_FORMAT


def measured_as(kind: str) -> str:
    """Return the name under which an evaluation's metrics and predictions hold a run's model of a kind.

    >>> measured_as("language_model"), measured_as("boosting")
    ('candidate', 'boosting')
    """
    return "boosting" if kind == BOOSTING else "candidate"
