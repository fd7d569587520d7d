"""`behavior history`: who was champion when, who decided it and why; whether the ledger is what was written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.cli.registry_options import Model, registry_config
from behavior_tasks.cli.screen import console, errors

if TYPE_CHECKING:
    from behavior_tasks.registry.repair import Checkup

WORDS = {
    "baseline_promotion": "promotion of a baseline",
    "override": "promotion past the gate",
    "noticed": "changed in MLflow",
    "repair": "ledger begun anew",
}
DAMAGED = 2


def history(
    verify: Annotated[bool, typer.Option("--verify", help="Check every line's hash instead of listing them.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set a damaged ledger aside and begin a new one; needs --who and --reason.")
    ] = False,
    who: Annotated[str, typer.Option("--who", help="With --repair: who accepts the damage.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="With --repair: why, for the ledger.")] = "",
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every change of the champion: when, who, what, from which version to which, why, on which test examples.

    Exit code 0: the ledger is what was written. 2: it is not.

    Examples:

        behavior history

        behavior history --verify

        behavior history --repair --who ann --reason "the disk lost the last block; backup of Tuesday compared"
    """
    home = current_home()
    if (repair and verify) or ((who or reason) and not repair):
        raise UserError(
            "--who and --reason belong to --repair, and --repair goes without --verify.",
            next_step="behavior history --help",
        )
    if repair:
        _repair(home, who, reason, model, as_json)
    elif verify:
        _verify(home, model, as_json)
    else:
        _list(home, model, as_json)


def _list(home: Home, model: str | None, as_json: bool) -> None:
    from behavior_tasks.registry import ledger, store, title

    config = registry_config(home, model)
    damage = None
    try:
        if store.exists(home):
            with title.hold(home, config):
                pass
        entries = ledger.read(home)
    except ledger.LedgerError as error:
        damage = error
        entries = ledger.readable_lines(ledger.ledger_path(home).read_bytes()) if _there(home) else []
    except UserError as error:
        errors.print(f"The ledger is shown without a look at MLflow. {error.problem}", style="yellow", highlight=False)
        entries = ledger.read(home)
    if model is not None:
        entries = [dict(entry) for entry in ledger.title_of(home, entries, model)]
    if as_json:
        console.print_json(json.dumps(entries, ensure_ascii=False))
    elif entries:
        console.print(_table(entries))
    elif damage is None:
        console.print("No champion yet; the first model that passes the gate becomes it. Next: behavior run")
    if damage is not None:
        raise damage


def _there(home: Home) -> bool:
    from behavior_tasks.registry import ledger

    return ledger.ledger_path(home).is_file()


def _table(entries: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    several = len({entry["model"] for entry in entries if "model" in entry}) > 1
    for name in ("when", "who", "version"):
        table.add_column(name)
    table.add_column("what and why", overflow="fold")
    for entry in entries:
        kind, model = str(entry.get("kind", "promotion")), entry.get("model")
        known = (entry.get(name) for name in ("from_version", "version"))
        was, now = ("none" if version is None else str(version) for version in known)
        tested = f", test set {str(entry['test_hash'])[:8]}" if entry.get("test_hash") else ""
        what = f"{WORDS.get(kind, kind)}{f' of {model}' if several and model else ''}{tested}"
        table.add_row(
            escape(str(entry.get("when", "?"))[:16].replace("T", " ")),
            escape(str(entry.get("who", "?"))),
            f"{escape(was)} → {escape(now)}",
            f"[bold]{escape(what)}[/]\n{escape(str(entry.get('why', '?')))}",
        )
    return table


def _verify(home: Home, model: str | None, as_json: bool) -> None:
    from behavior_tasks.registry.repair import check_up

    found = check_up(home, registry_config(home, model))
    if as_json:
        console.print_json(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _say(found)
    raise typer.Exit(DAMAGED if found.damage else 0)


def _say(found: "Checkup") -> None:
    if found.damage:
        errors.print(found.damage, markup=False, highlight=False, style="red", soft_wrap=True)
        return
    if not found.lines:
        console.print("The ledger is empty.")
    else:
        chained = found.lines - found.unchained
        console.print(f"The ledger is what was written: {found.lines} lines, {chained} with hashes.", highlight=False)
    if found.unchained and found.unchained == found.lines:
        console.print("Its lines are of version 0.3.0; the next line will hold the hash of all of them.")
    console.print(f"{found.head[:1].upper()}{found.head[1:]}.", markup=False, highlight=False)
    for name in found.kept:
        console.print(f"Set aside by a repair: registry/{name}", markup=False, highlight=False)
    for digest in found.lost:
        console.print(f"Not there any more: the damaged ledger with the hash {digest}", style="yellow")


def _repair(home: Home, who: str, reason: str, model: str | None, as_json: bool) -> None:
    from behavior_tasks.registry import ledger
    from behavior_tasks.registry.overrule import Asked
    from behavior_tasks.registry.repair import repair

    asked = Asked(who=who, why=reason, when=datetime.now(UTC))
    line = repair(home, registry_config(home, model), asked)
    if as_json:
        console.print_json(json.dumps(line, ensure_ascii=False))
        return
    files = ledger.damaged_files(home)
    kept = f"The damaged one stays as registry/{files[-1].name}." if files else "There was no ledger to keep."
    console.print(f"A new ledger begins. {kept}", highlight=False)
    version = line["version"]
    now = f"Version {version} is champion, as MLflow says." if version else "There is no champion."
    console.print(f"{now} Its first line holds {line['previous_hash'][:16]}…, the old file's hash.", highlight=False)
