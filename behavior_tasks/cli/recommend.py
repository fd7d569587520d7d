"""`behavior recommend`: what was handed out of the recommendations, for one shopper or all."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.few import told_count, withheld
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.base.spreadsheet import csv_of
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import console, count, figure, tell_banners
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key, key_exists
from behavior_tasks.data.parse import plain_user_sql
from behavior_tasks.serve.audiences_files import write_private
from behavior_tasks.serve.served import Served, need_served

SHOWN_SHOPPERS = 3


def recommend(
    shopper: Annotated[
        str | None, typer.Option("--shopper", help="One shopper: a pseudonym, or an id as it stands in the log.")
    ] = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="The day; without: the newest.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the lists into this CSV file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --out: texts as they are, for programs; a spreadsheet may run them.")
    ] = False,
) -> None:
    """Show which method recommends and why, and what it recommends, as the last scoring handed it out.

    A file holds the lists of privacy.min_group shoppers or more, or none; it is its owner's alone, and logged.

    Examples:

        behavior recommend

        behavior recommend --shopper ID

        behavior recommend --as-of 2026-02-20 --out recommendations.csv
    """
    from behavior_tasks.pipeline.privacy.small_groups import least_group

    home = current_home()
    served = need_served(home, "recommendations", as_of.date() if as_of else None)
    least = least_group(home)
    if as_json:
        counted = {name: withheld(served.facts[name], least) for name in ("shoppers", "fewer")}
        console.print_json(json.dumps({**served.facts, **counted, "least_told": least}, ensure_ascii=False))
        return
    tell_banners(served.banners)
    if shopper is None:
        _show_methods(served, least)
    with connect() as connection:
        lists = _lists(connection, served, _names(home, shopper) if shopper else None, everything=out is not None)
    if shopper is not None and lists.empty:
        console.print(
            "Nobody by that name had an event in the lookback. This is what somebody new is shown:", highlight=False
        )
        lists = _for_anybody(served)
    _show_lists(lists)
    if out is not None:
        _write(home, served, lists, out, raw=raw)
    elif shopper is None:
        page = served.folder / "page.html"
        console.print(f"The page: {page}", markup=False, highlight=False, soft_wrap=True)


def _write(home: Home, served: Served, lists: pd.DataFrame, out: Path, *, raw: bool) -> None:
    """Write lists of enough shoppers, once the log of exports has a line of it."""
    from behavior_tasks.pipeline.export import log_export
    from behavior_tasks.pipeline.privacy.small_groups import least_group, refuse_small, set_hash

    shoppers = set(lists["shopper"]) - {""}
    refuse_small(
        len(shoppers),
        least_group(home),
        "A file of recommendations",
        next_step="leave out --out to see one shopper's on the screen, or --shopper to have everybody's",
    )
    told = {"as_of": served.as_of.isoformat(), "shoppers": len(shoppers), "set": set_hash(shoppers)}
    log_export(home, when=datetime.now(UTC), who=user_name(), what={"recommendations": served.artifact, **told})
    write_private(out, csv_of(lists, raw=raw))
    console.print(f"{len(lists):,} rows in {out}", markup=False, highlight=False, soft_wrap=True)


def _names(home: Home, asked: str) -> list[str]:
    """Return the pseudonyms that a shopper may mean: what was asked, and that of a raw id where the key is here."""
    if not key_exists(home):
        return [asked]
    with connect() as connection:
        row = connection.execute(f"SELECT {plain_user_sql('CAST(? AS VARCHAR)')}", [asked.strip()]).fetchone()
    assert row is not None  # a query without a table gives one row
    return [asked, pseudonym(str(row[0]), identity_key(home))]


def _lists(
    connection: duckdb.DuckDBPyConnection, served: Served, names: list[str] | None, *, everything: bool
) -> pd.DataFrame:
    from behavior_tasks.serve.recommend_lists import FILE  # what makes the lists takes seconds to import

    source = f"read_parquet({quote(served.folder / FILE)})"
    if names is not None:
        wanted = f"SELECT * FROM {source} WHERE shopper IN (SELECT unnest(CAST(? AS VARCHAR[]))) ORDER BY shopper, rank"
        return connection.execute(wanted, [names]).df()
    some = f"(SELECT DISTINCT shopper FROM {source} ORDER BY shopper LIMIT {SHOWN_SHOPPERS})"
    where = "" if everything else f"WHERE shopper IN {some}"
    return connection.execute(f"SELECT * FROM {source} {where} ORDER BY shopper, rank").df()


def _for_anybody(served: Served) -> pd.DataFrame:
    from behavior_tasks.serve.recommend_lists import ANYBODY

    with (served.folder / ANYBODY).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["category"]]
    columns = ["rank", "product_id", "product_name"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(shopper="", method="recent popularity", reason="popular in the shop lately")


def _show_methods(served: Served, least: int) -> None:
    facts = served.facts
    console.print(escape(f"Recommendations of {served.as_of}: {facts['why']}"), highlight=False)
    console.print(
        f"{told_count(facts['shoppers'], least)} shoppers, {count(facts['rows'])} recommendations of "
        f"{count(facts['products'])} products; {told_count(facts['fewer'], least)} shoppers got no whole list of "
        f"{facts['top']}.",
        highlight=False,
    )
    exam = facts["study"]["reported"]
    if exam is None:
        return
    grid = _grid("method", "NDCG@10", "95 %", "Recall@10", "MRR@10", "coverage")
    for row in exam["methods"]:
        told, style = row["ndcg"], "bold" if row["served"] else None
        cells = [figure(told["value"]), f"{figure(told['lower'])} to {figure(told['upper'])}"]
        cells += [figure(row["recall"]["value"]), figure(row["mrr"]["value"]), f"{row['coverage']:.1%}"]
        grid.add_row(row["method"], *cells, style=style)
    console.print(grid)


def _show_lists(lists: pd.DataFrame) -> None:
    for shopper, rows in lists.head(SHOWN_SHOPPERS * 1000).groupby("shopper", sort=False):
        grid = _grid("rank", "product", "name", "why", "method")
        for row in rows.head(20).to_dict("records"):
            grid.add_row(*(escape(_cell(row[name])) for name in _COLUMNS))
        console.print(f"Shopper {shopper!s}" if shopper else "", highlight=False)
        console.print(grid)
        if lists["shopper"].nunique() > SHOWN_SHOPPERS:
            break


_COLUMNS = ("rank", "product_id", "product_name", "reason", "method")


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _grid(*names: str) -> Table:
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        grid.add_column(name, overflow="fold")
    return grid
