"""`behavior report`: where the data report of a run is."""

from typing import Annotated

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Run, last_runs, open_run

LATEST = "latest"


def report(
    run: Annotated[str, typer.Argument(help="A run's id (`behavior status` lists them), or latest.")] = LATEST,
) -> None:
    """Print the path of a run's data report, a page to open in a browser.

    Examples:

        behavior report

        open "$(behavior report)"
    """
    runs = last_runs(current_home(), most=100) if run == LATEST else [open_run(run)]
    pages = (page for one in runs if (page := report_page(one)) is not None)
    page = next(pages, None)
    if page is None:
        raise UserError(
            "No run has a data report yet." if run == LATEST else f"The run {run} has no data report.",
            next_step="behavior run --input log.csv",
        )
    # Nothing but the path, so that a shell can use it.
    console.print(page, markup=False, highlight=False, soft_wrap=True)


def report_page(run: Run) -> str | None:
    """Return the path of a run's data report, or None when it has none."""
    artifact = run.artifact("report")
    return str(artifact.path / "report.html") if artifact is not None else None
