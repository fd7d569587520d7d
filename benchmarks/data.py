"""Measure the data layer against DuckDB's own speed and print the result as Markdown tables.

    python benchmarks/data.py                                              1M events, 3 repeats
    python benchmarks/data.py --sizes 1 20 100 --repeats 3 --json measured.json
    python benchmarks/data.py --sizes 20 --parts texts

Ours and DuckDB's take turns, each step in a fresh process, and a ratio is of two steps of one turn; medians are shown.
The log of each size is written first (`big_log.py`), and deleted afterwards with everything but what `--json` keeps.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import psutil
from big_log import BYTES_A_ROW, DAYS, refuse_full_disk, write_log
from fresh import Measured, run_step

PARTS = ("prepare", "texts", "days")
EVENTS_A_BUCKET = 300_000
THREADS = 2
DUCKDB_MB = 4_000
SPACE_FACTOR = 8
"""Disk space needed, as a multiple of the raw log: the log, the artifacts, DuckDB's own file, what spills; generous."""
MOST_MIB = 4096
Numbers = dict[str, Any]


def measure_size(rows: int, arguments: argparse.Namespace, folder: Path) -> Numbers:
    """Return all measurements of one size, every repeat of them."""
    parts, repeats = arguments.parts, range(arguments.repeats)
    engine = {
        "buckets": max(1, round(rows / EVENTS_A_BUCKET)),
        "workers": THREADS,
        "memory_mb": arguments.memory_mb,
    }
    numbers: Numbers = {"rows": rows, "engine": engine, "repeats": []}
    if "prepare" in parts or "texts" in parts:
        log = folder / "log.csv"
        write_log(rows, log)
        numbers["raw_bytes"] = log.stat().st_size
        numbers["repeats"] = [_one_turn(log, folder / "turn", parts, engine) for _ in repeats]
        log.unlink()
    if "days" in parts:
        numbers["daily_files"] = arguments.days
        numbers["days"] = [_days(rows, arguments.days, folder / "days", engine) for _ in repeats]
    return numbers


def _one_turn(log: Path, folder: Path, parts: Sequence[str], engine: Numbers) -> Numbers:
    home, turn = folder / "home", {}
    given = {"home": home, "run_id": "benchmark"}
    folder.mkdir()
    turn["prepare"] = _told(run_step("prepare", log=log, engine=engine, **given))
    _say(f"prepare: {turn['prepare']['seconds']:.1f} s, {turn['prepare']['peak_mib']:,.0f} MiB")
    if "prepare" in parts:
        own = run_step("sort_with_duckdb", log=log, out=folder / "own.parquet", threads=THREADS, memory_mb=DUCKDB_MB)
        turn["prepare_duckdb"] = _told(own)
        (folder / "own.parquet").unlink()
    if "texts" in parts:
        run_step("make_examples", out=folder / "examples", **given)
        ours = run_step("write_our_texts", examples=folder / "examples", out=folder / "texts", engine=engine, **given)
        own = run_step("write_duckdb_texts", out=folder / "own", threads=THREADS, memory_mb=DUCKDB_MB, **given)
        turn |= {"texts": _told(ours), "texts_duckdb": _told(own)}
        turn["texts"]["bytes"] = sum(file.stat().st_size for file in (folder / "texts").iterdir())
        assert ours.answer["texts"] == own.answer["texts"]
        _say(f"texts: {ours.seconds:.1f} s, {ours.peak_mib:,.0f} MiB")
    shutil.rmtree(folder)
    return turn


