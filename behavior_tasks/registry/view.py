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

PREFIX = "mlflow.sharedViewState."
KEY = "behavior"
"""The view of runs; that of trials is `behavior-trials`."""
F1 = "metrics.`test_f1`"
COLUMNS: dict[str, int] = {
    F1: 90,
    "metrics.`test_average_precision`": 175,
    "metrics.`test_ece`": 90,
    "metrics.`boosting_test_f1`": 130,
    "tags.`test_set`": 115,
    "tags.`verdict`": 85,
    "tags.`gate`": 210,
    "tags.`own_settings`": 480,
}
"""Column → width in pixels."""
TRIAL_COLUMNS: dict[str, int] = {
    "metrics.`validation_average_precision`": 215,
    "metrics.`validation_loss`": 130,
    "params.`train.learning_rate`": 170,
    "params.`train.epochs`": 120,
    "params.`model.size`": 110,
    "params.`text.style`": 110,
}


def prepare_view(client: "MlflowClient", experiment_id: str) -> None:
    """Keep both views with the experiment, unless they are there; people's own views are others."""
    # MLflow shows trials below their study only while the table is sorted by time.
    views = {
        PREFIX + KEY: _state(F1, COLUMNS),
        PREFIX + KEY + "-trials": _state("attributes.start_time", TRIAL_COLUMNS),
    }
    known = client.get_experiment(experiment_id).tags
    for tag, state in views.items():
        if known.get(tag) != state:
            client.set_experiment_tag(experiment_id, tag, state)


def _state(sorted_by: str, columns: dict[str, int]) -> str:
    return json.dumps(
        {
            "searchFilter": "",
            "orderByKey": sorted_by,
            "orderByAsc": False,
            "selectedColumns": list(columns),
            "columnOrder": list(columns),
            "columnWidths": columns,
            "runListHidden": False,
        }
    )


def view_path(home: Home, config: Config) -> str | None:
    """Return the path of the prepared view on the MLflow server, or None while there is no run to see."""
    if not store.exists(home):
        return None
    with store.connect(home) as client:
        found = client.get_experiment_by_name(config.registry.experiment)
    return f"/#/experiments/{found.experiment_id}/runs?viewStateShareKey={KEY}" if found is not None else None
