"""The buttons on a task's page: what a task has left behind in, the address of the page that shows it out.

Addresses are made when the task ends, from where people see MLflow (`BEHAVIOR_MLFLOW_URL`) and Airflow
(`BEHAVIOR_PUBLIC_URL`). The one thing to know: a task without its page, because MLflow did not answer, leads to the
front page.
"""

import os
from typing import Any

from airflow.sdk import BaseOperatorLink, XComArg, get_current_context
from behavior_dag_alarm import page_address

OPENED, PAGES = "open_tracking", "pages"


def mlflow_address() -> str:
    """Return where people see MLflow."""
    return (os.environ.get("BEHAVIOR_MLFLOW_URL") or "http://127.0.0.1:5000").rstrip("/")


def keep_pages(pages: dict[str, str]) -> None:
    """Keep the paths on the MLflow server, by what they show, of what the running task has left there."""
    get_current_context()["ti"].xcom_push(key=PAGES, value=pages)


class MlflowRunLink(BaseOperatorLink):
    """Leads to the run's page in MLflow."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the page's address; the MLflow server's front page before the run is known."""
        from airflow.sdk.execution_time.xcom import XCom

        run = XCom.get_one(key="return_value", dag_id=ti_key.dag_id, task_id=OPENED, run_id=ti_key.run_id)
        return f"{mlflow_address()}/#/runs/{run}" if run else mlflow_address()


class MlflowPageLink(BaseOperatorLink):
    """Leads to one of the pages that the task has kept."""

    shows: str

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the page's address; the MLflow server's front page when there is none."""
        from airflow.sdk.execution_time.xcom import XCom

        mine = {"dag_id": ti_key.dag_id, "task_id": ti_key.task_id, "run_id": ti_key.run_id}
        return mlflow_address() + (XCom.get_one(key=PAGES, **mine) or {}).get(self.shows, "")


class ReportLink(MlflowPageLink):
    """Leads to the report as it is kept in MLflow."""

    name, shows = "Report", "report"


class VersionLink(MlflowPageLink):
    """Leads to the registered version."""

    name, shows = "Registered version", "version"


class DayLink(MlflowPageLink):
    """Leads to the MLflow run of a watched day."""

    name, shows = "MLflow run", "run"


class ModelsLink(BaseOperatorLink):
    """Leads to the page about the models."""

    name, place = "Models", "/behavior/"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the page's address."""
        return page_address() + self.place


class MarketingLink(ModelsLink):
    """Leads to the page of what was handed out."""

    name, place = "Marketing", "/behavior/marketing"


def with_links(result: XComArg, *links: BaseOperatorLink) -> XComArg:
    """Give the task behind `result` buttons."""
    result.operator.operator_extra_links = links
    return result
