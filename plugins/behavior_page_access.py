"""Who may do what on the page: a request in; the visitor that Airflow knows, or a refusal, out.

Every route takes one of `Viewer`, `User`, `Op` (to read) or `ViewerForm`, `UserForm`, `OpForm` (to act, by POST). The
one thing to know: a form counts only with the token of the session that it was shown in.
"""

import hashlib
import hmac
from typing import Annotated, Any, Protocol

import httpx
from fastapi import Depends, Request

from behavior_tasks.web.view import Visitor

DAG_ID = "behavior_training"
SESSION_COOKIE = "_token"
CSRF_FIELD = "csrf"


class NotLoggedInError(Exception):
    """Airflow does not know who this is, or their session has ended."""


class NotAllowedError(Exception):
    """Airflow knows who this is, and their role does not reach."""


class StaleFormError(Exception):
    """A form that was not shown in this session."""


class Door(Protocol):
    """What the page asks Airflow."""

    async def visitor(self, request: Request) -> Visitor:
        """Return who asks.

        Raises:
            NotLoggedInError: when Airflow does not know.
            NotAllowedError: when they may not even read the DAGs.
        """

    def login_url(self, next_url: str) -> str:
        """Return where to log in; Airflow leads back to `next_url` afterwards."""

    def secret(self) -> bytes:
        """Return the server's own key."""

    async def ask_airflow(self, request: Request, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Ask Airflow's REST API in the visitor's name; `options` are httpx's. Return the status and the JSON."""


class AirflowDoor:
    """Airflow's own accounts and permissions, whichever auth manager it runs with."""

    async def visitor(self, request: Request) -> Visitor:
        """Return who asks, by Airflow's session cookie or a bearer token."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.models.resource_details import (
            DagAccessEntity,
            DagDetails,
            VariableDetails,
        )
        from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
        from fastapi import HTTPException
        from starlette.concurrency import run_in_threadpool

        try:
            user = await get_user(request, None, await bearer_scheme(request))
        except HTTPException as refused:
            raise NotLoggedInError(str(refused.detail)) from None
        manager, dag = get_auth_manager(), DagDetails(id=DAG_ID)

        def ask() -> tuple[bool, bool, bool]:
            return (
                manager.is_authorized_dag(method="GET", details=dag, user=user),
                manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=dag, user=user),
                # In both of Airflow's auth managers the role op begins where somebody may change variables.
                manager.is_authorized_variable(method="PUT", details=VariableDetails(), user=user),
            )

        may_read, may_trigger, may_decide = await run_in_threadpool(ask)
        if not may_read:
            raise NotAllowedError
        return Visitor(name=user.get_name(), may_trigger=may_trigger, may_decide=may_decide)

    def login_url(self, next_url: str) -> str:
        """Return the auth manager's page."""
        from airflow.api_fastapi.app import get_auth_manager

        return get_auth_manager().get_url_login(next_url=next_url)

    def secret(self) -> bytes:
        """Return `[api] secret_key`."""
        from airflow.api_fastapi.auth.tokens import get_signing_key

        return get_signing_key("api", "secret_key").encode()

    async def ask_airflow(self, request: Request, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Ask the server's own app, without a way over the network: no port, proxy or certificate matters."""
        from airflow.api_fastapi.app import get_cookie_path
        from airflow.api_fastapi.main import app

        named = {name: request.headers[name] for name in ("authorization", "cookie") if name in request.headers}
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        base = str(request.base_url.replace(path=get_cookie_path())).rstrip("/")
        async with httpx.AsyncClient(transport=transport, base_url=base, headers=named, timeout=10) as client:
            answer = await client.request(method, path.lstrip("/"), **options)
        return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else None


def csrf_token(request: Request, visitor: Visitor) -> str:
    """Return what a form of this session carries: an HMAC of the visitor and their session's token."""
    door: Door = request.app.state.door
    told = f"{visitor.name}\0{request.cookies.get(SESSION_COOKIE, '')}"
    return hmac.new(door.secret(), b"behavior form\0" + told.encode(), hashlib.sha256).hexdigest()


async def viewer(request: Request) -> Visitor:
    """Let everybody in whom Airflow lets read the DAGs."""
    door: Door = request.app.state.door
    return await door.visitor(request)


async def user(visitor: Annotated[Visitor, Depends(viewer)]) -> Visitor:
    """Let in who may start runs."""
    if not visitor.may_trigger:
        raise NotAllowedError
    return visitor


async def op(visitor: Annotated[Visitor, Depends(viewer)]) -> Visitor:
    """Let in who may decide: roles op and admin."""
    if not visitor.may_decide:
        raise NotAllowedError
    return visitor


async def _require_own_form(request: Request, visitor: Visitor) -> None:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise StaleFormError
    given = (await request.form()).get(CSRF_FIELD)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), csrf_token(request, visitor).encode()):
        raise StaleFormError


async def viewer_form(request: Request, visitor: Annotated[Visitor, Depends(viewer)]) -> Visitor:
    """As `viewer`, for a form."""
    await _require_own_form(request, visitor)
    return visitor


async def user_form(request: Request, visitor: Annotated[Visitor, Depends(user)]) -> Visitor:
    """As `user`, for a form."""
    await _require_own_form(request, visitor)
    return visitor


async def op_form(request: Request, visitor: Annotated[Visitor, Depends(op)]) -> Visitor:
    """As `op`, for a form."""
    await _require_own_form(request, visitor)
    return visitor


Viewer = Annotated[Visitor, Depends(viewer)]
User = Annotated[Visitor, Depends(user)]
Op = Annotated[Visitor, Depends(op)]
ViewerForm = Annotated[Visitor, Depends(viewer_form)]
UserForm = Annotated[Visitor, Depends(user_form)]
OpForm = Annotated[Visitor, Depends(op_form)]
