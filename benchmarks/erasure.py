"""Measure an erasure of many shoppers against preparing the same log, in the same run.

    python benchmarks/erasure.py                                   1,000 shoppers, 20M events
    python benchmarks/erasure.py --events 2000000
    python benchmarks/erasure.py --events 2000000 --only tombstones

Preparing is everything from the raw file to tokens: source, ingest, clean, cutoffs, features, verbalize, encode (not
the data report and the doctor, which an erasure leaves alone). The erasure is the whole command: pseudonyms, looking
through every artifact, rewriting those that hold somebody, the ledger, and the models' lineage. The log lies in a local
file, which is the user's own and is not rewritten. `tombstones` measures what 1,000 of them cost an ingest.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
from big_log import write_log
from clock import Clock

from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.tables import quote
from behavior_tasks.data.erasures import add_erasure
from behavior_tasks.pipeline import run_stages, start_run
from behavior_tasks.pipeline.privacy.erase import Asked, erase, make_request

ASKED = Asked(who="benchmark", why="measured", when=datetime(2026, 11, 28, tzinfo=UTC))
SETTINGS = {"engine.workers": 2, "model.vocabulary": 4000}
GOAL = 0.25
MOST_TOMBSTONES = 0.03
TURNS = 3


def prepare(log: Path, home: Path, until: str) -> dict[str, float]:
    """Go through the stages in a state folder of its own; return the time they took."""
    os.environ[HOME_VARIABLE] = str(home)
    clock = Clock()
    uri = start_run(
        "benchmark", day=date(2026, 11, 28), trigger="command line", input_path=str(log), overrides=SETTINGS
    )
    run_stages(uri, until=until, without=("report", "doctor"))
    return clock.told()


def some_shoppers(log: Path, count: int) -> list[str]:
    """Return raw ids of the log, drawn evenly among its shoppers."""
    query = f"SELECT DISTINCT user_id FROM read_csv({quote(log)}, all_varchar=true) WHERE user_id IS NOT NULL"
    with duckdb.connect(config={"threads": 1}) as connection:
        ids = sorted(name for (name,) in connection.execute(query).fetchall())
    drawn = np.random.default_rng(7).choice(len(ids), min(count, len(ids)), replace=False)
    return [ids[number] for number in drawn]


def measure_erasure(log: Path, folder: Path, shoppers: Sequence[str]) -> list[str]:
    """Return the lines of the table of an erasure against a preparation."""
    home = Home(folder / "home")
    whole = prepare(log, home.root, "encode")
    clock = Clock()
    request = make_request(home, shoppers, ASKED)
    done = erase(home, load_config(overrides=SETTINGS), request, now=ASKED.when)
    erased = clock.told()
    shutil.rmtree(home.root)
    ratio = erased["seconds"] / whole["seconds"]
    return [
        "| | seconds | CPU seconds |",
        "| --- | --- | --- |",
        f"| preparing: source … encode | {whole['seconds']:.1f} | {whole['cpu_seconds']:.1f} |",
        f"| erasing {len(shoppers):,} shoppers | {erased['seconds']:.1f} | {erased['cpu_seconds']:.1f} |",
        "",
        f"{ratio:.1%} of a preparation by the wall, {erased['cpu_seconds'] / whole['cpu_seconds']:.1%} by the "
        f"processors (goal: at most {GOAL:.0%}); {sum(done.rows.values()):,} rows gone: {done.rows}.",
    ]


def measure_tombstones(log: Path, folder: Path, shoppers: Sequence[str]) -> list[str]:
    """Return the lines of the table of an ingest with and without tombstones, in turns."""
    seconds: dict[str, list[float]] = {"none": [], "some": []}
    for turn in range(2 * TURNS):
        kind = ("none", "some")[turn % 2]
        home = Home(folder / f"{kind}-{turn}")
        if kind == "some":
            # Of others, so that both ingests write the same rows.
            add_erasure(home, make_request(home, [f"late {one}" for one in shoppers], ASKED))
        seconds[kind].append(prepare(log, home.root, "ingest")["cpu_seconds"])
        shutil.rmtree(home.root)
    none, some = (median(seconds[kind]) for kind in ("none", "some"))
    return [
        "| ingest | CPU seconds, median |",
        "| --- | --- |",
        f"| nobody was ever erased | {none:.2f} |",
        f"| {len(shoppers):,} tombstones | {some:.2f} |",
        "",
        f"{some / none - 1:+.1%} (goal: less than {MOST_TOMBSTONES:+.0%}).",
    ]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Measure an erasure against a preparation.")
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--shoppers", type=int, default=1000, help="who are erased, drawn at random")
    parser.add_argument("--only", choices=("erasure", "tombstones"), help="measure one of both")
    parser.add_argument("--folder", type=Path, help="where to work; without it: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        log = folder / "log.csv"
        write_log(arguments.events, log)
        shoppers = some_shoppers(log, arguments.shoppers)
        print(f"{arguments.events:,} events, {len(shoppers):,} shoppers to erase\n")
        for kind, work in (("erasure", measure_erasure), ("tombstones", measure_tombstones)):
            if arguments.only in {None, kind}:
                print("\n".join(work(log, folder, shoppers)) + "\n", flush=True)


if __name__ == "__main__":
    main()
