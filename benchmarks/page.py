"""How long the marketer's page takes at a million shoppers: a number of shoppers in; milliseconds a view out.

    PYTHONPATH=. python benchmarks/page.py --shoppers 1000000

The one thing to know: the views are asked through the page's own routes, with the door of the tests in place of
Airflow's, so what Airflow adds to every request is not in the figures. Processor time stands beside the clock, for a
busy machine.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.keys import KEY_VARIABLE
from tests.web.door import client
from tests.web.marketer_world import scored_once, serve_audiences, serve_products

VIEWS = {
    "audiences": "",
    "one audience": "/audience/likely",
    "budget": "/budget?contacts=50000&contact_cost=0.1&margin=0.3",
    "slider": "/budget/answer?contacts=51000&contact_cost=0.1&margin=0.3",
    "slider, 1,900 contacts": "/budget/answer?contacts=1900",
    "campaigns": "/campaigns",
    "recommendations": "/recommendations",
    "demand": "/demand",
    "risk": "/risk",
}
TIMES = 7


def main() -> None:
    """Print a line a view."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--shoppers", type=int, default=1_000_000)
    shoppers = options.parse_args().shoppers
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        os.environ |= {HOME_VARIABLE: str(home.root), KEY_VARIABLE: "07" * 32}
        began = time.process_time()
        served = serve_audiences(home, shoppers)
        serve_products(home)
        scored_once(home)
        sizes = sum(file.stat().st_size for file in served.folder.glob("budget-*.npy"))
        print(
            f"{shoppers:,} shoppers handed out, {time.process_time() - began:.0f} s of processor; "
            f"budgets {sizes / 1e6:.0f} MB",
            flush=True,
        )
        who = client("op")
        for name, path in VIEWS.items():
            told = [_once(who, f"/behavior/marketing{path}") for _ in range(1 + TIMES)]
            wall, cpu = ([1000 * one[at] for one in told] for at in (0, 1))
            print(
                f"{name:<24} median {statistics.median(wall[1:]):6.0f} ms, first {wall[0]:6.0f} ms; "
                f"processor median {statistics.median(cpu[1:]):6.0f} ms",
                flush=True,
            )


def _once(who: TestClient, path: str) -> tuple[float, float]:
    began = time.perf_counter(), time.process_time()
    found = who.get(path)
    assert found.status_code == 200, found.text[:500]
    return time.perf_counter() - began[0], time.process_time() - began[1]


if __name__ == "__main__":
    main()
