"""Options that several commands share: the log, its preset, a configuration file, single settings."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from behavior_tasks.base.errors import UserError

Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        "-i",
        help="A file, a folder, a pattern, a URL or a database; without it: a simulated shop.",
    ),
]
Preset = Annotated[str, typer.Option("--preset", "-p", help="How the log is written: a file in conf/.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Your own YAML over the preset, same shape as conf/*.yaml.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, e.g. --set train.epochs=1. `behavior settings` lists them."),
]


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Turn `key=value` words into a mapping; values are read as YAML, so 3, true and [a, b] mean what they look like.

    Raises:
        UserError: for a word without `=`.

    >>> parse_settings(["train.epochs=1", "clean.outliers=iqr"])
    {'train.epochs': 1, 'clean.outliers': 'iqr'}
    """
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(
                "A --set has no `key=value`.",
                found=pair,
                expected="for example train.epochs=1",
                next_step="`behavior settings` lists every key",
            )
        try:
            settings[key.strip()] = yaml.safe_load(value) if value.strip() else value
        except yaml.YAMLError:
            settings[key.strip()] = value
    return settings
