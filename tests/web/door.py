"""The page without Airflow: a door that knows five visitors, and a client for each of them."""

import importlib
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from behavior_tasks.web.view import Visitor

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
ROLES = {
    "viewer": (False, False),
    "user": (True, False),
    "op": (True, True),
    "admin": (True, True),
}
ANONYMOUS = "anonymous"


def part(name: str) -> Any:
    """Import one of the page's modules, which stand in Airflow's plugins folder."""
    if str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))
    return importlib.import_module(name)


class FakeDoor:
    """Knows a visitor by the cookie that would hold Airflow's token; Airflow's REST API says what a test wants."""

    def __init__(self) -> None:
        self.questions: list[dict[str, Any]] = []
        self.answered: list[tuple[str, Any]] = []

    async def visitor(self, request: Request) -> Visitor:
        name = request.cookies.get("_token", "").partition(".")[0]
        if name not in ROLES:
            raise part("behavior_page_access").NotLoggedInError
        may_trigger, may_decide = ROLES[name]
        return Visitor(name=name, may_trigger=may_trigger, may_decide=may_decide)

    def login_url(self, next_url: str) -> str:
        return f"/auth/login?next={next_url}"

    def secret(self) -> bytes:
        return b"a key of the test"

    async def ask_airflow(self, request: Request, method: str, path: str, **options: Any) -> tuple[int, Any]:
        if method == "PATCH":
            self.answered.append((path, options["json"]))
            self.questions.clear()
            return 200, {}
        return 200, {"hitl_details": self.questions}


def make_app(door: FakeDoor | None = None) -> FastAPI:
    """Return the page, mounted as Airflow mounts it."""
    outer = FastAPI()
    outer.mount("/behavior", part("behavior_page").make_page(door or FakeDoor()))
    return outer


def client(role: str, app: FastAPI | None = None, *, session: str = "1") -> TestClient:
    """Return a client that is logged in with a role (or `anonymous`); it follows no redirect."""
    cookies = {} if role == ANONYMOUS else {"_token": f"{role}.{session}"}
    return TestClient(app or make_app(), cookies=cookies, follow_redirects=False, raise_server_exceptions=False)
