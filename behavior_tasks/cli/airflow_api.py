"""A running Airflow's REST API: log in, trigger a DAG run, ask for its state.

In come the server's address and the admin's password; out come run ids and states. The token lives in the
client's memory only.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from behavior_tasks.base.errors import UserError

UNFINISHED = frozenset({"queued", "running"})
TIMEOUT_SECONDS = 30.0
READING_SECONDS = 120.0
"""Longest that a DAG is waited for which Airflow does not know yet."""


def connect(url: str, user: str, password: str) -> httpx.Client:
    """Return a client that is logged in."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        login = {"username": user, "password": password}
        token = _asked(client, "POST", "/auth/token", login)["access_token"]
    return httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS)


def trigger(client: httpx.Client, dag_id: str, conf: Mapping[str, Any], logical_date: datetime) -> str:
    """Start a DAG run and return its id. A server that has just come up is given the time to read its DAGs first.

    Raises:
        UserError: when Airflow refuses it, e.g. because of a value in `conf`, or does not answer.
    """
    until = time.monotonic() + READING_SECONDS
    while _ask(client, "GET", f"/dags/{dag_id}").status_code == httpx.codes.NOT_FOUND and time.monotonic() < until:
        time.sleep(1)
    wanted = {"logical_date": logical_date.isoformat(), "conf": dict(conf)}
    return str(_asked(client, "POST", f"/dags/{dag_id}/dagRuns", wanted)["dag_run_id"])


def state(client: httpx.Client, dag_id: str, run_id: str) -> str:
    """Return a DAG run's state: queued, running, success or failed."""
    return str(_asked(client, "GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])


def _ask(client: httpx.Client, method: str, path: str, content: Mapping[str, Any] | None = None) -> httpx.Response:
    try:
        return client.request(method, path, json=content)
    except httpx.TransportError as error:
        raise UserError(
            "Airflow does not answer any more.",
            found=f"{client.base_url}: {error}",
            next_step="`make up` again; Airflow goes on with the run where it was stopped",
        ) from None


def _asked(client: httpx.Client, method: str, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    answer = _ask(client, method, path, content)
    if not answer.is_success:
        raise UserError(
            "Airflow refused the request.",
            found=f"{method} {path}: {answer.status_code} {answer.text[:500]}",
            next_step="see what Airflow's page says, or `behavior status` for what is running",
        )
    return dict(answer.json())
