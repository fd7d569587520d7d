"""`behavior privacy anonymity`: how many shoppers share each profile that the texts hold."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console, count
from behavior_tasks.pipeline import Run, last_runs, open_run

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.anonymity import Anonymity, Spread

LATEST = "latest"


def anonymity(
    run: Annotated[str, typer.Argument(help="A run's id (`behavior status` lists them), or latest.")] = LATEST,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure k-anonymity: how many shoppers share each age band, gender and purchase words that the texts hold.

    Also says what would help most if it were coarser. Holds no pseudonym. The page with the picture stays below
    privacy/anonymity in the state folder.

    Examples:

        behavior privacy anonymity

        behavior privacy anonymity latest --json
    """
    from behavior_tasks.pipeline.privacy.anonymity import keep_report, measure_anonymity
    from behavior_tasks.pipeline.privacy.anonymity_page import write_anonymity_page

    asked = _find(run)
    found = measure_anonymity(asked)
    page = write_anonymity_page(keep_report(asked, found), found)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "page": str(page)}, ensure_ascii=False, indent=2))
        return
    _show(found)
    console.print(f"The page: {page}", markup=False, highlight=False, soft_wrap=True)


def _find(name: str) -> Run:
    if name != LATEST:
        return open_run(name)
    for run in last_runs(current_home(), most=100):
        if run.artifact("verbalize") is not None:
            return run
    raise UserError("No run has written texts yet.", next_step="behavior run --input log.csv")


def _show(found: "Anonymity") -> None:
    table = Table(
        title=f"Profiles of {count(found.shoppers)} shoppers in the texts of {found.run}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("profiles", overflow="fold")
    for name in ("groups", "smallest (k)", *(f"below {size}" for size in found.spread.below)):
        table.add_column(name, justify="right")
    table.add_row("as they are", *_cells(found.spread))
    for way in found.ways:
        table.add_row(way.words, *_cells(way.spread))
    console.print(table)
    best = next((way for way in found.ways if way.setting), None)
    if best is None:
        console.print("There is nothing that a setting could make coarser.")
    elif found.spread.smallest >= max(found.spread.below):
        console.print("No group is small.")
    else:
        console.print(f"What helps most: {best.words}, --set '{best.setting}'", markup=False, highlight=False)


def _cells(spread: "Spread") -> list[str]:
    return [count(spread.groups), count(spread.smallest), *(f"{share:.1%}" for share in spread.below.values())]
