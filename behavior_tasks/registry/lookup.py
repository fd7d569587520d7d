"""What MLflow knows of a version or a run: a word that a person typed in; version, figures, settings and tags out.

A word is a version's number (`3`, `v3`), an alias, a run's own id, or MLflow's id of it. The one thing to know: nothing
here writes, and a word that names nothing gives None, for the caller to say so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.model.formats import LANGUAGE_MODEL
from behavior_tasks.registry import store
from behavior_tasks.registry.aliases import NAMES, find_version, read_aliases
from behavior_tasks.registry.versions import KIND_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NUMBER = re.compile(r"v?(\d+)")
MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered version."""

    number: str
    aliases: tuple[str, ...]
    run_id: str | None
    """The run that registered it first."""
    kind: str
    """language_model or boosting."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What stands in a run's MLflow run."""

    run_id: str
    name: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


def find_registered(home: Home, config: Config, word: str) -> Version | None:
    """Return the version that a number or an alias names, or None."""
    number = NUMBER.fullmatch(word)
    if not store.exists(home) or (word not in NAMES and number is None):
        return None
    model = config.registry.model_name
    with store.connect(home) as client:
        aliases = read_aliases(client, model)
        named = number[1] if number else getattr(aliases, word)
        found = find_version(client, model, named) if named else None
        if found is None:
            return None
        return Version(
            number=str(found.version),
            aliases=tuple(name for name in reversed(NAMES) if getattr(aliases, name) == str(found.version)),
            run_id=found.tags.get("run_id"),
            kind=found.tags.get(KIND_TAG, LANGUAGE_MODEL),
        )


def find_logged(home: Home, config: Config, word: str) -> Logged | None:
    """Return what MLflow has of a run, by the run's own id or by MLflow's; None when it has nothing."""
    if not store.exists(home) or "'" in word:
        return None
    with store.connect(home) as client:
        run = store.find_run(client, home, config, word) or (
            _by_id(client, word) if MLFLOW_ID.fullmatch(word) else None
        )
    if run is None or store.RUN_TAG not in run.data.tags:
        return None
    return Logged(
        run_id=run.data.tags[store.RUN_TAG],
        name=str(run.info.run_name),
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
    )


def _by_id(client: "MlflowClient", mlflow_run_id: str) -> "Run | None":
    failure = store.failures()
    try:
        return client.get_run(mlflow_run_id)
    except failure as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # type: ignore[attr-defined]
            raise
        return None
