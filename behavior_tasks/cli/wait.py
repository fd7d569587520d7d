"""`behavior wait`: hold a service's start until the servers that it needs answer."""

from typing import Annotated

import typer

from behavior_tasks.cli.airflow import current_deployment
from behavior_tasks.cli.screen import errors

DEFAULT_SECONDS = 120.0


def wait(
    services: Annotated[list[str], typer.Argument(help="database, broker, mlflow, airflow: any of them.")],
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Longest wait.")] = DEFAULT_SECONDS,
) -> None:
    """Wait until servers answer, then end with exit code 0; where they don't, say what to do and end with 2.

    Examples:

        behavior wait database broker && airflow scheduler

        behavior wait mlflow --seconds 30
    """
    from behavior_tasks.pipeline.deployment import wait_for

    def say(line: str) -> None:
        errors.print(f"waiting up to {seconds:.0f} s: {line}", markup=False, highlight=False, soft_wrap=True)

    wait_for(current_deployment(), services, seconds=seconds, on_wait=say)
