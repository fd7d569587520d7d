"""`behavior simulate`: a simulated shop's log as a file, with the best score anyone could reach on it."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.cli.inspection import start_inspection
from behavior_tasks.cli.options import Settings, parse_settings
from behavior_tasks.cli.screen import console, count, figure
from behavior_tasks.pipeline import open_run, run_stage


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the log and its best possible score.")],
    shoppers: Annotated[int | None, typer.Option(help="Number of shoppers.")] = None,
    days: Annotated[int | None, typer.Option(help="Length of the log in days.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed; the same seed writes the same bytes.")] = None,
    set: Settings = None,
) -> None:
    """Write the log of a simulated shop, and what a perfect reader of it could score.

    Examples:

        behavior simulate --out shop

        behavior simulate --out shop --shoppers 500 --days 60 --seed 3
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file.", expected="a folder, or a new name", next_step="choose another --out")
    asked = {"simulate.shoppers": shoppers, "simulate.days": days, "simulate.seed": seed}
    chosen = {**parse_settings(set), **{k: v for k, v in asked.items() if v is not None}}
    uri = start_inspection("simulate", overrides=chosen)
    with console.status("simulating"):
        artifact = open_run(uri).store.open(run_stage("simulate", uri))
    out.mkdir(parents=True, exist_ok=True)
    for name in ("events.csv", "oracle.parquet", "oracle.json"):
        shutil.copyfile(artifact.path / name, out / name)
    best = json.loads((out / "oracle.json").read_bytes())["test"]
    console.print(f"{out / 'events.csv'}: {count(artifact.manifest.rows.rows_out)} rows", highlight=False)
    console.print(
        f"Best possible on its test split ({count(best['examples'])} shoppers, {count(best['buyers'])} buyers): "
        f"AP {figure(best['average_precision'])}, F1 {figure(best['f1'])}, log-loss {figure(best['log_loss'])}",
        highlight=False,
    )
    console.print(f"Next: behavior run --input {out / 'events.csv'}", markup=False, highlight=False)
