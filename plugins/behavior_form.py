"""A filled-in trigger form is checked as a whole before Airflow makes a run of it: all mistakes at once, or none.

Airflow itself checks a form field by field, tells the first mistake alone, and knows nothing of fields that contradict
each other. So requests that start a run of a behavior DAG (from the page, over REST, a backfill) pass here first. The
one thing to know: configuration files and hardware are where the tasks run, so a form that names a file is checked by
the task `start`, which is the first, looks at the hardware too, and tells all mistakes as well.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RUNS = re.compile(r"/api/v2/dags/(behavior_[a-z]+)/dagRuns/?$")
BACKFILLS = re.compile(r"/api/v2/backfills(/dry_run)?/?$")
MOST_BYTES = 1_000_000


def mistakes(dag_id: str, conf: Mapping[str, Any]) -> str | None:
    """Return all that is wrong with a filled-in form, or None; a form with a configuration file is not judged."""
    from behavior_tasks.base.errors import UserError
    from behavior_tasks.base.form import AS_OF, CONFIG_FILE, read_as_of, read_form
    from behavior_tasks.pipeline import check_settings

    if conf.get(CONFIG_FILE):
        return None
    placed = dag_id in ("behavior_scoring", "behavior_monitoring")
    told: list[str] = []
    try:
        read_as_of(conf.get(AS_OF) if placed else None)
    except UserError as error:
        told.append(str(error))
    asked = read_form({name: value for name, value in conf.items() if not (placed and name == AS_OF)})
    try:
        check_settings(preset=asked.preset, overrides=asked.overrides)
    except UserError as error:
        told.append(str(error))
    return "\n".join(told) or None


class WholeForm:
    """Answers a request whose form has mistakes with all of them; hands every other one on, untouched."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the requests that start a run."""
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or scope["method"] != "POST" or not (RUNS.search(path) or BACKFILLS.search(path)):
            await self.app(scope, receive, send)
            return
        body, messages = await _read(receive)

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        told = await _refused(scope, path, body) if body is not None else None
        if told is None:
            await self.app(scope, again, send)
            return
        answer = json.dumps({"detail": told}, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def _read(receive: Receive) -> tuple[bytes | None, list[Message]]:
    """Return a request's body, or None when it is too long to be a form, with the messages in which it came."""
    messages: list[Message] = []
    body = b""
    while True:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if len(body) > MOST_BYTES or message["type"] != "http.request":
            return None, messages
        if not message.get("more_body"):
            return body, messages


async def _refused(scope: Scope, path: str, body: bytes) -> str | None:
    """Return why a request is refused; None also where Airflow itself has to refuse it: its shape, who asks."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    if not isinstance(asked, dict):
        return None
    run = RUNS.search(path)
    dag_id, conf = (run[1], asked.get("conf")) if run else (asked.get("dag_id"), asked.get("dag_run_conf"))
    known = isinstance(dag_id, str) and dag_id.startswith("behavior_")
    if not known or not isinstance(conf, dict) or not await _may_start(scope, str(dag_id)):
        return None
    return mistakes(str(dag_id), conf)


async def _may_start(scope: Scope, dag_id: str) -> bool:
    """Whether Airflow knows who asks, and lets them start a run of the DAG; all others learn nothing here."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.api_fastapi.core_api.security import resolve_user_from_token
    from fastapi import HTTPException, Request

    request = Request(scope)
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if kind.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN)
    try:
        user = await resolve_user_from_token(given)
    except HTTPException:
        return False
    return bool(
        get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
        )
    )


class BehaviorForm(AirflowPlugin):
    """The check of the whole form."""

    name = "behavior_form"
    fastapi_root_middlewares: ClassVar[list[dict[str, Any]]] = [
        {"middleware": WholeForm, "args": [], "kwargs": {}, "name": "the whole trigger form"}
    ]
