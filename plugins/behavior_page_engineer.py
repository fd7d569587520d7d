"""The engineer's page: routes that read what the champion is and does, and those by which a person decides.

The one thing to know: everything shown comes from finished artifacts, so the page opens while MLflow does not answer.
"""

from datetime import UTC, datetime
from typing import Annotated

from behavior_page_access import Op, OpForm, Viewer
from behavior_page_answers import back, page
from behavior_page_approvals import waiting_questions
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from behavior_tasks.base.home import current_home
from behavior_tasks.web.engineer import engineer_values
from behavior_tasks.web.engineer_compare import compare_with_challenger
from behavior_tasks.web.engineer_title import Title, read_titles
from behavior_tasks.web.rolling_back import check_target, roll_back

router = APIRouter()


@router.get("/")
async def engineer(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show the page."""
    questions = await waiting_questions(request)

    def show() -> HTMLResponse:
        values = engineer_values(current_home(), datetime.now(UTC))
        return page(request, visitor, "engineer.html", {**values, "questions": questions}, tab="engineer")

    return await run_in_threadpool(show)


@router.get("/compare")
def compare(request: Request, visitor: Viewer, model: str = "") -> HTMLResponse:
    """Show in what the challenger differs from the champion."""
    title = _title(model)
    found = compare_with_challenger(current_home(), title)
    return page(request, visitor, "compare.html", {"title": title, "found": found}, tab="engineer")


@router.get("/rollback")
def ask_rollback(request: Request, visitor: Op, model: str = "", to: str = "") -> HTMLResponse:
    """Ask whether the champion shall be changed, and why."""
    title = _title(model)
    check_target(current_home(), model, to)
    return page(request, visitor, "rollback.html", {"title": title, "to": to}, tab="engineer")


@router.post("/rollback")
def do_rollback(
    request: Request,
    visitor: OpForm,
    model: Annotated[str, Form()] = "",
    to: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> RedirectResponse:
    """Make an earlier version the champion, in the visitor's name."""
    roll_back(current_home(), model=model, to=to, who=visitor.name, why=why)
    return back(request, "/", "rolled_back")


def _title(model: str) -> Title:
    """Return a registered model that had a champion.

    Raises:
        HTTPException: 404 for any other name.
    """
    for title in read_titles(current_home()):
        if title.model == model:
            return title
    raise HTTPException(404)
