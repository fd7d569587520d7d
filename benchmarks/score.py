"""Score every shopper of a shop, night after night: how long, how much memory, how much is asked again.

    python benchmarks/score.py                      9,000 simulated shoppers: about a million events
    python benchmarks/score.py --shoppers 300 --buckets 2
    python benchmarks/score.py --input uci_online_retail.csv.gz --preset online_retail

The champion has random weights, on which neither time nor memory depends; its settings are the default ones. Each line
is a process of its own: the first night, the same date again, the same date with a log in which one shopper in twenty
has a further event, the next day, and features and texts without the model. "asked" are the texts that the model read.
"""

import argparse
import os
import shutil
import tempfile
from datetime import date
from pathlib import Path

from fresh import Measured, run_step
from scoring import Case, write_bundle

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.model.event_folder import save_event_folder
from behavior_tasks.pipeline import open_run, run_stages, start_run
from behavior_tasks.text.verbalize import SETTINGS_FILE

STEPS = Path(__file__).with_name("score_steps.py")
DAY = date(2026, 11, 24)
NOT_NEEDED = ("report", "doctor")


def prepare(root: Path, arguments: argparse.Namespace, buckets: list[int]) -> dict[int, Path]:
    """Make a champion and, for each number of buckets, the clean events; return the folders of the latter."""
    os.environ[HOME_VARIABLE] = str(root / "state")
    settings = {"simulate.shoppers": arguments.shoppers, "simulate.rollouts": 10, "examples.train_cutoffs": 1}
    settings |= {"examples.unit": arguments.unit, "engine.workers": 1}
    cleaned: dict[int, Path] = {}
    for count in buckets:
        uri = start_run(
            f"benchmark-{count}",
            day=DAY,
            trigger="inspection",
            input_path=arguments.input,
            preset=arguments.preset,
            overrides={**settings, "engine.buckets": count},
        )
        run = open_run(uri)
        made = run_stages(uri, until="clean" if cleaned else "encode", without=NOT_NEEDED)
        artifacts = {name: run.store.open(of) for name, of in made.items()}
        if not cleaned:
            _write_champion(root, artifacts, run.record.config)
        cleaned[count] = artifacts["clean"].path
    return cleaned


def _write_champion(root: Path, artifacts: dict[str, Artifact], config: Config) -> None:
    write_bundle(Case(root=root, encoded=artifacts["encode"].path, settings=config.model), "model", all_heads=True)
    shutil.copy(artifacts["verbalize"].path / SETTINGS_FILE, root / "model")
    save_event_folder(
        root / "events",
        source=config.source,
        examples=config.examples,
        clean=artifacts["clean"],
        features=artifacts["features"],
    )


def measure(root: Path, cleaned: dict[int, Path], threads: int) -> None:
    """Measure the nights, and print a Markdown table."""
    print("| buckets | night | rows | asked | seconds | CPU seconds | rows a CPU second | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for buckets, clean in cleaned.items():
        nights = (("first night", "first"), ("the same date again", "first"), ("1 in 20 has a further event", "late"))
        for words, night in (*nights, ("next day", "next"), ("features and texts alone", "texts")):
            told = run_step(
                "score", script=STEPS, root=root, clean=clean, night=night, buckets=buckets, threads=threads
            )
            print(_line(buckets, words, told), flush=True)


def _line(buckets: int, words: str, told: Measured) -> str:
    answer = told.answer
    speed = answer["rows"] / max(answer["cpu_seconds"], 0.01)
    return (
        f"| {buckets} | {words} | {answer['rows']:,} | {answer['asked']:,} | {told.seconds:.1f} "
        f"| {answer['cpu_seconds']:.1f} | {speed:,.0f} | {told.peak_mib:,.0f} |"
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Score every shopper of a shop, night after night.")
    parser.add_argument("--shoppers", type=int, default=9000)
    parser.add_argument("--input", help="a log instead of the simulated shop")
    parser.add_argument("--preset", default="canonical", help="how the log is read")
    parser.add_argument("--unit", choices=("shopper", "shopper_product"), default="shopper")
    parser.add_argument("--buckets", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        measure(root, prepare(root, arguments, arguments.buckets), arguments.threads)


if __name__ == "__main__":
    main()
