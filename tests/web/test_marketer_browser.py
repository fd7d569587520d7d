"""The marketer's page in a real Chromium: the slider by keyboard, a list taken away, Chinese, and a telephone."""

import csv
import io
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.keys import KEY_VARIABLE
from tests.web.door import make_app
from tests.web.marketer_world import scored_once, serve_audiences, serve_products

pytestmark = pytest.mark.slow
pytest.importorskip("playwright")
CHROMIUM = "/usr/bin/chromium"
PHONE = {"width": 390, "height": 844}
PARTS = ("", "/audience/likely", "/budget", "/campaigns", "/recommendations", "/demand", "/risk")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page with the tests' own door, on a free port."""
    home = Home(tmp_path_factory.mktemp("browser") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home.root))
        patch.setenv(KEY_VARIABLE, "07" * 32)
        serve_audiences(home, 3000)
        serve_products(home)
        scored_once(home)
        server = uvicorn.Server(uvicorn.Config(make_app(), host="127.0.0.1", port=0, log_level="error"))
        running = threading.Thread(target=server.run, daemon=True)
        running.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        running.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, site: str) -> Iterator[object]:
    context = browser.new_context(accept_downloads=True, locale="en-GB")
    context.add_cookies([{"name": "_token", "value": "op.1", "url": site}])
    opened = context.new_page()
    refused: list[str] = []
    opened.on("console", lambda said: refused.append(said.text) if _is_fault(said) else None)
    opened.on("pageerror", lambda said: refused.append(str(said)))
    yield opened
    context.close()
    assert refused == [], "neither an error of a script nor something that the policy refuses"


def _is_fault(said) -> bool:
    """Whether something went wrong; an icon that Chromium looks for by itself is none."""
    return said.type == "error" and not said.location["url"].endswith("/favicon.ico")


def test_the_slider_moves_by_keyboard_and_says_what_the_form_says(page, site: str) -> None:
    page.goto(f"{site}/behavior/marketing/budget?margin=0.3&contact_cost=0.1")
    slider = page.locator("#slider")
    before = page.locator("#figure-contacts").inner_text()
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("PageUp")
    wanted = f"{int(slider.input_value()):,}"
    page.wait_for_function("words => document.getElementById('figure-contacts').textContent === words", arg=wanted)
    assert wanted != before
    assert (
        page.locator("#contacts").input_value() == slider.input_value() == page.locator("#take-contacts").input_value()
    )
    names = ("contacts", "control", "buyers", "amount", "profit")
    moved = [page.locator(f"#figure-{name}").inner_text() for name in names]
    page.get_by_role("button", name="Show", exact=True).click()
    assert [page.locator(f"#figure-{name}").inner_text() for name in names] == moved


def test_without_scripts_the_form_does_the_same(browser, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "_token", "value": "viewer.1", "url": site}])
    page = context.new_page()
    page.goto(f"{site}/behavior/marketing/budget")
    assert not page.locator("#slider").is_visible()
    page.fill("#contacts", "123")
    page.get_by_role("button", name="Show", exact=True).click()
    assert page.locator("#figure-contacts").inner_text() == "123"
    context.close()


def test_a_list_is_downloaded_and_read(page, site: str) -> None:
    page.goto(f"{site}/behavior/marketing")
    page.get_by_role("link", name="Likely buyers").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="to contact (CSV)").click()
    content = Path(waiting.value.path()).read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    told = re.search(r"Download the ([\d,]+) to contact", page.content())
    assert told is not None
    assert f"{len(rows):,}" == told[1]
    page.get_by_role("link", name="Campaigns").click()
    assert "Taken by op" in page.locator("main").inner_text()


def test_the_page_speaks_chinese_and_keeps_doing_so(page, site: str) -> None:
    page.goto(f"{site}/behavior/marketing")
    page.get_by_role("link", name="中文").click()
    assert page.locator("h1").inner_text() == "人群"
    page.get_by_role("link", name="预算", exact=True).click()
    assert page.locator("h1").inner_text() == "预算能带来什么"
    assert page.locator("html").get_attribute("lang") == "zh"


@pytest.mark.parametrize("path", PARTS)
def test_nothing_is_wider_than_a_telephone_and_axe_finds_nothing_serious(page, site: str, path: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size(PHONE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{site}/behavior/marketing{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
