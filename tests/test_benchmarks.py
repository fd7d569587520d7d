"""The benchmarks run: a table with one line a stage."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "stages.py"


def test_the_stage_benchmark_prints_one_line_a_stage() -> None:
    command = [sys.executable, str(SCRIPT), "--shoppers", "60", "--until", "ingest"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    assert [(line[0], line[1]) for line in lines] == [("60", "simulate"), ("60", "source"), ("60", "ingest")]
    assert all(float(line[2]) >= 0 for line in lines)
    assert all(float(line[5].replace(",", "")) > 0 for line in lines)
