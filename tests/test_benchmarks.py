"""The benchmarks run, on a very small log: their tables and the plan that is computed from them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from behavior_tasks.base.tables import connect, quote

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_lines(text: str) -> list[list[str]]:
    """The cells of every line of figures."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [line for line in lines if line[0].replace(",", "").isdigit()]


def test_the_stage_benchmark_prints_one_line_a_stage() -> None:
    lines = table_lines(run("stages.py", "--shoppers", 60, "--until", "ingest"))
    assert [(line[0], line[1]) for line in lines] == [("60", "simulate"), ("60", "source"), ("60", "ingest")]
    assert all(float(line[2]) >= 0 for line in lines)
    assert all(float(line[5].replace(",", "")) > 0 for line in lines)


def test_a_big_log_is_the_same_in_one_file_or_in_daily_ones(tmp_path: Path) -> None:
    run("big_log.py", "--rows", 20_000, "--out", tmp_path / "log.csv")
    run("big_log.py", "--rows", 20_000, "--out", tmp_path / "daily", "--daily")
    whole = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    days = sorted((tmp_path / "daily").iterdir())
    assert [days[0].name, days[-1].name, len(days)] == ["2026-01-05.csv", "2026-04-04.csv", 90]
    parts = [file.read_text(encoding="utf-8").splitlines() for file in days]
    assert [line for part in parts for line in part[1:]] == whole[1:]
    assert all(part[0] == whole[0] for part in parts)
    rows = f"read_csv({quote(tmp_path / 'log.csv')}, all_varchar = true)"
    query = f"""
        SELECT count(*), count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM {rows})),
               count(*) FILTER (user_id IS NULL OR action = 'wishlist' OR timestamp = 'yesterday' OR amount = '-1'),
               max(n) FROM (SELECT *, count(*) OVER (PARTITION BY user_id) AS n FROM {rows})
    """
    count, repeated, bad, most = connect().execute(query).fetchall()[0]
    assert count == 20_000
    assert 30 <= repeated <= 90
    assert 20 <= bad <= 60
    assert most > 10 * 20_000 / 400, "a few shoppers have most of the events"


