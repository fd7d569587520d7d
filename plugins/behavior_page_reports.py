"""Reports that the stages have written, for who is logged in: a run, a day or an application in; its page out.

The one thing to know: a report is shown as it is, so it gets a policy of its own, under which nothing in it can run.
"""

from pathlib import Path

from behavior_page_access import Op, Viewer
from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from behavior_tasks.base.home import current_home
from behavior_tasks.web.reports import OPEN_TO_ALL, RESTRICTED, run_report, served_report, watch_report

router = APIRouter()
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"


@router.get("/runs/{run}/{kind}")
def of_run(run: str, kind: str, visitor: Viewer) -> HTMLResponse:
    """Show a run's report: `data` or `model`."""
    return _shown(run_report(current_home(), run, kind))


@router.get("/watch/{day}")
def of_day(day: str, visitor: Viewer) -> HTMLResponse:
    """Show the page of a watched day."""
    return _shown(watch_report(current_home(), day))


@router.get("/served/{application}/{day}")
def of_application(application: str, day: str, visitor: Viewer) -> HTMLResponse:
    """Show the page of what was handed out."""
    return _shown(served_report(current_home(), application, day) if application in OPEN_TO_ALL else None)


@router.get("/served-restricted/{application}/{day}")
def of_restricted(application: str, day: str, visitor: Op) -> HTMLResponse:
    """Show the page of what only some may see: the risk list."""
    return _shown(served_report(current_home(), application, day) if application in RESTRICTED else None)


def _shown(path: Path | None) -> HTMLResponse:
    if path is None:
        raise HTTPException(404)
    return HTMLResponse(path.read_text(encoding="utf-8"), headers={"content-security-policy": POLICY})
