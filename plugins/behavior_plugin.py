"""What Airflow's web page gains: an entry in its navigation that leads to MLflow.

Takes the MLflow server's address from `BEHAVIOR_MLFLOW_URL` (default: the one that `behavior up` starts) and gives
Airflow one external view. It opens in a tab of its own, because MLflow refuses to be shown inside another page.
"""

import os
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


class BehaviorPlugin(AirflowPlugin):
    """The link to MLflow."""

    name = "behavior"
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "MLflow",
            "href": os.environ.get("BEHAVIOR_MLFLOW_URL") or "http://127.0.0.1:5000",
            "destination": "nav",
            "nav_top_level": True,
        }
    ]