@pytest.mark.slow
def test_the_erasure_benchmark_says_what_part_of_a_preparation_it_takes() -> None:
    told = run("erasure.py", "--events", 30_000, "--shoppers", 20)
    assert "erasing 20 shoppers" in told
    assert "'encode'" in told, "rows of tokens are gone"
    assert "| 20 tombstones |" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_its_benchmark_says_so_and_claims_nothing() -> None:
    done = subprocess.run([sys.executable, str(FOLDER / "gpu.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no GPU here: " in done.stdout
    assert "|" not in done.stdout


@pytest.mark.soak
def test_the_orchestration_benchmark_reads_the_dags_and_runs_both_ways() -> None:
    told = run("orchestration.py", "--shoppers", 150, "--repeats", 1, "--without-scheduler")
    assert "Heavy modules imported: none. Connections opened: none." in told
    assert "| behavior_training.py | " in told
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if "MLflow |" in line]
    assert len(lines) == 1
    assert float(lines[0][1]) > float(lines[0][4]) > 0
    assert int(lines[0][3]) > 20


@pytest.mark.soak
def test_the_data_benchmark_fills_its_tables_and_the_plan_is_computed_from_it(tmp_path: Path) -> None:
    kept = tmp_path / "measured.json"
    text = run("data.py", "--sizes", 0.02, "--repeats", 1, "--days", 2, "--folder", tmp_path, "--json", kept)
    lines = table_lines(text)
    assert [line[0] for line in lines] == ["20,000"] * 3
    assert all(float(cell.split()[0].rstrip("%").replace(",", "")) > 0 for line in lines for cell in line[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"], "everything else is deleted"
    turn = json.loads(kept.read_text())["sizes"][0]["repeats"][0]
    assert 19_000 < turn["prepare"]["events"] < 20_000

    run("scale_plan.py", "--measured", kept, "--out", tmp_path / "once.md", "--events", 1e9, "--days", 100)
    run("scale_plan.py", "--measured", kept, "--out", tmp_path / "ten.md", "--events", 10e9, "--days", 100)
    once, ten = ((tmp_path / f"{name}.md").read_text(encoding="utf-8") for name in ("once", "ten"))
    assert "{" not in ten
    hours = [float(page.split("clean events, once | ")[1].split(" core")[0].replace(",", "")) for page in (once, ten)]
    assert hours[1] == pytest.approx(10 * hours[0], rel=0.05)
    assert "1 billion events" in once


@pytest.mark.soak
def test_the_scoring_benchmark_compares_equal_probabilities() -> None:
    text = run("scoring.py", "--shoppers", 60, "--repeats", 1, "--threads", 1)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    assert len(lines) == 7
    assert [line[0] for line in lines[:2]] == [
        "transformers.pipeline, default settings",
        "transformers.pipeline, batch_size=32",
    ]
    for words, *figures, difference in lines:
        assert all(float(figure.replace(",", "")) > 0 for figure in figures)
        assert (difference == "other heads") == words.endswith("all heads")
        if difference != "other heads":
            assert float(difference) < 1e-5


@pytest.mark.soak
def test_the_benchmark_of_nights_asks_again_only_what_is_new() -> None:
    lines = table_lines(run("score.py", "--shoppers", 80, "--buckets", 2, "--threads", 1))
    rows, asked = zip(*[(int(line[2].replace(",", "")), int(line[3].replace(",", ""))) for line in lines], strict=True)
    assert [line[1] for line in lines][:2] == ["first night", "the same date again"]
    assert rows[0] == rows[1] == rows[2] == rows[4] > 40
    assert asked[0] == rows[0]
    assert asked[1] == asked[4] == 0
    assert 0 < asked[2] < rows[2] / 5


@pytest.mark.soak
def test_the_encoding_benchmark_finds_the_same_tokens_in_both_ways(tmp_path: Path) -> None:
    lines = table_lines(run("encode.py", "--rows", 0.02, "--cutoffs", 1, "--folder", tmp_path))
    assert [line[4] for line in lines] == ["ours", "Hugging Face"]
    assert lines[0][3] == lines[1][3]


@pytest.mark.soak
def test_the_quality_benchmark_measures_every_model_on_the_same_examples(tmp_path: Path) -> None:
    small = ("simulate.shoppers=200", "simulate.rollouts=64", "model.size=tiny", "train.epochs=1")
    settings = [word for setting in small for word in ("--set", setting)]
    told = run("quality.py", "--data", "simulated", "--trials", 1, "--out", tmp_path, *settings)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line.startswith("| ")]
    cells = {line[0]: line[1:] for line in reversed(lines)}
    prior, best = float(cells["prior"][0]), float(cells["best possible"][0])
    for model in ("recency only", "logistic", "boosting", "LightGBM, tuned", "text model", "blend"):
        assert prior - 0.05 < float(cells[model][0]) < best + 0.15, f"{model} was measured on other examples"
    losses = {name: float(cells[name][3]) for name in ("LightGBM, tuned", "text model", "blend")}
    assert losses["blend"] <= min(losses.values()) + 1e-4, "either alone is among the shares of the blend"
    assert float(cells["prior"][1]) == 0.5
    assert {"boosting in two parts", "text model"} <= cells.keys()
    assert len(list(tmp_path.glob("lightgbm-*.json"))) == 1, "the choice of LightGBM's settings is kept"


@pytest.mark.soak
def test_demand_is_forecast_by_rolling_origin_beside_the_simple_methods(tmp_path: Path) -> None:
    small = ("simulate.shoppers=150", "simulate.products=60", "examples.lookback_days=21", "train.epochs=1")
    settings = [word for setting in (*small, "gate.bootstrap=200") for word in ("--set", setting)]
    text = run("demand.py", "--data", "simulated", "--out", tmp_path, *settings)
    assert "the champion tried on 6 from 2026-03-24" in text
    for method in ("naive", "seasonal naive", "moving average", "fading average", "language model"):
        assert text.count(f"| {method} | product | 6 |") == 2, "gross and net"
    assert text.count("| language model − ") == 2
