"""`behavior audit-leakage`: whether anything known before a cutoff depends on what came after it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET
from behavior_tasks.cli.inspection import start_inspection
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console, count
from behavior_tasks.pipeline import open_run

if TYPE_CHECKING:
    from behavior_tasks.pipeline.audit import Audit

MOST_EVENTS = 200_000


def audit(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Audit about so many events, of whole shoppers; 0: all.")
    ] = MOST_EVENTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Plant canaries in the future of every cutoff, rebuild, and name whatever changed before it.

    Exit code 0: nothing did. 2: something has seen the future.

    Examples:

        behavior audit-leakage

        behavior audit-leakage --input log.csv.gz --preset taobao --sample 50000
    """
    from behavior_tasks.pipeline.audit import audit_leakage, quiet

    overrides = parse_settings(set)
    uri = start_inspection("audit", input_path=input, preset=preset, config=config, overrides=overrides)
    with console.status("starting") as status, quiet():
        found = audit_leakage(open_run(uri), most_events=sample, on_start=lambda step: status.update(step))
    if as_json:
        console.print_json(json.dumps({**asdict(found), "clean": found.clean}))
    else:
        _show(found, input or "the simulated shop")
    raise typer.Exit(0 if found.clean else 2)


def _show(found: "Audit", name: str) -> None:
    console.print(
        f"Does anything in {name} see the future? {count(found.events)} events of {count(found.shoppers)} shoppers "
        f"(the log: {count(found.log_events)} events)",
        style="bold",
        highlight=False,
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    before = ""
    for check in found.checks:
        if check.where != before:
            table.add_row(f"[bold]{check.where}[/]")
            before = check.where
        mark = "[green]same[/]" if check.clean else "[yellow]void[/]" if check.void else "[red]LEAK[/]"
        table.add_row(f"  {escape(check.what)}", f"{count(check.compared)} compared", mark)
        for line in (", ".join(check.names), check.example, check.void):
            if line and not check.clean:
                table.add_row(f"    [red]{escape(line)}[/]")
    console.print(table)
    leaks = sum(not check.clean for check in found.checks)
    console.print("No." if found.clean else f"Yes, or it can't be told: {leaks} of {len(found.checks)} checks.")
