"""`behavior demand`: what was handed out of the coming demand, and what to order from a stock list."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.config import DemandConfig
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import current_home
from behavior_tasks.base.page import shown_number
from behavior_tasks.base.spreadsheet import csv_of
from behavior_tasks.cli.screen import console, tell_banners
from behavior_tasks.serve.demand_stock import judge_stock, read_stock
from behavior_tasks.serve.demand_table import read_table
from behavior_tasks.serve.served import Served, need_served

UNKNOWN_FILE = "stock_unknown.csv"


def demand(
    stock: Annotated[
        Path | None, typer.Option("--stock", help="CSV with product_id and stock: show what to order instead.")
    ] = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="The day it begins; without: the newest.")
    ] = None,
    category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all rows into this CSV file.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Rows on the screen.")] = 20,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --out: texts as they are, for programs; a spreadsheet may run them.")
    ] = False,
) -> None:
    """Show how many pieces of each product the coming horizon will need, as the last scoring handed it out.

    Examples:

        behavior demand --category cups --out demand.csv

        behavior demand --stock stock.csv --out order.csv
    """
    served = need_served(current_home(), "demand", as_of.date() if as_of else None)
    table = read_table(served.folder)
    table = table.assign(expected=table["expected"].astype(float))
    chosen = _only(table, category) if category else table
    tell_banners(served.banners)
    if stock is None:
        shown = chosen[chosen["level"] != "total"] if category else chosen
        _show_demand(served, shown, top)
    else:
        shown = _order(served, table, chosen, stock, out)
        _show_order(shown, stock.name, top)
    if out is not None:
        out.write_text(csv_of(shown, raw=raw), encoding="utf-8")
        console.print(f"{len(shown):,} rows in {out}", markup=False, highlight=False)


def _only(table: pd.DataFrame, category: str) -> pd.DataFrame:
    """Return the rows of a category.

    Raises:
        UserError: when there is none of that name.
    """
    known = table.loc[table["level"] == "category", "category"].tolist()
    if category not in known:
        near = nearest(category, known)
        raise UserError(
            f'There is no category "{category}".',
            expected=", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else ""),
            next_step=f"--category {near}" if near else "leave --category out to see them all",
        )
    return table[table["category"] == category]


def _order(served: Served, table: pd.DataFrame, chosen: pd.DataFrame, stock: Path, out: Path | None) -> pd.DataFrame:
    """Judge a stock file by what was handed out; rows of unknown products go into a file beside `out`."""
    from behavior_tasks.serve.demand import reorder_list  # its backtest and plots take seconds to import

    if not stock.is_file():
        raise UserError(f"There is no stock file {stock}.", next_step="check the path")
    products = table[table["level"] == "product"]
    beside = (out.parent if out else Path()) / UNKNOWN_FILE
    lead_time_days = float(served.facts.get("lead_time_days", DemandConfig().lead_time_days))
    read = read_stock(stock, dict.fromkeys(products["product_id"]), beside, lead_time_days=lead_time_days)
    if read.unknown:
        console.print(f"{read.unknown:,} rows name products that the log does not know: {beside}", markup=False)
    rows = read.rows[read.rows["product_id"].isin(chosen["product_id"])]
    return reorder_list(judge_stock(products, rows, horizon_days=served.facts["horizon_days"]), table)


def _show_demand(served: Served, table: pd.DataFrame, top: int) -> None:
    facts = served.facts
    console.print(f"Demand from {served.as_of}, {facts['horizon_days']} days, {facts['unit']}: {facts['method']}")
    groups = table[table["level"] != "product"].sort_values(["level", "expected"], ascending=[True, False])
    products = table[table["level"] == "product"].sort_values(["expected", "product_id"], ascending=[False, True])
    grid = _grid("what", "expected", f"{facts['interval']:.0%} interval", "last horizon", "note")
    for row in pd.concat([groups.head(top), products.head(top)]).to_dict("records"):
        name = row["product_id"] if row["level"] == "product" else _words(row["category"]) or "the whole shop"
        interval = f"{shown_number(row['lower'])} to {shown_number(row['upper'])}"
        grid.add_row(name, _cell(row["expected"]), interval, _cell(row["last_horizon"]), _words(row["note"]))
    console.print(grid)
    console.print(f"The page: {served.folder / 'page.html'}", markup=False, highlight=False, soft_wrap=True)


def _show_order(orders: pd.DataFrame, name: str, top: int) -> None:
    grid = _grid("product", "order", "stock", "on order", "lasts, days", "at worst", "at best")
    columns = ("order", "stock", "on_order", "days_left", "days_left_pessimistic", "days_left_optimistic")
    for row in orders.head(top).to_dict("records"):
        grid.add_row(row["product_id"], *(_cell(row[column]) for column in columns))
    console.print(f"To order, by {name}: {len(orders):,} products", markup=False, highlight=False)
    console.print(grid)


def _grid(first: str, *others: str) -> Table:
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column(first, overflow="fold")
    for name in others:
        grid.add_column(name, justify="right")
    return grid


def _cell(value: Any) -> str:
    return shown_number(None if pd.isna(value) else float(value))


def _words(value: Any) -> str:
    """Return a text; one that is missing is NaN, which is neither empty nor fit to be shown."""
    return "" if pd.isna(value) else str(value)
