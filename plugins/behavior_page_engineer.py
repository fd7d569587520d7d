"""The engineer's page: routes that read what the champion is and does, and those by which a person decides.

The one thing to know: everything shown comes from finished artifacts, so the page opens while MLflow does not answer.
"""

from behavior_page_access import Viewer
from behavior_page_answers import page
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()


@router.get("/")
def engineer(request: Request, visitor: Viewer) -> HTMLResponse:
    """Show the page."""
    return page(request, visitor, "engineer.html", {}, tab="engineer")
