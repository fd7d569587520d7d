"""What Airflow's web page gains: the shop's page at `/behavior`, entries in the navigation, and the way to MLflow.

Takes the MLflow server's address from `BEHAVIOR_MLFLOW_URL` (default: the one that `behavior up` starts). The one thing
to know: Airflow loads this file in every process, so the page itself is only imported where Airflow serves pages.
"""

import os
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

ROOT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/") + "/behavior"


class BehaviorPlugin(AirflowPlugin):
    """The page, and the link to MLflow, which refuses to be shown inside another page and so opens by itself."""

    name = "behavior"
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Models",
            "href": f"{ROOT}/",
            "destination": "nav",
            "url_route": "behavior",
            "nav_top_level": True,
            "icon": f"{ROOT}/static/models.svg",
        },
        {
            "name": "Marketing",
            "href": f"{ROOT}/marketing",
            "destination": "nav",
            "url_route": "behavior-marketing",
            "nav_top_level": True,
            "icon": f"{ROOT}/static/marketing.svg",
        },
        {
            "name": "MLflow",
            "href": os.environ.get("BEHAVIOR_MLFLOW_URL") or "http://127.0.0.1:5000",
            "destination": "nav",
            "nav_top_level": True,
        },
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """Return the page; only Airflow's api-server asks for it."""
        from behavior_page import make_page
        from behavior_page_access import AirflowDoor

        return [{"app": make_page(AirflowDoor()), "url_prefix": "/behavior", "name": "Behavior"}]
