"""Candidates: a run's trained model and its verdict in; a registered version, and perhaps a new champion, out.

Both go through the run's outbox, so that a model whose MLflow does not answer waits instead of being lost. The one
thing to know: a promotion that waited is made only if the champion is still the one that it was compared with.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry.delivery import Delivery, deliver
from behavior_tasks.registry.outbox import Entry, record


def register_model(home: Home, config: Config, *, run_id: str, model: Artifact, tags: Mapping[str, str]) -> Delivery:
    """Register a run's model, or let it wait; see `versions.register` for the arguments.

    Returns:
        `results["model"]` holds `version` and `reused`; without it, the model waits.
    """
    Entry(home, run_id).put("model", record(home, config, model=model.uri, tags=dict(tags)))
    return deliver(home, run_id)


def promote_model(
    home: Home, config: Config, *, run_id: str, verdict: Mapping[str, Any], who: str, when: datetime
) -> Delivery:
    """Make a run's registered model the champion, or let that wait; see `versions.promote` for the arguments.

    Returns:
        `results["promotion"]` holds `promoted` and, where the champion has changed since the verdict, `refused`: why
        not. Without it, the promotion waits.
    """
    asked = record(home, config, verdict=dict(verdict), who=who, when=when.isoformat())
    Entry(home, run_id).put("promotion", asked)
    return deliver(home, run_id)
