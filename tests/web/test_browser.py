"""The page in a real Airflow and a real Chromium: log in, look, roll back, lose the session, log out."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from behavior_tasks.base.home import Home
from behavior_tasks.cli.airflow import password_file
from behavior_tasks.registry import ledger
from behavior_tasks.registry.actions import read_actions
from tests.up import Up, wait_until
from tests.web.door import part
from tests.web.seeded import HOSTILE, seed

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CHROMIUM = Path("/usr/bin/chromium")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
USERS = {"admin": "admin", "vera": "viewer", "ulf": "user", "olga": "op"}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
RUNS = "/api/v2/dags/behavior_training/dagRuns"
SECONDS = 1000
PATIENT = 120 * SECONDS


class Site:
    """A running Airflow with the page, and a browser."""

    def __init__(self, up: Up, browser) -> None:
        self.up, self.browser = up, browser
        self.passwords = json.loads(password_file(up.home).read_text())

    @property
    def url(self) -> str:
        return self.up.airflow

    def token(self, name: str) -> str:
        asked = {"username": name, "password": self.passwords[name]}
        return httpx.post(f"{self.url}/auth/token", json=asked, timeout=60).json()["access_token"]

    def client(self, name: str | None) -> httpx.Client:
        cookies = {"_token": self.token(name)} if name else {}
        return httpx.Client(base_url=self.url, cookies=cookies, timeout=60)

    def visit(self, name: str, *, size: dict[str, int] = WIDE, dark: bool = False):
        """Return a page of a browser in which somebody is logged in already."""
        context = self.browser.new_context(viewport=size, color_scheme="dark" if dark else "light")
        context.set_default_timeout(PATIENT)
        context.add_cookies([{"name": "_token", "value": self.token(name), "url": self.url, "httpOnly": True}])
        return context.new_page()


@pytest.fixture(scope="module")
def site(shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not CHROMIUM.is_file():
        pytest.skip("chromium is not installed")
    folder = tmp_path_factory.mktemp("page")
    seed(Home(folder / "var"), shop)
    users = ",".join(f"{name}:{role}" for name, role in USERS.items())
    up = Up(folder, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=users)
    try:
        up.wait_until_ready()
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
            yield Site(up, browser)
            browser.close()
    finally:
        if up.process.poll() is None:
            up.stop(signal.SIGTERM)


def keep_picture(page, name: str) -> None:
    """Take a screenshot for the docs, where BEHAVIOR_PICTURES asks for one."""
    if os.environ.get("BEHAVIOR_PICTURES"):
        page.screenshot(path=IMAGES / f"{name}.png", full_page=True)


def serious(page) -> list[str]:
    """Return axe's serious and critical findings."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_airflows_own_roles_hold_on_every_kind_of_route(site):
    with site.client(None) as nobody:
        assert nobody.get("/behavior/static/page.css").status_code == 401
        login = nobody.get("/behavior/")
        assert login.status_code == 303
        assert "/auth/login" in login.headers["location"]
        assert nobody.get("/behavior/openapi.json").status_code == 303
    rollback = "/behavior/rollback?model=behavior&to=1"
    for name in ("vera", "ulf"):
        with site.client(name) as client:
            shown = client.get("/behavior/")
            assert shown.status_code == 200
            assert HOSTILE not in shown.text
            assert "Roll back" not in shown.text
            assert client.get(rollback).status_code == 403
            assert client.post("/behavior/rollback", data={"model": "behavior", "to": "1"}).status_code == 403
    for name in ("olga", "admin"):
        with site.client(name) as client:
            assert client.get(rollback).status_code == 200
            assert client.post("/behavior/rollback", data={"model": "behavior", "to": "1"}).status_code == 403
    assert len(ledger.read(site.up.home)) == 2


