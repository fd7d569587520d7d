"""`behavior report`: where the reports of a run are, on its data and on its model."""

from enum import StrEnum
from typing import Annotated

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Run, last_runs, open_run

LATEST = "latest"


class Kind(StrEnum):
    """Which report."""

    DATA = "data"
    MODEL = "model"


STAGE_OF = {Kind.DATA: "report", Kind.MODEL: "model_report"}


def report(
    run: Annotated[str, typer.Argument(help="A run's id (`behavior status` lists them), or latest.")] = LATEST,
    kind: Annotated[Kind, typer.Option("--on", help="What the report is on: the data, or the model.")] = Kind.DATA,
) -> None:
    """Print the path of a run's report on its data or its model, a page to open in a browser.

    Examples:

        behavior report

        open "$(behavior report --on model)"
    """
    runs = last_runs(current_home(), most=100) if run == LATEST else [open_run(run)]
    pages = (page for one in runs if (page := report_page(one, kind)) is not None)
    page = next(pages, None)
    if page is None:
        raise UserError(
            f"No run has a {kind} report yet." if run == LATEST else f"The run {run} has no {kind} report.",
            next_step="behavior run --input log.csv",
        )
    # Nothing but the path, so that a shell can use it.
    console.print(page, markup=False, highlight=False, soft_wrap=True)


def report_page(run: Run, kind: Kind) -> str | None:
    """Return the path of a run's report, or None when it has none."""
    artifact = run.artifact(STAGE_OF[kind])
    return str(artifact.path / "report.html") if artifact is not None else None
