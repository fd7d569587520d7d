"""`behavior privacy retention`: what is kept of each kind, since when, what its age limit is, and what went."""

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
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import console, count, size

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.retention import KindReport


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is too old; nothing is deleted.")] = False,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Delete what is older than its age limit (privacy.keep), and say of each kind how it stands.

    It runs every night in behavior_monitoring, under that DAG's settings. An age limit wins over a need: `behavior gc`
    keeps what somebody may want again, this does not. Never deleted: the champion's own package, what the runs of the
    last week read, the newest date of what was handed out; each is named with what to do. A line of what went stands
    in privacy/retention.jsonl.

    Exit code 0: done. 2: refused (a run is at work, or the ledger is damaged). 3: something is too old and can't go.

    Examples:

        behavior privacy retention --dry-run

        behavior privacy retention --set 'privacy.keep={texts: 60, logs: 30}'
    """
    from behavior_tasks.pipeline.privacy.retention import keep_limits, plan_retention

    settings = load_config(preset, file=config, overrides=parse_settings(set))
    home, now = current_home(), time.time()
    if dry_run:
        found = plan_retention(home, settings, now=now)
    else:
        found = keep_limits(home, settings, now=now, who=user_name())
    if as_json:
        console.print_json(json.dumps({"deleted": not dry_run, "kinds": [asdict(one) for one in found]}))
    else:
        _show(found, dry_run=dry_run)
    if any(one.held for one in found):
        raise typer.Exit(3)


def _show(found: Sequence["KindReport"], *, dry_run: bool) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("kind", no_wrap=True)
    for column in ("limit", "oldest", "too old", "size", "deleted", "held"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        oldest = "–" if one.oldest_days is None else f"{count(one.oldest_days)} days"
        figures = [count(one.over), size(one.bytes) if one.over else "–", count(one.deleted), count(one.held)]
        table.add_row(one.kind, f"{count(one.limit_days)} days", oldest, *figures, style="yellow" if one.held else None)
    console.print(table)
    for one in found:
        for why in one.why_held:
            console.print(f"held: {why}", markup=False, highlight=False, soft_wrap=True)
        if one.held > len(one.why_held):
            console.print(f"      and {count(one.held - len(one.why_held))} more of {one.kind}", highlight=False)
    if dry_run and any(one.over > one.held for one in found):
        console.print("Nothing was deleted. Next: the same without --dry-run", highlight=False)