def _days(rows: int, days: int, folder: Path, engine: Numbers) -> Numbers:
    """Prepare daily files, then one more, then the same again; and all of them at once elsewhere."""
    files = write_log(rows * (days + 1) // days, folder / "log", daily=True, days=days + 1)
    aside = files[-1].rename(folder / files[-1].name)
    given = {"log": folder / "log", "home": folder / "home", "engine": engine}
    first = run_step("prepare", run_id="first", **given)
    aside.rename(files[-1])
    steps = {
        "first": first,
        "one_more": run_step("prepare", run_id="second", **given),
        "unchanged": run_step("prepare", run_id="third", **given),
        "whole": run_step("prepare", run_id="whole", **{**given, "home": folder / "other"}),
    }
    assert steps["one_more"].answer["events"] == steps["whole"].answer["events"]
    shutil.rmtree(folder)
    return {name: _told(step) for name, step in steps.items()}


def _told(step: Measured) -> Numbers:
    return {"seconds": step.seconds, "peak_mib": step.peak_mib, **step.answer}


def tables(sizes: Sequence[Numbers]) -> str:
    """Return the Markdown tables of all sizes."""
    lines = []
    if any("prepare_duckdb" in turn for size in sizes for turn in size["repeats"]):
        lines += _against(
            sizes, "prepare", "Raw CSV to clean, sorted, pseudonymous Parquet, against read + sort + write", 3
        )
    if any("texts" in turn for size in sizes for turn in size["repeats"]):
        lines += _against(sizes, "texts", f"Last-{40} texts, against DuckDB's own bucketed text", 2)
    if any("days" in size for size in sizes):
        lines += [
            "",
            "### Daily files, then one more day",
            "| events | daily files | one more, all at once, s | one more day, s | share (goal ≤ 10 %) "
            "| nothing new, s | share (goal ≤ 5 %) |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_days_line(size) for size in sizes if "days" in size]
    return "\n".join(lines)


def _against(sizes: Sequence[Numbers], part: str, title: str, goal: float) -> list[str]:
    lines = [
        "",
        f"### {title}",
        f"| events | ours, s | DuckDB, s | ratio (goal ≤ {goal}) | ratio of CPU time | µs an event "
        f"| of the first line's (goal ≤ 1.15) | peak MiB, ours (goal ≤ {MOST_MIB:,}) | peak MiB, DuckDB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    costs = [_median(size, part, "seconds") / size["rows"] * 1e6 for size in sizes]
    for size, cost in zip(sizes, costs, strict=True):
        ratios = [turn[part]["seconds"] / turn[f"{part}_duckdb"]["seconds"] for turn in size["repeats"]]
        cpu = median(turn[part]["cpu_seconds"] / turn[f"{part}_duckdb"]["cpu_seconds"] for turn in size["repeats"])
        lines.append(
            f"| {size['rows']:,} | {_median(size, part, 'seconds'):.2f} "
            f"| {_median(size, part + '_duckdb', 'seconds'):.2f} "
            f"| {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {cpu:.2f} | {cost:.2f} | {cost / costs[0]:.2f} "
            f"| {_most(size, part):,.0f} | {_most(size, part + '_duckdb'):,.0f} |"
        )
    return lines


def _days_line(size: Numbers) -> str:
    def seconds(name: str) -> float:
        return median(turn[name]["seconds"] for turn in size["days"])

    def share(name: str) -> float:
        return median(turn[name]["seconds"] / turn["whole"]["seconds"] for turn in size["days"])

    return (
        f"| {size['rows']:,} | {size['daily_files']} | {seconds('whole'):.1f} | {seconds('one_more'):.2f} "
        f"| {share('one_more'):.1%} | {seconds('unchanged'):.2f} | {share('unchanged'):.1%} |"
    )


def _median(size: Numbers, part: str, key: str) -> float:
    return median(turn[part][key] for turn in size["repeats"])


def _most(size: Numbers, part: str) -> float:
    return max(turn[part]["peak_mib"] for turn in size["repeats"])


def about(command: str, repeats: int, today: date) -> Mapping[str, str]:
    """Return what a reader must know to repeat the measurement."""
    return {
        "command": command,
        "date": today.isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "software": f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, {platform.system()}",
        "repeats": f"{repeats}; medians; ratios within one turn; memory: the most of the sum of PSS over all processes",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Measure the data layer against DuckDB's own speed.")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1], help="millions of events")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--days", type=int, default=DAYS, help="daily files before one more comes")
    parser.add_argument("--memory-mb", type=int, default=1024, help="engine.memory_mb of each of the two workers")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to work; a new folder in it is made and deleted"
    )
    parser.add_argument("--json", type=Path, default=None, help="keep the measurements, for scale_plan.py")
    arguments = parser.parse_args()
    rows = [round(size * 1e6) for size in sorted(arguments.sizes)]
    sizes = []
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="behavior-benchmark-") as name:
        refuse_full_disk(Path(name), SPACE_FACTOR * BYTES_A_ROW * max(rows), what=f"{max(rows):,} events")
        for count in rows:
            _say(f"{count:,} events …")
            sizes.append(measure_size(count, arguments, Path(name)))
    told = about(shlex.join(["python", *sys.argv]), arguments.repeats, date.today())
    print("\n".join(f"- {key}: {value}" for key, value in told.items()))
    print(tables(sizes))
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": told, "sizes": sizes}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
