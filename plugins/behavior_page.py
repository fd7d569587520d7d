"""The page as a FastAPI app: Airflow's door in, the app that Airflow mounts at `/behavior` out.

`PARTS` are the modules whose `router` it holds. The one thing to know: FastAPI apps of a plugin are not protected by
Airflow, so every route takes its visitor from `behavior_page_access`; a test goes through all of them.
"""

import importlib
import logging

from behavior_page_access import Door, NotAllowedError, NotLoggedInError, StaleFormError
from behavior_page_answers import FILE, here_of, problem, root_of
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from behavior_tasks.base.errors import UserError
from behavior_tasks.web.texts import text
from behavior_tasks.web.view import Visitor

PARTS = (
    *("behavior_page_static", "behavior_page_engineer", "behavior_page_approvals", "behavior_page_reports"),
    "behavior_page_marketer",
)
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
log = logging.getLogger("behavior.page")


def make_page(door: Door) -> FastAPI:
    """Return the app."""
    app = FastAPI(title="Behavior", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.door = door
    for part in PARTS:
        app.include_router(importlib.import_module(part).router)
    app.add_middleware(Headers)
    app.add_exception_handler(NotLoggedInError, _to_login)
    app.add_exception_handler(NotAllowedError, _not_for_you)
    app.add_exception_handler(StaleFormError, _stale)
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(HTTPException, _other)
    app.add_exception_handler(Exception, _broken)
    return app


class Headers:
    """Gives every answer the headers that keep others' scripts and frames out, unless a route has set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


async def _to_login(request: Request, error: Exception) -> Response:
    """Lead to Airflow's login and back; a form comes back to its page, with a word that nothing was done."""
    route = request.scope.get("route")
    if FILE in getattr(route, "tags", ()):
        return PlainTextResponse("Not logged in.", status_code=401)
    door: Door = request.app.state.door
    here = here_of(request) if request.method == "GET" else f"{_page_of_form(request)}?said=expired"
    return RedirectResponse(door.login_url(root_of(request) + here), status_code=303)


def _page_of_form(request: Request) -> str:
    """Return the page that a form was on, below the root: forms are posted to addresses below their page's."""
    return "/marketing" if here_of(request).startswith("/marketing") else "/"


async def _not_for_you(request: Request, error: Exception) -> Response:
    return await _say(request, 403, "shell.not_for_you_title", "shell.not_for_you")


async def _stale(request: Request, error: Exception) -> Response:
    return await _say(request, 403, "shell.refused_title", "shell.stale_form")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    visitor = await _visitor(request)
    title = "shell.refused_title" if request.method == "POST" else "shell.not_now_title"
    return problem(request, visitor, error, status=409, title=title)


async def _other(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _say(request, 404, "shell.not_there_title", "shell.not_there")
    return PlainTextResponse(str(error.detail), status_code=error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("the page %s could not be made", request.url.path, exc_info=error)
    language = "en"
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>{text(language, 'shell.failed')}</title>"
        f"<h1>{text(language, 'shell.failed')}</h1><p>{text(language, 'shell.broken')}</p>",
        status_code=500,
        headers=HEADERS,
    )


async def _say(request: Request, status: int, title: str, what: str) -> Response:
    """Say something in the visitor's language; who is not logged in goes to the login first."""
    from behavior_page_answers import view_of

    try:
        visitor = await _visitor(request)
    except NotLoggedInError as error:
        return await _to_login(request, error)
    told = UserError(view_of(request, visitor).text(what))
    return problem(request, visitor, told, status=status, title=title)


async def _visitor(request: Request) -> Visitor:
    door: Door = request.app.state.door
    try:
        return await door.visitor(request)
    except NotAllowedError:
        return Visitor(name="", may_trigger=False, may_decide=False)
