"""Write docs/scale.md: what 10 billion events and 100 million shoppers take, computed from measured costs.

    python benchmarks/data.py --sizes 1 20 100 --parts prepare texts --json benchmarks/measured.json
    python benchmarks/scale_plan.py                       reads benchmarks/measured.json, writes docs/scale.md
    python benchmarks/scale_plan.py --events 50e9 --hours 8

Costs are of the largest size in the measurements, in processor time of all processes together; the page's words stand
in scale_plan.md.
"""

import argparse
import json
import pickle
import shlex
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

from behavior_tasks.data.clean import ROWS_PER_BUCKET as BUCKET_EVENTS
from behavior_tasks.data.clean_part import ROWS_PER_RANGE as RANGE_EVENTS
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.data.pieces import PIECE_BYTES

HERE = Path(__file__).resolve().parent
GIB, TIB = 2**30, 2**40
HASH_BYTES_A_SECOND = 1.0e9
"""SHA-256 of one core with SHA instructions, rounded down."""
TASK_SECONDS = 0.2
"""Spark's own time for one task, generous."""
OPEN_SECONDS = 0.02
"""To open a Parquet file on shared storage and read its footer."""
JVM_GIB = 2


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured, per event."""

    rows: int
    prepare_core_us: float
    texts_core_us: float
    raw_bytes: float
    clean_bytes: float
    stored_bytes: float
    """Of all artifacts up to clean events, raw log excluded."""
    text_bytes_a_shopper: float
    worker_gib: float


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall be worked."""

    events: float
    shoppers: float
    days: int
    hours: float
    """In which the first preparation shall be done."""
    cores: int
    """Of one executor."""
    busy: float
    """Share of the time that cores work on our jobs."""


def read_costs(path: Path) -> Costs:
    """Return the costs of the largest measured size."""
    size = max(json.loads(path.read_text(encoding="utf-8"))["sizes"], key=lambda one: one["rows"])
    turns, workers = size["repeats"], size["engine"]["workers"]

    def middle(part: str, key: str) -> float:
        return median(turn[part][key] for turn in turns)

    peak = max(max(turn["prepare"]["peak_mib"], turn["texts"]["peak_mib"]) for turn in turns)
    return Costs(
        rows=size["rows"],
        prepare_core_us=middle("prepare", "cpu_seconds") / size["rows"] * 1e6,
        texts_core_us=middle("texts", "cpu_seconds") / size["rows"] * 1e6,
        raw_bytes=size["raw_bytes"] / size["rows"],
        clean_bytes=middle("prepare", "bytes") / size["rows"],
        stored_bytes=middle("prepare", "stored_bytes") / size["rows"],
        text_bytes_a_shopper=middle("texts", "bytes") / middle("texts", "texts"),
        worker_gib=peak / 1024 / workers,
    )


