"""How the page answers: a template and values in; an HTML answer, or the way back after an action, out.

The one thing to know: an action never answers with a page of its own; it leads back to one, which says how it went.
"""

from collections.abc import Mapping
from typing import Any

from behavior_page_access import csrf_token
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from behavior_tasks.base.errors import UserError
from behavior_tasks.web.texts import preferred, texts
from behavior_tasks.web.view import View, Visitor, render

LANGUAGE_COOKIE = "behavior_language"
YEAR = 365 * 24 * 3600
FILE = "file"
"""Tag of routes that give a file: who is not logged in gets 401 there, not the login page."""


def root_of(request: Request) -> str:
    """Return the page's own address, without the last slash."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def here_of(request: Request) -> str:
    """Return the address that was asked for, below the page's root, without what is said only once."""
    query = "&".join(
        part for part in request.url.query.split("&") if part and part.split("=")[0] not in ("lang", "said")
    )
    path = request.url.path.removeprefix(root_of(request)) or "/"
    return f"{path}?{query}" if query else path


def view_of(request: Request, visitor: Visitor, *, tab: str | None = None) -> View:
    """Return how an answer to this request looks."""
    language = preferred(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language", ""),
    )
    said = request.query_params.get("said")
    return View(
        root=root_of(request),
        here=here_of(request),
        language=language,
        visitor=visitor,
        csrf=csrf_token(request, visitor),
        tab=tab,
        said=said if f"said.{said}" in texts(language) else None,
    )


def page(
    request: Request,
    visitor: Visitor,
    template: str,
    values: Mapping[str, Any],
    *,
    tab: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    """Return a page of `behavior_tasks/web/templates`, in the visitor's language, which is kept."""
    view = view_of(request, visitor, tab=tab)
    answer = HTMLResponse(render(template, view, values), status_code=status)
    if request.query_params.get("lang") == view.language:
        answer.set_cookie(
            LANGUAGE_COOKIE, view.language, max_age=YEAR, path=root_of(request) or "/", httponly=True, samesite="lax"
        )
    return answer


def problem(request: Request, visitor: Visitor, error: UserError, *, status: int, title: str) -> HTMLResponse:
    """Return the page that says what is wrong and what to do.

    Args:
        request: what was asked.
        visitor: by whom.
        error: what to say.
        status: HTTP's code.
        title: key of a text.
    """
    values = {
        "title": view_of(request, visitor).text(title),
        "problem": error.problem,
        "found": error.found,
        "expected": error.expected,
        "next_step": error.next_step,
    }
    return page(request, visitor, "problem.html", values, status=status)


def back(request: Request, path: str, said: str) -> RedirectResponse:
    """Return the way to a page, after an action. `said`: key of a text below `said`, shown there once."""
    glue = "&" if "?" in path else "?"
    return RedirectResponse(f"{root_of(request)}{path}{glue}said={said}", status_code=303)
