"""The alarm: a failed DAG run in; one message that says which stage, why, what to do and where, out.

Airflow's DAG processor calls it once for a failed run, whatever failed in it. The one thing to know: a way that is down
costs the run nothing; the message stands in the DAG processor's log too.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import Context

from behavior_tasks import pipeline
from behavior_tasks.watch.tell import tell

Asked = Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]


def page_address() -> str:
    """Return where people see Airflow: BEHAVIOR_PUBLIC_URL, else Airflow's own `[api] base_url`."""
    from airflow.sdk.configuration import conf

    return (os.environ.get("BEHAVIOR_PUBLIC_URL") or conf.get("api", "base_url", fallback="") or "").rstrip("/")


def alarm(asked: Asked) -> Callable[[Context], None]:
    """Return a DAG's callback for failed runs.

    Args:
        asked: what a DAG run and its filled-in form ask for, to say what is wrong with that.
    """

    def tell_why(context: Context) -> None:
        dag, run_id = context["dag"].dag_id, str(context["run_id"])
        dag_run, params = context.get("dag_run"), context.get("params") or {}
        link = f"{page_address()}/dags/{dag}/runs/{quote(run_id, safe='')}"

        def check() -> None:
            if dag_run is not None:
                pipeline.check_settings(**asked(dag_run, {**params, **(dag_run.conf or {})}))

        failure = pipeline.why_it_failed(dag, run_id, link=link, check=check)
        tell(failure.subject, failure.text, failure.model_dump())

    return tell_why
