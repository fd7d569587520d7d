"""What the commands about registered versions share: which registered model is meant, and who is asking."""

import getpass
import os
from typing import Annotated

import typer

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import last_runs

Model = Annotated[
    str | None,
    typer.Option("--model", help="Name in MLflow's model registry; without it: that of the newest run."),
]


def registry_config(home: Home, model: str | None) -> Config:
    """Return the settings of the newest run, else the defaults; with another registered model when one is named."""
    runs = last_runs(home, most=1)
    config = runs[0].record.config if runs else Config()
    if model is None:
        return config
    return config.model_copy(update={"registry": config.registry.model_copy(update={"model_name": model})})


def user_name() -> str:
    """Return the name of the user of this process, for the ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