def test_page_opens_in_airflows_navigation_for_who_logs_in(site):
    context = site.browser.new_context(viewport=WIDE)
    context.set_default_timeout(PATIENT)
    page = context.new_page()
    page.goto(f"{site.url}/behavior/")
    page.locator("input[name=username]").fill("olga")
    page.locator("input[name=password]").fill(site.passwords["olga"])
    page.locator("button[type=submit]").click()
    page.wait_for_url("**/behavior/")
    assert page.get_by_role("heading", name="Models").is_visible()
    page.goto(f"{site.url}/plugin/behavior")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Open alerts").wait_for()
    assert page.get_by_text("Marketing").count() >= 1
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()
    frame.get_by_role("heading", name="Open alerts").wait_for()
    dark = frame.locator("html").evaluate("node => getComputedStyle(node).getPropertyValue('--ground').trim()")
    assert dark == part("behavior_page_static").sheet().split('data-theme="dark"')[1].split("--ground:")[1][:8].strip()
    page.goto(f"{site.url}/api/v2/auth/logout")
    page.goto(f"{site.url}/behavior/")
    page.locator("input[name=username]").wait_for()
    context.close()


@pytest.mark.parametrize(
    ("size", "dark", "name"), [(WIDE, False, "page-engineer"), (PHONE, True, "page-engineer-phone")]
)
def test_page_reads_well_and_has_no_serious_finding(site, size, dark, name):
    page = site.visit("olga", size=size, dark=dark)
    page.goto(f"{site.url}/behavior/")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "page"
    page.evaluate("document.activeElement.blur()")
    keep_picture(page, name)
    page.get_by_role("link", name="中文").click()
    assert page.locator("html").get_attribute("lang") == "zh"
    page.context.close()


def test_rollback_asks_first_and_then_stands_in_the_ledger_under_the_visitors_name(site):
    page = site.visit("olga")
    page.goto(f"{site.url}/behavior/")
    page.get_by_role("link", name="Roll back to version 1").first.click()
    page.get_by_label("Why").fill(f"calls everybody a buyer {HOSTILE}")
    kept = page.context.cookies()
    page.context.clear_cookies()
    page.get_by_role("button", name="Roll back now").click()
    page.locator("input[name=username]").wait_for()
    assert len(ledger.read(site.up.home)) == 2, "something was done without a session"
    page.context.add_cookies(kept)
    page.goto(f"{site.url}/behavior/?said=expired")
    assert page.get_by_text("nothing was done").is_visible()
    page.get_by_role("link", name="Roll back to version 1").first.click()
    assert serious(page) == []
    page.get_by_label("Why").fill(f"calls everybody a buyer {HOSTILE}")
    page.get_by_role("button", name="Roll back now").click()
    page.get_by_text("The champion was changed").wait_for()
    last = ledger.read(site.up.home)[-1]
    assert (last["kind"], last["who"], last["version"]) == ("rollback", "olga", "1")
    (done,) = read_actions(site.up.home)
    assert (done["who"], done["action"], done["outcome"]) == ("olga", "rollback", "done")
    page.context.close()


def test_form_tells_what_is_wrong_and_starts_what_is_right(site):
    page = site.visit("admin")
    page.goto(f"{site.url}/dags/behavior_training")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("Horizon (days)").wait_for()
    page.get_by_role("button", name="The log", exact=True).click()
    zone = page.locator("input[name='element_source.timezone']")
    zone.fill("Nowhere/City")
    trigger = page.get_by_role("dialog").get_by_role("button", name="Trigger").last
    trigger.click()
    page.get_by_text("is not a time zone").first.wait_for()
    with site.client("admin") as client:
        assert client.get(RUNS).json()["total_entries"] == 0, "a wrong form started a run"
        zone.fill("Asia/Shanghai")
        trigger.press("Enter")  # the message about the mistake may lie over the button
        page.wait_for_url("**/behavior_training/runs/**")
        page.get_by_text("Running").first.wait_for()
        (run,) = client.get(RUNS).json()["dag_runs"]
        assert run["conf"]["source.timezone"] == "Asia/Shanghai"
        start = f"{RUNS}/{run['dag_run_id']}/taskInstances/start"
        wait_until(lambda: client.get(start).json()["state"] == "success", seconds=180)
        page.locator("a", has_text="start").first.wait_for()
        client.patch(f"{RUNS}/{run['dag_run_id']}", json={"state": "failed"}).raise_for_status()
    page.context.close()
