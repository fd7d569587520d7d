"""Time every data stage on simulated shops of several sizes: seconds, rows a second, peak memory.

    python benchmarks/stages.py                 1,000, 3,000 and 10,000 shoppers, up to the tokens
    python benchmarks/stages.py --shoppers 300 --until cutoffs

Works in a state folder of its own, which is deleted afterwards, so nothing is reused.
"""

import argparse
import os
import tempfile
from datetime import date

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import STAGES, StageRecord, open_run, run_stages, start_run


def measure(shoppers: int, until: str) -> None:
    """Run the stages on one shop and print a line of a Markdown table for each."""
    uri = start_run(
        f"benchmark-{shoppers}",
        day=date(2026, 11, 24),
        trigger="inspection",
        overrides={"simulate.shoppers": shoppers, "simulate.rollouts": 10},
    )
    run = open_run(uri)

    def tell(record: StageRecord) -> None:
        manifest = run.store.open(record.uri).manifest
        rate = manifest.rows.rows_in / manifest.seconds if manifest.seconds else 0.0
        print(
            f"| {shoppers:,} | {record.stage} | {manifest.seconds:.2f} "
            f"| {manifest.rows.rows_in:,} {manifest.rows.unit_in} | {rate:,.0f} | {manifest.peak_memory_mb:,.0f} |",
            flush=True,
        )

    run_stages(uri, until=until, on_end=tell)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Time every data stage on simulated shops.")
    parser.add_argument("--shoppers", type=int, nargs="+", default=[1_000, 3_000, 10_000])
    parser.add_argument("--until", choices=list(STAGES), default="encode", help="the last stage")
    arguments = parser.parse_args()
    print("| shoppers | stage | seconds | rows in | rows/s | peak MB of the process so far |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shoppers in arguments.shoppers:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[HOME_VARIABLE] = folder
            measure(shoppers, arguments.until)


if __name__ == "__main__":
    main()
