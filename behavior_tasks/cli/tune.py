"""`behavior tune`: trials of other settings, the best of them as a preset, and what they are worth on test."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console, errors
from behavior_tasks.model.trials import Tried, best_of, finished, in_words, shown_value
from behavior_tasks.pipeline import (
    Run,
    at_work,
    close_tuning_tracking,
    conclude_tuning,
    open_run,
    open_tuning_tracking,
    prepare_tuning,
    start_tuning,
)

INTERRUPTED = 130


def tune(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    study: Annotated[str | None, typer.Option(help="Name of the study (tuning.study); the best is tuned/NAME.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all (tuning.trials).")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at the same time (tuning.workers).")] = None,
    minutes: Annotated[float | None, typer.Option(help="No trial begins after so long (tuning.minutes).")] = None,
) -> None:
    """Search for better settings on validation, then measure the best once on test.

    The same command goes on with a study that was stopped or killed. Next: `behavior run --preset tuned/NAME`.

    Examples:

        behavior tune --input log.csv --trials 16

        behavior tune --study small --set 'tuning.search={train.learning_rate: {low: 1e-4, high: 1e-2, log: true}}'
    """
    asked = {"study": study, "trials": trials, "workers": workers, "minutes": minutes}
    overrides = parse_settings(set) | {f"tuning.{key}": value for key, value in asked.items() if value is not None}
    tuning = load_config(preset, file=config, overrides=overrides).tuning
    uri = start_tuning(
        day=datetime.now(UTC).date(),
        input_path=input,
        preset=preset,
        config_file=str(config) if config else None,
        overrides=overrides,
    )
    console.print(f"Study {tuning.study}: {tuning.trials} trials; Ctrl-C keeps what is finished.", highlight=False)
    open_tuning_tracking(uri)
    try:
        with at_work(open_run(uri)):
            _work(uri, tuning.trials)
            with console.status("measuring the best settings and the defaults on test"):
                conclude_tuning(uri)
    except KeyboardInterrupt:
        # Typer itself would end without a word.
        errors.print("Stopped. What is finished is kept in the study; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        close_tuning_tracking(uri)
    console.print(closing_page(open_run(uri)))


def _work(uri: str, asked: int) -> None:
    from behavior_tasks.pipeline.tune_processes import run_workers

    with console.status("making what all trials read"):
        numbers = prepare_tuning(uri)
    with _showing(asked) as show:
        run_workers(uri, numbers, on_tick=show)


@contextmanager
def _showing(asked: int) -> Iterator[Callable[[Sequence[Tried]], None]]:
    """Give a function that draws the bar and writes a line for every trial that has ended since."""
    told: set[int] = set()
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=asked)

        def show(trials: Sequence[Tried]) -> None:
            ended = finished(trials)
            for trial in ended:
                if trial.number not in told:
                    told.add(trial.number)
                    bar.console.print(
                        in_words(trials, trial.number, asked), highlight=False, markup=False, soft_wrap=True
                    )
            bar.update(task, completed=len(ended), description=_now(trials))

        yield show


def _now(trials: Sequence[Tried]) -> str:
    best = best_of(trials)
    words = [f"best AP {best.value:.4f} (trial {best.number})"] if best is not None else []
    for trial in trials:
        if trial.state == "running":
            words.append(f"trial {trial.number} in epoch {max(trial.epochs, default=0) + 1}")
    return ", ".join(words)


def closing_page(run: Run) -> RenderableType:
    """Return what the command says at the end: the settings, what they are worth, and where to look."""
    name = run.record.config.tuning.study
    folder = run.home.tuning / name
    figures: dict[str, Any] = json.loads((folder / "study.json").read_bytes())
    best, defaults = figures["best"], figures["defaults"]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("setting", "default", "best"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for key, value in best["settings"].items():
        table.add_row(key, shown_value(defaults["settings"][key]), shown_value(value))
    on_validation = (f"{who['validation_average_precision']:.4f}" for who in (defaults, best))
    table.add_row("validation AP", *on_validation)
    words = "\n".join(["Test, which no trial has seen:", *figures["words"]])
    log = f" --input {run.record.input}" if run.record.input else ""
    next_steps = f"Next\n  behavior run --preset tuned/{name}{log}\nReport\n  {folder / 'report.html'}"
    return Group(table, Panel(words, title=f"Study {name}: trial {best['trial']}"), next_steps)
