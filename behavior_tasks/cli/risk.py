"""`behavior risk`: the list of unusual shoppers that was handed out, or why one shopper is on it or not."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.base.spreadsheet import csv_of
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import console, count, tell_banners
from behavior_tasks.pipeline.export import log_export
from behavior_tasks.pipeline.privacy.small_groups import set_hash
from behavior_tasks.serve.audiences_files import write_private
from behavior_tasks.serve.risk_list import APPLICATION, LIST, TABLE, listed
from behavior_tasks.serve.risk_page import METHOD_WORDS, PAGE, rule_title
from behavior_tasks.serve.risk_rules import RULES
from behavior_tasks.serve.served import Served, need_served

SHOWN = 20


def risk(
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="The day of the list; the newest if left out."),
    ] = None,
    shopper: Annotated[str | None, typer.Option(help="Say all that is known of one shopper (a pseudonym).")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Copy the list to this CSV file.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --out: texts as they are, for programs; a spreadsheet may run them.")
    ] = False,
) -> None:
    """Show whose behaviour is unusual, and why. A place on the list proves nothing, and blocks nobody.

    A file of it is its owner's alone (0600), and leaves a line in registry/exports.jsonl before it is written.

    Examples:

        behavior risk

        behavior risk --as-of 2026-05-04 --out risk.csv

        behavior risk --shopper 0a1b2c3d4e5f60718293
    """
    served = need_served(current_home(), APPLICATION, as_of.date() if as_of else None)
    tell_banners(served.banners)
    if shopper is not None:
        _show_one(served, shopper)
    else:
        _show_list(served)
    if out is not None:
        if out.is_dir():
            raise UserError(f"{out} is a folder.", expected="a CSV file", next_step=f"behavior risk --out {out / LIST}")
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(served, out, raw=raw)
        console.print(f"{out}: {count(served.facts['rows'])} shoppers", markup=False, highlight=False)


def _write(served: Served, out: Path, *, raw: bool) -> None:
    """Write the list for its owner alone, once the log of exports has a line of it."""
    table = pd.read_csv(served.folder / LIST, dtype=str, keep_default_na=False)
    people = table["shopper"].tolist()
    told = {"as_of": served.as_of.isoformat(), "shoppers": len(people), "set": set_hash(people)}
    log_export(current_home(), when=datetime.now(UTC), who=user_name(), what={"risk": served.artifact, **told})
    write_private(out, csv_of(table, raw=raw))


def _show_list(served: Served) -> None:
    table, facts = listed(served.folder / TABLE), served.facts
    title = f"Unusual shoppers of {served.as_of}, ranked by {METHOD_WORDS[facts['method']]}"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("rank", "shopper", "score", "at stake"):
        shown.add_column(name, justify="left" if name == "shopper" else "right", no_wrap=True)
    shown.add_column("why", overflow="fold")
    for row in table.head(SHOWN).to_dict("records"):
        why = "; surprising: ".join(words for words in (row["rules"], row["phrases"]) if words)
        shown.add_row(f"{row['rank']:,}", row["shopper"], f"{row['score']:.1f}", _money(row["at_stake"]), why)
    console.print(shown, markup=False, highlight=False)
    told = ", ".join(f"{count(number)} {outcome}" for outcome, number in facts["outcomes"].items())
    console.print(f"{told}. Look before you act: rare is not wrong.", markup=False, highlight=False)
    console.print(f"Page: {_short(served, PAGE)}; everybody: {_short(served, TABLE)}", markup=False, highlight=False)


def _show_one(served: Served, shopper: str) -> None:
    found = pd.read_parquet(served.folder / TABLE, filters=[("shopper", "==", shopper)])
    if found.empty:
        raise UserError(
            f"The shopper {shopper} did nothing in the {served.facts['days']} days before {served.as_of}.",
            expected="a pseudonym as in the list",
            next_step="behavior risk shows the list; --as-of names another day",
        )
    row = found.iloc[0]
    everybody = sum(served.facts["outcomes"].values())
    console.print(
        f"{shopper} on {served.as_of}: rank {row['rank']:,} of {everybody:,}, score {row['score']:.2f}; "
        f"{row['outcome']}.",
        markup=False,
        highlight=False,
    )
    if row["phrases"]:
        console.print(f"Surprising: {row['phrases']}", markup=False, highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("rule", "value", "fires above"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for name in RULES:
        limit = served.facts["limits"].get(name)
        broken = limit is not None and row[name] > limit
        style = "bold" if broken else None
        table.add_row(rule_title(name), _money(row[name]), "off" if limit is None else f"{limit:,.3g}", style=style)
    console.print(table, markup=False, highlight=False)


def _money(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _short(served: Served, name: str) -> str:
    """Return a served file's place below the state folder."""
    return str((served.folder / name).relative_to(current_home().root))
