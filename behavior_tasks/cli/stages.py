"""Runs of stages as the command line starts and shows them, in this process or as a DAG through Airflow.

In comes what a person asked for, out comes the run's URI, or how the DAG ended. The one thing to know: each stage is
told once, when it is done, whoever runs it.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from behavior_tasks.base.home import current_home
from behavior_tasks.cli import airflow
from behavior_tasks.cli.report import stage_line
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Run, StageRecord, open_run, start_run
from behavior_tasks.pipeline.runs import Trigger


def start_now(
    trigger: Trigger,
    asked: Mapping[str, Any],
    overrides: Mapping[str, Any],
    *,
    as_of: date | None = None,
    command: str = "",
) -> str:
    """Make a run of today and return its URI.

    Args:
        trigger: what started it.
        asked: `input`, `preset` and `config_file`, as a form has them.
        overrides: dotted setting → value.
        as_of: as for `start_run`.
        command: what the run's id begins with.

    Raises:
        UserError: naming everything that is wrong with the settings.
    """
    now = datetime.now(UTC)
    return start_run(
        f"{command}{now:%Y-%m-%dT%H%M%S}-{uuid4().hex[:4]}",
        day=now.date(),
        trigger=trigger,
        input_path=asked["input"],
        preset=asked["preset"],
        config_file=asked["config_file"],
        overrides=overrides,
        as_of=as_of,
    )


def follow_dag(dag_id: str, asked: Mapping[str, Any], now: datetime, *, stages: int, width: int) -> airflow.DagResult:
    """Run a DAG through Airflow and tell each stage when it is done.

    Args:
        dag_id: which.
        asked: a filled-in trigger form.
        now: names the run.
        stages: of the DAG, with the one that simulates a log.
        width: of the stages' names.
    """
    console.print(f"Airflow runs the DAG {dag_id} (the first time, its database is made too).")
    shown: set[str] = set()
    with console.status("starting Airflow") as status:

        def on_tick(run_id: str | None) -> None:
            if run_id is None:
                return
            run = open_run(run_id)
            for record in run.stages():
                if record.stage not in shown:
                    shown.add(record.stage)
                    say_stage(run, record, width=width)
            status.update(f"after {len(shown)} of {stages - bool(asked.get('input'))} stages")

        return airflow.run_dag(current_home(), airflow.PROJECT, asked, logical_date=now, dag_id=dag_id, on_tick=on_tick)


def say_stage(run: Run, record: StageRecord, *, width: int) -> None:
    """Tell a stage that is done: how long it took, and what went in and came out."""
    time, flow, _ = stage_line(run, record)
    console.print(f"  {record.stage:<{width}} {time:>9}  {flow}", highlight=False)
