"""`behavior run`: all stages, in this process or as the DAG through Airflow, then the closing page."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.report import closing_page, stage_line
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import (
    STAGES,
    Run,
    StageRecord,
    at_work,
    close_tracking,
    open_run,
    open_tracking,
    promote,
    register,
    run_stages,
    start_run,
)


def run(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    through_airflow: Annotated[
        bool, typer.Option("--airflow", help="Run the DAG behavior_training through Airflow instead of here.")
    ] = False,
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
    now = datetime.now(UTC)
    run_id = f"{now:%Y-%m-%dT%H%M%S}-{uuid4().hex[:4]}"
    if through_airflow:
        asked = {"input": input, "preset": preset, "config_file": str(config) if config else None, **settings}
        finished = _through_airflow({key: value for key, value in asked.items() if value is not None}, now)
    else:
        uri = start_run(
            run_id,
            day=now.date(),
            trigger="command line",
            input_path=input,
            preset=preset,
            config_file=str(config) if config else None,
            overrides=settings,
        )
        finished = _here(uri)
    console.print(closing_page(finished))


def _through_airflow(asked: dict[str, Any], now: datetime) -> Run:
    """Run the DAG and show each stage when it is done.

    Raises:
        UserError: the message of the task that failed, or where its log is.
    """
    home = current_home()
    console.print(f"Airflow runs the DAG {airflow.DAG_ID} (the first time, its database is made too).")
    shown: set[str] = set()
    with console.status("starting Airflow") as status:

        def on_tick(run_id: str | None) -> None:
            if run_id is None:
                return
            run = open_run(run_id)
            for record in run.stages():
                if record.stage not in shown:
                    shown.add(record.stage)
                    _say(run, record)
            status.update(f"after {len(shown)} of {len(STAGES) - bool(asked.get('input'))} stages")

        result = airflow.run_dag(home, airflow.PROJECT, asked, logical_date=now, on_tick=on_tick)
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


def _here(uri: str) -> Run:
    run = open_run(uri)
    open_tracking(uri)
    with at_work(run):
        try:
            with console.status("starting") as status:
                run_stages(uri, on_start=lambda name: status.update(name), on_end=lambda record: _say(run, record))
                status.update("registering")
                uris = {record.stage: record.uri for record in run.stages()}
                version = register(uri, uris["gate"], uris["evaluate"], uris["train"])
                promote(uri, version, uris["gate"], "command line")
        finally:
            close_tracking(uri)
    return run


def _say(run: Run, record: StageRecord) -> None:
    time, flow, _ = stage_line(run, record)
    console.print(f"  {record.stage:<11} {time:>9}  {flow}", highlight=False)
