"""`behavior gc`: what nobody needs any more, and how many bytes it takes; with --delete, gone."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.options import ConfigFile, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console, size

if TYPE_CHECKING:
    from behavior_tasks.registry.retention import Unneeded


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this, nothing is touched.")] = False,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what may go (or went) as JSON.")] = False,
) -> None:
    """List artifacts, model versions and run files that the retention policy lets go; delete them when asked to.

    The policy: registry.keep_versions, registry.keep_days, registry.keep_runs, serve.keep_days, watch.keep_days. Never
    deleted: the champion, the previous one, any version in the ledger, whatever has an alias, what a run at work needs,
    the newest date of what was handed out, with what it was made of, the newest watched day, and the journal of alerts.

    Exit code 0: listed, or deleted. 2: refused (a run is at work, or the ledger is damaged).

    Examples:

        behavior gc

        behavior gc --set registry.keep_days=7 --set registry.keep_versions=3 --delete
    """
    from behavior_tasks.pipeline.gc import collect, plan_collection

    settings = load_config(preset, file=config, overrides=parse_settings(set))
    home, now = current_home(), time.time()
    found = collect(home, settings, now=now) if delete else plan_collection(home, settings, now=now)
    if as_json:
        listed = [{name: value for name, value in asdict(item).items() if name != "places"} for item in found]
        console.print_json(json.dumps({"deleted": delete, "bytes": _total(found), "items": listed}))
    elif not found:
        console.print("Nothing may go: everything is needed, or too young (registry.keep_days).")
    else:
        console.print(_table(found))
        done = "Deleted" if delete else "May go"
        rest = "" if delete else " Next: the same with --delete"
        console.print(f"{done}: {len(found)} things, {size(_total(found))}.{rest}", highlight=False)


def _total(found: Sequence["Unneeded"]) -> int:
    return sum(item.bytes for item in found)


def _table(found: Sequence["Unneeded"]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in found:
        table.add_row(item.kind, item.name, size(item.bytes), item.why)
    return table
