"""`behavior export`: everything that is held about one shopper, for them to read."""

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from behavior_tasks.base.home import current_home
from behavior_tasks.base.privacy_config import PrivacyConfig
from behavior_tasks.cli.privacy_scan import Database, MlflowDatabase, MlflowFiles
from behavior_tasks.cli.screen import console, count


def export(
    shopper: Annotated[
        str, typer.Option("--shopper", help="The raw id, as it stands in the log; needs the identity key.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new folder; default: shopper-DATE in this folder.")
    ] = None,
    database: Database = None,
    mlflow_database: MlflowDatabase = None,
    mlflow_files: MlflowFiles = None,
) -> None:
    """Write everything that is held about one shopper: a page, and the same as JSON and CSV.

    Their rows of the log, events, texts, features, scores, audiences, recommendations, unusual behaviour with its
    reasons, campaigns, exports, the models that were trained with them, and how long it is kept. The files can be
    read by their owner only; that they were made is logged without the id.

    Exit code 0: written. 1: nothing is held about this shopper.

    Examples:

        behavior export --shopper ID

        behavior export --shopper ID --out request-2026-117
    """
    from behavior_tasks.pipeline.privacy.access import everything_about, when_erased
    from behavior_tasks.pipeline.privacy.access_files import kept_until, write_access
    from behavior_tasks.pipeline.privacy.search_all import Elsewhere
    from behavior_tasks.pipeline.runs import last_runs

    home, now = current_home(), datetime.now(UTC)
    elsewhere = Elsewhere.of(
        home, os.environ, database=database, mlflow_database=mlflow_database, mlflow_files=mlflow_files
    )
    found = everything_about(home, shopper, elsewhere, now=now)
    if found is None:
        erased = when_erased(home, shopper)
        if erased is None:
            console.print("Nothing is held about this shopper.")
        else:
            console.print(f"Nothing is held about this shopper any more: they were erased on {erased}.")
        raise typer.Exit(1)
    runs = last_runs(home, most=1, inspections=True)
    settings = runs[0].record.config.privacy if runs else PrivacyConfig()
    folder = out or Path(f"shopper-{now:%Y-%m-%d}")
    files = write_access(home, found, folder, who=getpass.getuser(), kept=kept_until(found, settings))
    for section in found.sections:
        console.print(f"{count(len(section.rows)):>9}  {section.title}", highlight=False)
    console.print(f"{len(files)} files in {folder}; begin with index.html.", highlight=False)
