"""The marketer's page: routes that show lists, budgets, campaigns and products, and those that give a list away.

The one thing to know: risk and the shop's own ids are for roles op and admin alone; everything else is for whoever may
read the DAGs.
"""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from behavior_page_access import NotAllowedError, Op, OpForm, Viewer, ViewerForm
from behavior_page_answers import FILE, back, page, root_of, view_of
from fastapi import APIRouter, BackgroundTasks, Form, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.serve.audiences_curve import CAMPAIGN
from behavior_tasks.web.marketer import make_part
from behavior_tasks.web.marketer_budget import budget_answer
from behavior_tasks.web.marketer_campaigns import measure, need_campaign
from behavior_tasks.web.marketer_download import Wanted, take_list
from behavior_tasks.web.view import Visitor

router = APIRouter(prefix="/marketing")


class Budget(BaseModel):
    """What the form of the budget says, as it was typed."""

    contacts: str = ""
    contact_cost: str = ""
    margin: str = ""
    value_of_sale: str = ""

    def given(self) -> dict[str, str | None]:
        """Return it by name."""
        return {name: getattr(self, name) for name in Budget.model_fields}


class List(Budget):
    """Which list a form is about."""

    as_of: date
    audience: str = ""
    campaign: str = CAMPAIGN
    part: Literal["contact", "control"] = "contact"
    instead: bool = False
    reason: str = Field("", max_length=500)


TAB = "marketer"
DAG_PATH = "/dags/behavior_scoring"
"""Of Airflow's own page."""


@router.get("")
def audiences(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show all lists."""
    return _part(request, visitor, "audiences")


@router.get("/audience/{name}")
def audience(request: Request, visitor: Viewer, name: str) -> HTMLResponse:
    """Show one list."""
    return _part(request, visitor, "audience", name=name)


@router.get("/budget")
def budget(request: Request, visitor: Viewer, asked: Annotated[Budget, Query()]) -> HTMLResponse:
    """Show what a budget buys."""
    return _part(request, visitor, "budget", given=asked.given())


@router.get("/budget/answer", tags=[FILE])
def budget_figures(request: Request, visitor: Viewer, asked: Annotated[Budget, Query()]) -> JSONResponse:
    """Tell what a budget buys to the page's own script."""
    try:
        return JSONResponse(budget_answer(current_home(), view_of(request, visitor), asked.given()))
    except UserError as refused:
        return JSONResponse({"problem": refused.problem}, status_code=409)


@router.get("/campaigns")
def campaigns(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show past campaigns."""
    return _part(request, visitor, "campaigns")


@router.get("/recommendations")
def recommendations(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show what is recommended most."""
    return _part(request, visitor, "recommendations")


@router.get("/demand")
def demand(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show what will sell."""
    return _part(request, visitor, "demand")


@router.get("/risk")
def risk(request: Request, visitor: Op) -> HTMLResponse:
    """Show unusual shoppers, to who may decide."""
    return _part(request, visitor, "risk")


@router.post("/measure")
def measure_lift(
    request: Request, visitor: ViewerForm, tasks: BackgroundTasks, asked: Annotated[List, Form()]
) -> RedirectResponse:
    """Begin to measure a lift, once the answer is given."""
    home = current_home()
    need_campaign(home, asked.campaign, asked.as_of)
    tasks.add_task(measure, home, asked.campaign, asked.as_of)
    return back(request, "/marketing/campaigns", "measuring")


@router.post("/download", tags=[FILE])
def download(visitor: ViewerForm, asked: Annotated[List, Form()]) -> Response:
    """Give a list under pseudonyms."""
    return _file(asked, visitor, real_ids=False)


@router.post("/download/real", tags=[FILE])
def download_real(visitor: OpForm, asked: Annotated[List, Form()]) -> Response:
    """Give a list under the shop's own ids."""
    return _file(asked, visitor, real_ids=True)


def _file(asked: List, visitor: Visitor, *, real_ids: bool) -> Response:
    if asked.reason and not visitor.may_decide:
        raise NotAllowedError
    wanted = Wanted(
        as_of=asked.as_of,
        audience=asked.audience or None,
        budget=asked.given(),
        campaign=asked.campaign,
        is_control=asked.part == "control",
        real_ids=real_ids,
        instead=asked.instead,
        reason=asked.reason.strip(),
    )
    file = take_list(current_home(), wanted, who=visitor.name, when=datetime.now(UTC))
    named = f"attachment; filename*=UTF-8''{quote(file.name)}"
    return Response(file.content, media_type="text/csv; charset=utf-8", headers={"content-disposition": named})


def _part(request: Request, visitor: Visitor, part: str, **asked: Any) -> HTMLResponse:
    view = view_of(request, visitor, tab=TAB)
    template, values = make_part(part, current_home(), view, now=datetime.now(UTC), **asked)
    scoring = root_of(request).removesuffix("/behavior") + DAG_PATH
    return page(request, visitor, template, {**values, "scoring_url": scoring}, tab=TAB)
