"""`behavior sources`: which logs can be read as they are, and a proposal for any other."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, PRESETS_FOLDER, load_config, presets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.base.schema import REQUIRED_COLUMNS
from behavior_tasks.cli.options import Settings, parse_settings
from behavior_tasks.cli.screen import console, count

MOST_ABOUT = 110


def sources(
    sniff: Annotated[
        str | None, typer.Option("--sniff", help="A log: look at its start and propose the settings that read it.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the proposal to this YAML file.")] = None,
    set: Settings = None,
) -> None:
    """List the presets with what they read, or propose the settings for a log.

    Examples:

        behavior sources

        behavior sources --sniff log.csv.gz --out mine.yaml
    """
    if sniff is None:
        if out is not None:
            raise UserError("--out needs a log.", next_step=f"behavior sources --sniff log.csv --out {out}")
        _list_presets()
    else:
        _propose(sniff, out, set)


def _list_presets() -> None:
    table = Table(title="Presets: behavior run --input LOG --preset NAME", title_justify="left", box=None)
    table.add_column("preset", no_wrap=True)
    table.add_column("what it reads", max_width=MOST_ABOUT, overflow="fold")
    for name in presets():
        source = load_config(name).source
        columns = source.header or [source.columns.get(column) or column for column in REQUIRED_COLUMNS]
        words = ", ".join(source.actions) or ", ".join(f"{p}…" for p in source.action_prefixes) or "in usual words"
        how = f"{', '.join(columns)}; actions {words}; {source.time_format} in {source.timezone}"
        table.add_row(f"[bold]{name}[/]", f"{escape(_about(name))}\n[dim]{escape(how)}[/]")
    console.print(table)
    console.print("Another log: behavior sources --sniff log.csv --out mine.yaml", highlight=False)


def _about(preset: str) -> str:
    """Return the first sentence of a preset's opening comment."""
    text = (PRESETS_FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")
    opening = re.match(r"(#[^\n]*\n)+", text)
    words = " ".join(line.lstrip("# ") for line in (opening[0] if opening else "").splitlines())
    # What stands in brackets is where to find it, which the file itself tells.
    return re.split(r"[.:;] ", re.sub(r"\s*\([^)]*\)", "", words) + " ")[0].strip(" .:;")


def _propose(text: str, out: Path | None, set: list[str] | None) -> None:
    from behavior_tasks.data.inputs import resolve_inputs
    from behavior_tasks.data.sniff import proposal_yaml, sniff

    if out is not None and out.exists():
        raise UserError(f"There is a file {out} already.", next_step="name another --out, or remove it")
    files = resolve_inputs(text, load_config(DEFAULT_PRESET, overrides=parse_settings(set)), current_home())
    file = files[0]
    proposal = sniff(file, today=datetime.now(UTC).date())
    more = f", the first of {count(len(files))} files" if len(files) > 1 else ""
    console.print(f"{file.shown}{more}", style="bold", highlight=False, markup=False)
    for setting, value, why in proposal.sample.reasons:
        console.print(f"  {setting:<10} {value!r}: {why}", highlight=False, markup=False)
    written = proposal_yaml(proposal, file)
    console.print()
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    _show_preview(proposal)
    if out is not None:
        out.write_text(written, encoding="utf-8")
        console.print(f"Written to {out}.", highlight=False, markup=False)
    how = f"--preset {proposal.preset}" if proposal.preset else f"--config {out or 'mine.yaml'}"
    console.print(f"Next: behavior doctor --input {text} {how}", highlight=False, markup=False, soft_wrap=True)


def _show_preview(proposal: object) -> None:
    from behavior_tasks.data.sniff import Proposal

    assert isinstance(proposal, Proposal)
    shown = proposal.shown
    assert shown is not None
    all_or = "all" if proposal.sample.complete else "the first"
    table = Table(title="First events, ids masked", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in shown.events[0] if shown.events else ():
        table.add_column(name, overflow="ellipsis", max_width=28)
    for event in shown.events:
        table.add_row(*(escape("" if value is None else str(value)) for value in event.values()))
    console.print(table)
    kept = shown.rows - sum(shown.removed.values())
    span = f", {shown.first:%Y-%m-%d %H:%M} to {shown.last:%Y-%m-%d %H:%M} UTC" if shown.first and shown.last else ""
    console.print(f"{count(kept)} events from {all_or} {count(shown.rows)} rows{span}", highlight=False)
    actions = ", ".join(f"{word} {count(number)}" for word, number in shown.actions.items())
    console.print(f"  actions: {actions or 'none'}", highlight=False)
    aside = ", ".join(f"{reason} {count(number)}" for reason, number in shown.removed.items())
    console.print(f"  to quarantine: {aside or 'none'}\n", highlight=False)
