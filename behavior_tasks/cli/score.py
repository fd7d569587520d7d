"""`behavior score`: all stages that serve, in this process or as the DAG through Airflow, then the closing page."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import read_as_of
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import LEVEL_STYLES, console, count
from behavior_tasks.cli.stages import follow_dag, say_stage, start_now
from behavior_tasks.pipeline import SERVING, Run, open_run, serve_stages
from behavior_tasks.pipeline.serving import Scoring, chosen_stages, conclude_scoring
from behavior_tasks.pipeline.stages import Stage
from behavior_tasks.serve.banners import EXIT_CODE, needs_a_look

FAILED = 2
WIDTH = 15
"""Of the names of stages."""


def score(
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="The day at whose beginning the shop is looked at; without it: the day after the log's last event.",
        ),
    ] = None,
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="APPLICATION", help="Only this one, and what it needs; may be repeated."),
    ] = None,
    through_airflow: Annotated[
        bool, typer.Option("--airflow", help="Run the DAG behavior_scoring through Airflow instead of here.")
    ] = False,
) -> None:
    """Ask the champions about every shopper, and hand out scores, audiences, recommendations, demand and risk.

    Exit code 0: all is handed out. 2: something failed; the others are handed out, and what it gave before is still
    there. 3: all is handed out, and a banner says that somebody should look before they use it.

    Examples:

        behavior score --input log.csv.gz --preset taobao

        behavior score --input log.csv --as-of 2026-11-23

        behavior score --input log.csv --only audiences
    """
    settings, day, stages = parse_settings(set), read_as_of(as_of), chosen_stages(only or ())
    # Wrong settings are refused here, before Airflow or a database is started.
    load_config(preset, file=config, overrides=settings)
    asked = {"input": input, "preset": preset, "config_file": str(config) if config else None}
    if through_airflow:
        if only:
            raise UserError("The DAG makes every application.", next_step="leave out --only, or --airflow")
        filled = {key: value for key, value in {**asked, "as_of": as_of, **settings}.items() if value is not None}
        run = _through_airflow(filled)
        scoring = conclude_scoring(run.uri)
    else:
        run, scoring = _here(asked, settings, day, stages)
    console.print(closing_page(run, scoring))
    if scoring.failed:
        raise typer.Exit(FAILED)
    if needs_a_look(scoring.banners):
        raise typer.Exit(EXIT_CODE)


def _here(
    asked: dict[str, Any], settings: dict[str, Any], day: date | None, stages: dict[str, Stage]
) -> tuple[Run, Scoring]:
    """Run the stages in this process and show each when it is done."""
    uri = start_now("scoring", asked, settings, as_of=day)
    run = open_run(uri)
    with console.status("starting") as status:
        scoring = serve_stages(
            uri,
            stages=stages,
            on_start=lambda name: status.update(name),
            on_end=lambda record: say_stage(run, record, width=WIDTH),
            on_failure=_say_failed,
        )
    return run, scoring


def closing_page(run: Run, scoring: Scoring) -> RenderableType:
    """Return what a person wants to know at the end of a scoring."""
    models = ", ".join(version for version in scoring.champions.values() if version)
    table = Table(
        title=f"As of {scoring.as_of}, by {models}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("handed out", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("where, in the state folder", overflow="fold")
    for served in scoring.served:
        rows = run.store.open(served.artifact).manifest.rows.rows_out
        table.add_row(served.application, count(rows), str(served.folder.relative_to(run.home.root)))
    parts: list[RenderableType] = [table]
    parts += [Text(f"{b.level}: {b.words}\n  next: {b.next_step}", LEVEL_STYLES[b.level]) for b in scoring.banners]
    parts += [Text(f"{name} failed.\n  {why}", "red") for name, why in scoring.failed.items()]
    there = [served.application for served in scoring.served if served.application in READ_WITH]
    lines = [f"  {READ_WITH[name]}\n" for name in there]
    parts.append(Text.assemble(("Next\n", "bold"), *lines, "  behavior status\n", f"  run id: {run.record.run_id}"))
    return Group(*parts)


READ_WITH = {
    "audiences": "behavior audiences",
    "recommendations": "behavior recommend",
    "demand": "behavior demand",
    "risk": "behavior risk",
}
"""Application → the command that shows it."""


def _through_airflow(asked: dict[str, Any]) -> Run:
    """Run the DAG and show each stage when it is done.

    Raises:
        UserError: when it did not come as far as the first application.
    """
    result = follow_dag(airflow.SCORING_DAG, asked, datetime.now(UTC), stages=len(SERVING), width=WIDTH)
    if result.run_id is None:
        raise UserError(
            "The DAG run failed before its first task was done.",
            found=processes.last_lines(result.log) if result.log else "the failed task's log in Airflow says why",
            next_step="behavior score, without --airflow, says more",
        )
    return open_run(result.run_id)


def _say_failed(name: str, why: str) -> None:
    console.print(f"  {name:<{WIDTH}} {'failed':>9}  {why.partition(chr(10))[0]}", style="red", highlight=False)
