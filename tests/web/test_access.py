"""Who may do what: every route of the page, for every role; forms of other sessions; the headers."""

import re
import subprocess
import sys

import pytest
from fastapi.routing import APIRoute

from tests.web.door import ANONYMOUS, PLUGINS, ROLES, client, make_app, part

LEVELS = {"viewer": {"viewer", "user", "op", "admin"}, "user": {"user", "op", "admin"}, "op": {"op", "admin"}}


def routes() -> list[APIRoute]:
    page = part("behavior_page").make_page(None)
    return [route for route in page.routes if isinstance(route, APIRoute)]


def level(route: APIRoute) -> tuple[str, bool]:
    """Return the role that a route asks for, and whether it asks for a session's form."""
    access = part("behavior_page_access")
    asked = {getattr(access, f"{name}{form}"): (name, bool(form)) for name in LEVELS for form in ("", "_form")}
    (found,) = [asked[each.call] for each in route.dependant.dependencies if each.call in asked]
    return found


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEHAVIOR_HOME", str(tmp_path_factory.mktemp("home")))
        yield make_app()


def test_every_route_asks_who_it_is_and_acts_only_on_forms():
    page = part("behavior_page").make_page(None)
    assert all(isinstance(route, APIRoute) for route in page.routes), "something else than checked routes is served"
    for route in routes():
        _, form = level(route)
        assert form == (route.methods == {"POST"}), route.path


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{'/'.join(route.methods)} {route.path}")
def test_each_role_reaches_what_is_for_it_and_nothing_else(route, app):
    wanted, form = level(route)
    path = "/behavior" + re.sub(r"\{[^}]*\}", "x", route.path)
    (method,) = route.methods
    for role in (ANONYMOUS, *ROLES):
        answer = client(role, app).request(method, path)
        if role == ANONYMOUS:
            assert answer.status_code == (401 if "file" in route.tags else 303), (role, path)
            assert "login" in answer.headers.get("location", "login")
        elif role not in LEVELS[wanted]:
            assert answer.status_code == 403, (role, path)
        elif form:
            assert answer.status_code == 403, f"{path} took a form without the session's token"
        else:
            assert answer.status_code not in (401, 403), (role, path)


def test_every_answer_keeps_scripts_and_frames_of_others_out(app):
    for path in ("/behavior/", "/behavior/nothing", "/behavior/static/page.js"):
        headers = client("viewer", app).get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_server_of_pages_loads_nothing_that_only_models_need():
    """The page lives in Airflow's own server, whose start is everybody's; DuckDB is light and reads tables."""
    code = f"""
import sys
sys.path.append({str(PLUGINS)!r})
import behavior_page
behavior_page.make_page(None)
print([name for name in ("torch", "sklearn", "skops", "mlflow", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
