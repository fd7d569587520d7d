"""The prepared view: the experiment's runs as a table sorted by F1, with the columns that help to choose.

In comes the experiment, out comes the path of a page in MLflow. The one thing to know: MLflow keeps views that people
share in tags of the experiment, as JSON under a key of their own, and reads them back from `?viewStateShareKey=`.
"""

import json
from typing import TYPE_CHECKING

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "behavior"
TAG = f"mlflow.sharedViewState.{KEY}"
SORTED_BY = "metrics.`test_f1`"
COLUMNS: dict[str, int] = {
    SORTED_BY: 80,
    "metrics.`test_average_precision`": 100,
    "metrics.`test_ece`": 80,
    "metrics.`boosting_test_f1`": 100,
    "tags.`test_set`": 110,
    "tags.`verdict`": 90,
    "tags.`gate`": 190,
    "tags.`own_settings`": 420,
}
"""Column → width in pixels."""


def prepare_view(client: "MlflowClient", experiment_id: str) -> None:
    """Keep the view with the experiment, unless it is there; people's own views are others."""
    state = {
        "searchFilter": "",
        "orderByKey": SORTED_BY,
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
        "columnWidths": COLUMNS,
        "runListHidden": False,
    }
    text = json.dumps(state)
    if client.get_experiment(experiment_id).tags.get(TAG) != text:
        client.set_experiment_tag(experiment_id, TAG, text)


def view_path(home: Home, config: Config) -> str | None:
    """Return the path of the prepared view on the MLflow server, or None while there is no run to see."""
    if not store.exists(home):
        return None
    with store.connect(home) as client:
        found = client.get_experiment_by_name(config.registry.experiment)
    return f"/#/experiments/{found.experiment_id}/runs?viewStateShareKey={KEY}" if found is not None else None
