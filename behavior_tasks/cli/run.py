"""`behavior run`: all stages, in this process or as the DAG through Airflow, then the closing page."""

import getpass
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markdown import Markdown

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.report import closing_page
from behavior_tasks.cli.screen import console
from behavior_tasks.cli.stages import follow_dag, say_stage, start_now
from behavior_tasks.pipeline import (
    STAGES,
    Run,
    answer,
    ask,
    at_work,
    close_tracking,
    open_run,
    open_tracking,
    promote,
    register,
    run_stages,
)

WIDTH = 12
"""Of the names of stages."""


def run(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    through_airflow: Annotated[
        bool, typer.Option("--airflow", help="Run the DAG behavior_training through Airflow instead of here.")
    ] = False,
    approve_as: Annotated[
        str | None,
        typer.Option(
            "--approve-as", metavar="NAME", help="Answer yes, in this name, where gate.approval asks for a person."
        ),
    ] = None,
) -> None:
    """Read a log (or simulate a shop), train, measure, and let the gate decide.

    Examples:

        behavior run

        behavior run --input log.csv.gz --preset taobao --set train.epochs=1

        behavior run --airflow --input log.csv
    """
    settings = parse_settings(set)
    # Wrong settings are refused here, before Airflow or a database is started.
    load_config(preset, file=config, overrides=settings)
    asked = {"input": input, "preset": preset, "config_file": str(config) if config else None}
    if through_airflow:
        if approve_as:
            raise UserError("In Airflow a person approves on Airflow's page.", next_step="leave out --approve-as")
        filled = {key: value for key, value in {**asked, **settings}.items() if value is not None}
        finished = _through_airflow(filled)
    else:
        finished = _here(start_now("command line", asked, settings), approve_as)
    console.print(closing_page(finished))


def _through_airflow(asked: dict[str, Any]) -> Run:
    """Run the DAG and show each stage when it is done.

    Raises:
        UserError: the message of the task that failed, or where its log is.
    """
    result = follow_dag(airflow.DAG_ID, asked, datetime.now(UTC), stages=len(STAGES), width=WIDTH)
    run = open_run(result.run_id) if result.run_id else None
    if run is not None and result.returncode == 0:
        return run
    error = run.noted("error") if run is not None else None
    if error is not None:
        raise UserError(f"The run stopped in the stage {error['stage']}.\n{error['message']}")
    raise UserError(
        "The DAG run failed.",
        found=processes.last_lines(result.log) if result.log else "the failed task's log in Airflow says why",
        next_step="run it again: what is finished is kept" if run else "behavior doctor",
    )


def _here(uri: str, approve_as: str | None) -> Run:
    run = open_run(uri)
    open_tracking(uri)
    with at_work(run):
        try:
            with console.status("starting") as status:
                run_stages(
                    uri,
                    on_start=lambda name: status.update(name),
                    on_end=lambda record: say_stage(run, record, width=WIDTH),
                )
                status.update("registering")
                uris = {record.stage: record.uri for record in run.stages()}
                version = register(uri, uris["gate"], uris["evaluate"], uris["train"])
            _ask(uri, uris["gate"], approve_as)
            promote(uri, version, uris["gate"], "command line")
        finally:
            close_tracking(uri)
    return run


def _ask(uri: str, gate_uri: str, approve_as: str | None) -> None:
    """Ask whoever sits at the terminal, when a person must approve the promotion; without a terminal it is a no."""
    question = ask(uri, gate_uri)
    if question is None:
        return
    if approve_as:
        answer(uri, gate_uri, approved=True, who=approve_as, why="given with --approve-as before the run")
    elif not sys.stdin.isatty():
        answer(uri, gate_uri, approved=False, who=None, why="there was no terminal to ask on")
    else:
        console.print(Markdown(question.body))
        approved = typer.confirm(question.subject, default=False)
        who = typer.prompt("Your name, for the ledger", default=getpass.getuser())
        answer(uri, gate_uri, approved=approved, who=who, why=typer.prompt("Why", default="", show_default=False))
