"""Masking: how much of what tells who somebody is the maskers find, and what a value costs.

In comes the labelled set of the tests and, if one is named, a log; out come precision and recall by kind, microseconds
a value, and the share of masking in the CPU time of reading that log. The set was at hand while the rules were written,
so the figures say what is covered, not how the rules do on texts that nobody has seen.

    python benchmarks/masking.py
    python benchmarks/masking.py --input log.csv --preset canonical
"""

import argparse
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa

from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import Home
from behavior_tasks.data import ingest_piece
from behavior_tasks.data.ingest_part import PartJob, build_part
from behavior_tasks.data.inputs import resolve_inputs
from behavior_tasks.data.maskers import mask_values

ROUNDS = 20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", help="A log; without it: the labelled set alone.")
    parser.add_argument("--preset", default="canonical")
    asked = parser.parse_args()
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from tests.data.personal import figures, read_labelled

    lines = read_labelled()
    print(f"{len(lines)} texts, {sum(line.kind == 'none' for line in lines)} of them hard negatives")
    print(f"{'kind':<10}{'labelled':>9}{'precision':>11}{'recall':>8}")
    for kind, one in figures(lines).items():
        print(f"{kind:<10}{one.labelled:>9}{one.precision:>11.3f}{one.recall:>8.3f}")
    print(f"{_each([line.text for line in lines]):.1f} µs of CPU a value, over the whole set")
    harmless = [line.text for line in lines if line.kind == "none"]
    print(f"{_each(harmless):.1f} µs of CPU a value, over its hard negatives")
    if asked.input:
        total, masking = _share(asked.input, asked.preset)
        print(
            f"ingest of {Path(asked.input).name}: {total:.2f} s of CPU, masking {masking:.2f} s ({masking / total:.1%})"
        )


def _each(texts: list[str]) -> float:
    """Return the CPU time of a value, in microseconds."""
    values = pa.array(texts)
    began = time.process_time()
    for _ in range(ROUNDS):
        mask_values(values)
    return (time.process_time() - began) / ROUNDS / len(texts) * 1e6


def _share(log: str, preset: str) -> tuple[float, float]:
    """Return the CPU seconds of reading a log in this process, and those of masking among them."""
    spent = 0.0
    real = ingest_piece.mask_columns

    def timed(events: pa.Table) -> pa.Table:
        nonlocal spent
        began = time.process_time()
        masked = real(events)
        spent += time.process_time() - began
        return masked

    config = load_config(preset, overrides={"engine.workers": 1, "source.max_bad_fraction": 1})
    ingest_piece.mask_columns = timed  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        (file,) = resolve_inputs(log, config, home)
        job = PartJob(
            file=file,
            config=config.source,
            engine=config.engine,
            artifacts=home.artifacts,
            read_on=date(2026, 11, 23),
            side_tables={},
            key=bytes(32),
        )
        began = time.process_time()
        build_part(job)
        return time.process_time() - began, spent


if __name__ == "__main__":
    main()
