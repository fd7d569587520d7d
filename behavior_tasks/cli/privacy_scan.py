"""`behavior privacy scan`: whether a raw id, an address or a key of the source stands anywhere but in the source."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console, count, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from behavior_tasks.pipeline.privacy.scan import Scan
    from behavior_tasks.pipeline.privacy.search import Found, Hit

MOST_SHOWN = 30
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="SQLAlchemy address of Airflow's metadata database; default: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, "
        "or the embedded one.",
    ),
]
MlflowDatabase = Annotated[
    str | None,
    typer.Option(
        "--mlflow-database",
        help="SQLAlchemy address of an MLflow server's database; without it only what its interface shows.",
    ),
]
MlflowFiles = Annotated[
    Path | None, typer.Option("--mlflow-files", help="Folder of an MLflow server's files.", exists=True)
]


def scan(
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="The log, where it lies elsewhere than when it was read.")
    ] = None,
    database: Database = None,
    mlflow_database: MlflowDatabase = None,
    mlflow_files: MlflowFiles = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write the answer as JSON, here.")] = None,
) -> None:
    """Search everything that is held for every id, address and key of the source.

    Artifacts, lists, logs, caches, Airflow's database and MLflow are read; of the logs of all runs come the raw ids,
    and e-mail addresses, telephone, card and resident numbers in their texts; of `secrets/` the keys. No word that is
    looked for is ever shown or written. The answer is kept below `privacy/`.

    Exit code 0: nothing was found. 1: something was, with its places.

    Examples:

        behavior privacy scan

        behavior privacy scan --input log.csv.gz --json scan.json

        behavior privacy scan --database postgresql+psycopg2://airflow@db/airflow
    """
    from behavior_tasks.pipeline.privacy.scan import scan as run_scan
    from behavior_tasks.pipeline.privacy.scan import write_report
    from behavior_tasks.pipeline.privacy.search_all import Elsewhere

    home = current_home()
    elsewhere = Elsewhere.of(
        home, os.environ, database=database, mlflow_database=mlflow_database, mlflow_files=mlflow_files
    )
    found = run_scan(home, elsewhere, now=datetime.now(UTC), input_path=input)
    page = write_report(home, found)
    if as_json is not None:
        as_json.write_text(json.dumps(found.as_json(), ensure_ascii=False, indent=2), encoding="utf-8")
    _show(found)
    console.print(f"Kept as privacy/{page.name} in the state folder.", style="dim", highlight=False)
    raise typer.Exit(0 if found.clean else 1)


def _show(found: "Scan") -> None:
    from behavior_tasks.pipeline.privacy.scan import grouped

    asked = ", ".join(f"{count(number)} × {kind}" for kind, number in found.asked.items())
    console.print(f"Searched for: {asked}.", highlight=False)
    show_found(found.found, grouped(found.found.hits))
    for one in found.short:
        console.print(one, style="dim", highlight=False)
    if found.clean:
        console.print(f"Nothing found, in {found.seconds:.0f} s.", style="green", highlight=False)
        return
    console.print(
        "Found. Where it is an artifact or a cache that an older version made: `behavior gc`, or delete it; it is "
        "made anew without.",
        style="red",
        highlight=False,
    )


def show_found(found: "Found", hits: "Sequence[Hit]") -> None:
    """Show where it was looked, and what was found."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, side in (("looked at", "left"), ("files", "right"), ("rows", "right"), ("size", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for kind, tally in sorted(found.searched.items()):
        table.add_row(escape(kind), count(tally.places), count(tally.rows), size(tally.bytes))
    console.print(table)
    for kind, why in found.skipped.items():
        console.print(f"left out: {kind}: {why}", markup=False, highlight=False)
    for one in found.unseen:
        console.print(f"not seen: {one}", markup=False, highlight=False, style="yellow")
    if not hits:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("place", "column", "what", "how often"):
        table.add_column(name, overflow="fold")
    for hit in hits[:MOST_SHOWN]:
        table.add_row(escape(hit.place), escape(hit.column), hit.what, count(hit.count), style="red")
    console.print(table)
    if len(hits) > MOST_SHOWN:
        console.print(f"and {count(len(hits) - MOST_SHOWN)} more; the page below privacy/ has them all")