def figures(costs: Costs, wanted: Wanted) -> dict[str, str]:
    """Return every figure of the page, as text."""
    w, c = wanted, costs
    prepare, texts = w.events * c.prepare_core_us / 3.6e9, w.events * c.texts_core_us / 3.6e9
    pieces, ranges, buckets = w.events * c.raw_bytes / PIECE_BYTES, w.events / RANGE_EVENTS, w.events / BUCKET_EVENTS
    overhead = (pieces + ranges + buckets) * TASK_SECONDS / 3600
    executors = ceil((prepare + texts + overhead) / (w.hours * w.cores * w.busy))
    night = prepare / w.days + texts
    months = ceil(w.days / 30)
    return {
        "events": _big(w.events),
        "shoppers": _big(w.shoppers),
        "days": f"{w.days:,}",
        "day_events": _big(w.events / w.days),
        "hours": f"{w.hours:g}",
        "cores": f"{w.cores}",
        "busy": f"{w.busy:.0%}",
        "measured_events": _big(c.rows),
        "prepare_us": f"{c.prepare_core_us:.2f}",
        "texts_us": f"{c.texts_core_us:.2f}",
        "raw_bytes": f"{c.raw_bytes:.0f}",
        "clean_bytes": f"{c.clean_bytes:.0f}",
        "stored_bytes": f"{c.stored_bytes:.0f}",
        "worker_gib": f"{c.worker_gib:.1f}",
        "prepare_hours": f"{prepare:,.0f}",
        "texts_hours": f"{texts:,.0f}",
        "pieces": f"{pieces:,.0f}",
        "ranges": f"{ranges:,.0f}",
        "buckets": f"{buckets:,.0f}",
        "overhead_hours": f"{overhead:,.1f}",
        "task_seconds": f"{TASK_SECONDS}",
        "executors": f"{executors}",
        "executor_gib": f"{ceil(w.cores * c.worker_gib + JVM_GIB)}",
        "night_hours": f"{night:,.0f}",
        "night_minutes": f"{night / (executors * w.cores * w.busy) * 60:,.0f}",
        "shuffle_tib": f"{w.events * (c.stored_bytes - c.clean_bytes) / TIB:.2f}",
        "raw_tib": f"{w.events * c.raw_bytes / TIB:.2f}",
        "stored_tib": f"{w.events * c.stored_bytes / TIB:.2f}",
        "texts_tib": f"{w.shoppers * c.text_bytes_a_shopper / TIB:.2f}",
        "files": f"{pieces + 3 * ranges + 3 * buckets:,.0f}",
        "range_mib": f"{RANGE_EVENTS * c.clean_bytes / 2**20:.0f}",
        "hash_hours": f"{w.events * c.raw_bytes / HASH_BYTES_A_SECOND / 3600:.1f}",
        "hash_seconds": f"{w.events / w.days * c.raw_bytes / HASH_BYTES_A_SECOND:,.0f}",
        "open_ms": f"{OPEN_SECONDS * 1000:.0f}",
        "months": f"{months}",
        **_reads(buckets, w.days, ""),
        **_reads(buckets / 5, months, "_then"),
        "job_kib": f"{_job_bytes(w.days) / 1024:.0f}",
        "fewer_buckets": f"{buckets / 5:,.0f}",
    }


def _reads(buckets: float, files: int, suffix: str) -> dict[str, str]:
    """What it takes that each bucket reads so many files; the job list stands in Python and in the JVM."""
    return {
        f"opens{suffix}": f"{buckets * files:,.0f}",
        f"opens{suffix}_hours": f"{buckets * files * OPEN_SECONDS / 3600:,.0f}",
        f"driver{suffix}_gib": f"{2 * buckets * _job_bytes(files) / GIB:.2f}",
    }


def _job_bytes(files: int) -> int:
    """Size of one bucket's job as it travels, when its events lie in so many files."""
    return len(pickle.dumps(BucketEvents(files=tuple(map(_file, range(files))))))


def _file(day: int) -> Path:
    return Path(f"/mnt/shared/behavior/artifacts/clean-part/{day:040x}/events/0017.parquet")


def _big(number: float) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:,.1f}".removesuffix(".0") + f" {word}"
    return f"{number:,.0f}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Write the capacity plan from measured costs.")
    parser.add_argument("--measured", type=Path, default=HERE / "measured.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "scale.md")
    parser.add_argument("--events", type=float, default=10e9)
    parser.add_argument("--shoppers", type=float, default=100e6)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--hours", type=float, default=4, help="for the first preparation")
    parser.add_argument("--cores", type=int, default=8, help="of one executor")
    parser.add_argument("--busy", type=float, default=0.6, help="share of the time that cores work on our jobs")
    arguments = parser.parse_args()
    about: dict[str, str] = json.loads(arguments.measured.read_text(encoding="utf-8"))["about"]
    wanted = Wanted(
        events=arguments.events,
        shoppers=arguments.shoppers,
        days=arguments.days,
        hours=arguments.hours,
        cores=arguments.cores,
        busy=arguments.busy,
    )
    told = {
        **figures(read_costs(arguments.measured), wanted),
        **{key: about[key] for key in ("date", "machine", "software")},
        "measured_by": about["command"],
        "command": shlex.join(["python", "benchmarks/scale_plan.py", *sys.argv[1:]]),
    }
    page = (HERE / "scale_plan.md").read_text(encoding="utf-8").format_map(told)
    arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
