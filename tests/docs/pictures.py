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
COLOURS = 96
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
                lambda: airflow_api.state(client, DAG_ID, run_id) not in airflow_api.UNFINISHED,
                seconds=900,
            )
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            airflow = browser.new_page(viewport={"width": 2400, "height": 760})
            _graph(airflow, up.airflow, password, run_id)
            _keep(airflow, "airflow-graph.png")
            mlflow = browser.new_page(viewport={"width": 1400, "height": 1000})
            _mlflow_run(mlflow, up.mlflow)
            _keep(mlflow, "mlflow-run.png")
            browser.close()
    finally:
        up.stop(signal.SIGTERM)


def _graph(page: Page, url: str, password: str, run_id: str) -> None:
    page.goto(url)
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")
    page.evaluate(
        "localStorage.setItem('dag_view', '\"graph\"'); localStorage.setItem('dag_view-behavior_training', '\"graph\"')"
    )
    page.goto(f"{url}/dags/{DAG_ID}/runs/{run_id}")
    page.wait_for_timeout(8000)


def _mlflow_run(page: Page, url: str) -> None:
    page.goto(f"{url}/#/experiments/1/runs?viewStateShareKey=behavior")
    page.wait_for_timeout(8000)


def _keep(page: Page, name: str) -> None:
    """Write a picture with few colours."""
    path = IMAGES / name
    page.screenshot(path=path)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size <= MOST_BYTES, f"{name} has {path.stat().st_size:,} bytes"


if __name__ == "__main__":
    take(Path(sys.argv[1]))
