"""The page's style sheet, script and icons: a known name in, the file out.

The one thing to know: they are for who is logged in, as everything else, so that no route needs an exception.
"""

from behavior_page_access import Viewer
from behavior_page_answers import FILE
from fastapi import APIRouter
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from behavior_tasks.web.style import STATIC, sheet

router = APIRouter(prefix="/static", tags=[FILE])
KINDS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "marketer.js": "text/javascript",
    "models.svg": "image/svg+xml",
}
KINDS |= {"marketing.svg": "image/svg+xml"}
KEPT = {"cache-control": "private, max-age=600"}


@router.get("/{name}")
def static(name: str, visitor: Viewer) -> Response:
    """Return one of the files that the page is made with."""
    if name not in KINDS:
        raise HTTPException(404)
    content = sheet() if name == "page.css" else (STATIC / name).read_text(encoding="utf-8")
    return Response(content, media_type=KINDS[name], headers=KEPT)
