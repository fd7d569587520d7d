"""`behavior erase`: all that is held about a shopper goes, and a tombstone keeps late files from bringing it back.

The one thing to know: the user's own log is not touched; a raw id stands on this command's line or in its file only.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli import erase_verify
from behavior_tasks.cli.options import ConfigFile, Preset, Settings, parse_settings
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import console

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.erase import Done
    from behavior_tasks.pipeline.privacy.erase_models import Retrain

PLACES = {
    "raw": "copies of logs",
    "simulate": "log of the simulated shop",
    "ingest-part": "events as read, and quarantine",
    "clean-part": "clean events",
    "served": "what was handed out",
    "campaigns": "lists that were taken away",
    "watch": "watched days",
    "mlflow": "files of runs in MLflow",
}
"""Places whose own name says too little."""


def erase(
    shopper: Annotated[
        list[str] | None, typer.Option("--shopper", metavar="RAW_ID", help="The shop's own id; may be given often.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A text file with one raw id a line.")] = None,
    who: Annotated[str | None, typer.Option("--who", help="Who asks; without it: the user of this shell.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the ledger, e.g. a ticket.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is held; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a run that is at work, instead of refusing.")] = False,
    request: Annotated[
        bool, typer.Option("--request", help="Leave it to the DAG behavior_erasure, without the raw ids.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Look for them everywhere and sign a certificate; without ids: for all who were ever erased.",
        ),
    ] = False,
    check_certificate: Annotated[
        Path | None, typer.Option("--check-certificate", help="Say whether a certificate is as it was signed.")
    ] = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Erase shoppers: their rows go from everything below the state folder and from MLflow, and never come back.

    The log itself is yours and is not touched: take them out there, too. Killed, the same command goes on.

    Exit code 0: done, listed, or absent. 1: --verify has found somebody. 2: refused (a run is at work, or a ledger is
    damaged).

    Examples:

        behavior erase --shopper ID --dry-run

        behavior erase --file leavers.txt --who ann --reason "requests of November" --yes

        behavior erase --verify
    """
    if check_certificate is not None:
        erase_verify.check(check_certificate)
        return
    from behavior_tasks.pipeline.privacy.erase import Asked, keep_request, look, make_request, read_ids
    from behavior_tasks.pipeline.privacy.erase import erase as erase_now

    settings, home = load_config(preset, file=config, overrides=parse_settings(set)), current_home()
    ids = [*(shopper or []), *(read_ids(file) if file is not None else [])]
    person = user_name() if who is None else who
    if verify:
        raise typer.Exit(0 if erase_verify.verify(ids, who=person) else 1)
    why, now = reason if reason.strip() or not dry_run else "dry run", datetime.now(UTC)
    asked = make_request(home, ids, Asked(who=person, why=why, when=now))
    if dry_run:
        _tell(look(home, settings, asked), as_json, would=True)
        return
    if not yes:
        _confirm(len(asked.shoppers))
    if request:
        _left(keep_request(home, asked))
        return
    _tell(erase_now(home, settings, asked, now=now, wait=wait, retry=_again(shopper, file)), as_json, would=False)


def retrain_lines(notes: Sequence["Retrain"]) -> list[str]:
    """Return what a screen says of champions that are to be trained anew, a line each."""
    from behavior_tasks.pipeline.privacy.erase_models import train_again

    return [f"{one.words} Next: {train_again(one.model)}" for one in notes]


def _left(path: Path) -> None:
    console.print(
        f"Left as privacy/requests/{path.name}. Next: trigger behavior_erasure in Airflow, or wait for its night.",
        highlight=False,
    )


def _again(shopper: list[str] | None, file: Path | None) -> str:
    return f"behavior erase --file {file.name} …" if file is not None and not shopper else "behavior erase --shopper …"


def _confirm(count: int) -> None:
    whom = "1 shopper" if count == 1 else f"{count:,} shoppers"
    if not sys.stdin.isatty():
        raise UserError(
            f"Erasing {whom} can't be undone, so it must be meant.",
            found="nobody who can be asked",
            next_step="the same with --yes; --dry-run says first what is held",
        )
    typer.confirm(f"Erase {whom} for good?", abort=True)


def _tell(done: "Done", as_json: bool, *, would: bool) -> None:
    if as_json:
        told = {
            "request": None if would else done.request,
            "erased": not would,
            "shoppers": done.shoppers,
            "erased_before": done.known,
            "rows": done.rows,
            "taken": list(done.taken),
            "logs_under_another_key": done.other_keys,
            "retrain": [one.model_dump(mode="json") for one in done.retrain],
            "retired": list(done.retired),
        }
        console.print_json(json.dumps(told, ensure_ascii=False))
        return
    whom = "1 shopper" if done.shoppers == 1 else f"{done.shoppers:,} shoppers"
    before = f" ({done.known:,} of them erased before)" if done.known else ""
    if done.rows:
        console.print(_table(done.rows, would=would))
    if done.other_keys:
        console.print(
            f"{done.other_keys:,} logs were read under an earlier identity key: nobody can be found in what they gave. "
            "It goes by age. Next: behavior gc --set registry.keep_days=0 --delete",
            style="yellow",
            highlight=False,
        )
    what = f"{sum(done.rows.values()):,} rows" if done.rows else "nothing"
    if would:
        console.print(f"Held about {whom}{before}: {what}. Next: the same without --dry-run", highlight=False)
        return
    console.print(f"Erased: {whom}{before}, {what}. Erasure {done.request}; tombstones keep them out.", highlight=False)
    for one in done.taken:
        console.print(f"A list that held them was taken away; tell who has it: {one}", style="yellow", markup=False)
    for line in retrain_lines([one for one in done.retrain if one.champion]):
        console.print(line, style="yellow", markup=False, highlight=False)
    if done.retired:
        console.print(f"Deleted, because their successors stand: {', '.join(done.retired)}", highlight=False)
    console.print("Your own log was not touched: take them out there, too.", highlight=False)


def _table(rows: dict[str, int], *, would: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("place", overflow="fold")
    table.add_column("rows held" if would else "rows gone", justify="right", no_wrap=True)
    for name, count in rows.items():
        table.add_row(PLACES.get(name, name.replace("_", " ")), f"{count:,}")
    return table
