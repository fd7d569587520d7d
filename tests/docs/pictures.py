"""The README's pictures, made anew: a folder with a state folder `var` in it in, two PNG files of `docs/images/` out.

It starts Airflow and MLflow on free ports, runs the DAG once on a small simulated shop, and photographs both pages in
Chromium: `python -m tests.docs.pictures FOLDER`. The one thing to know: a picture is drawn with few colours, so that
the page that shows it stays small.
"""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from behavior_tasks.cli import airflow_api
from behavior_tasks.cli.airflow import DAG_ID, password_file
from tests.up import Up, wait_until

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
SMALL = {
    "simulate.shoppers": 800,
    "model.size": "tiny",
    "train.epochs": 1,
    "gate.audit_events": 0,
    "gate.bootstrap": 200,
}
GROUPS = ("data", "examples", "text", "model", "verdict", "registry")
DAG_RUN = "manual"
CLOSES_ASSISTANT = (1363, 36)
"""Where the cross of MLflow's side panel is; it has no name to be found by."""
RUN_SECONDS, PAGE_SECONDS, SETTLE_MS = 3600, 180, 4000
COLOURS = 256
MOST_BYTES = 200_000


def take(folder: Path) -> None:
    """Run the DAG in `folder/var` and take both pictures."""
    up = Up(folder)
    try:
        up.wait_until_ready()
        password = json.loads(password_file(up.home).read_text())["admin"]
        with airflow_api.connect(up.airflow, "admin", password) as client:
            run_id = airflow_api.trigger(client, DAG_ID, SMALL, datetime.now(UTC))
            wait_until(
                lambda: airflow_api.state(client, DAG_ID, run_id) not in airflow_api.UNFINISHED, seconds=RUN_SECONDS
            )
        photograph(up.airflow, up.mlflow, password, run_id)
    finally:
        up.stop(signal.SIGTERM)


def photograph(airflow: str, mlflow: str, password: str, run_id: str) -> None:
    """Take the picture of a finished DAG run, and that of the newest run in MLflow."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.set_default_timeout(PAGE_SECONDS * 1000)
        graph, run = context.new_page(), context.new_page()
        _show_graph(graph, airflow, password, run_id)
        _keep(graph, "airflow-graph.png")
        _show_run(run, mlflow)
        _keep(run, "mlflow-run.png")
        browser.close()


def _show_graph(page: Page, url: str, password: str, run_id: str) -> None:
    page.set_viewport_size({"width": 2200, "height": 560})
    page.goto(url)
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.get_by_text("Dags").first.wait_for()
    groups = json.dumps(list(GROUPS))
    shown = {"default_dag_view": '"graph"', f"{DAG_ID}/open-groups": groups, f"{DAG_ID}/all-groups": groups}
    page.evaluate("kept => Object.entries(kept).forEach(([key, value]) => localStorage.setItem(key, value))", shown)
    page.goto(f"{url}/dags/{DAG_ID}/runs/{run_id}")
    page.locator(".react-flow__node").nth(len(GROUPS)).wait_for()
    page.get_by_label("Collapse Details Panel").click()
    page.wait_for_timeout(SETTLE_MS)
    page.get_by_label("Fit View").click()
    page.wait_for_timeout(SETTLE_MS)


def _show_run(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    newest = {"experiment_ids": ["1"], "filter": f"tags.dag_run_id LIKE '%{DAG_RUN}%'", "max_results": 1}
    found = httpx.post(f"{url}/api/2.0/mlflow/runs/search", json=newest, timeout=PAGE_SECONDS).json()
    page.goto(f"{url}/#/experiments/1/runs/{found['runs'][0]['info']['run_id']}")
    page.get_by_text("Registered models").first.wait_for()
    if page.get_by_text("MLflow Assistant").count():
        page.mouse.click(*CLOSES_ASSISTANT)
    page.get_by_placeholder("Search metrics").fill("test_")
    page.get_by_text("test_f1").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)


def _keep(page: Page, name: str) -> None:
    """Write a picture with few colours."""
    path = IMAGES / name
    page.screenshot(path=path)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size <= MOST_BYTES, f"{name} has {path.stat().st_size:,} bytes"


if __name__ == "__main__":
    take(Path(sys.argv[1]))
