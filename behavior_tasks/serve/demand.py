"""Demand: clean events and the champion's probabilities in; what the coming horizon will need of every product out.

Several methods are tried on the past, the best is served, with intervals, for products, categories and the whole shop;
with a stock file also how long stock lasts and what to order. The one thing to know: where the language model is not
shown to beat the best simple method, the simple one is served and the page says so.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks.base.artifacts import Output, Rows, hash_file
from behavior_tasks.base.config import Config, ExamplesConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, hash_query, quote
from behavior_tasks.data.events import open_events
from behavior_tasks.serve.banners import Banner, banner_facts
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.demand_backtest import Choice, Tried, choose, measure, try_methods
from behavior_tasks.serve.demand_intervals import Asked
from behavior_tasks.serve.demand_log import History, read_history
from behavior_tasks.serve.demand_methods import Sums
from behavior_tasks.serve.demand_model import add_up, ask_champion, honest_origins
from behavior_tasks.serve.demand_page import write_page
from behavior_tasks.serve.demand_stock import Stock, judge_stock, read_stock
from behavior_tasks.serve.demand_table import PARQUET_FILE, STOCK_COLUMNS, forecast_table, write_table
from behavior_tasks.serve.demand_windows import Past
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.products_files import REORDER_FILE
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import FOLDER

UNKNOWN_FILE, METHODS_FILE, PAGE_FILE = "stock_unknown.csv", "methods.csv", "page.html"
SCORES = f"{FOLDER}/scores"
MUCH_BIAS = 0.15
"""Share of what came by which all forecasts together may be off without a banner."""
FAR_OFF = 0.1
"""Coverage that is so far from what was asked for is worth a banner."""


def stock_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names the stock file in the key of `demand_stage`; only its content counts.

    Raises:
        UserError: when there is no such file.
    """
    if not config.demand.stock_file:
        return {"stock": "none"}
    path = Path(config.demand.stock_file).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no stock file {config.demand.stock_file}.",
            expected="a CSV file with product_id and stock (demand.stock_file)",
            next_step="check the path; --set demand.stock_file= goes on without",
        )
    return {"stock": hash_file(path)}


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What trying the methods gave."""

    history: History
    tried: Tried
    choice: Choice
    figures: pd.DataFrame


def demand_stage(job: Job) -> Output:
    """Write the demand of every product, category and the shop; with a stock file also what to order.

    Facts: `method` that is served and `why`, `figures` of all methods, `horizon_days`, `rows`, `banners`.

    Raises:
        UserError: when the stock file is wrong.
    """
    settings, out = job.config.demand, job.out / FOLDER
    out.mkdir()
    champion = Champion.load(job.inputs["champions"], "shopper_product")
    with temporary_folder(job.home, "demand") as scratch:
        history = _read(job, champion, scratch)
        sums = _ask(job, champion, history, scratch) if champion else {}
    asked = Asked(interval=settings.interval, service_level=settings.service_level)
    tried = try_methods(history, sums, average_horizons=settings.average_horizons)
    choice = choose(history, tried, has_champion=champion is not None)
    found = _Found(history=history, tried=tried, choice=choice, figures=measure(history, tried, asked))
    table, stock = forecast_table(history, tried, choice, asked), None
    if settings.stock_file:
        stock = _read_stock(job, table, out)
        table = _with_stock(table, stock, history.horizon_days, out)
    write_table(table, out)
    found.figures.to_csv(out / METHODS_FILE, index=False)
    facts = _facts(job, champion, found, stock)
    write_page(out / PAGE_FILE, table, found.figures, facts)
    with connect() as connection:
        content = hash_query(connection, hashed_sql(out / PARQUET_FILE))
    products = int((table["level"] == "product").sum())
    rows = Rows(unit_in="products", unit_out="products", rows_in=len(history.products), rows_out=products)
    return Output(rows=rows, content_hash=content, facts={**facts, "rows": len(table)})


def _read(job: Job, champion: Champion | None, scratch: Path) -> History:
    settings, clean = job.config.demand, job.inputs["clean"]
    asks = champion or Champion.load(job.inputs["champions"], "shopper")
    past = Past(
        moment=Moment.load(job.inputs["moment"]),
        first=datetime.fromisoformat(clean.facts["first"]),
        horizon_days=(asks.examples if asks else ExamplesConfig()).horizon_days,
        most=settings.past_horizons,
        examples=champion.examples if champion else None,
        net=settings.returns == "net",
    )
    return read_history(open_events(clean), past, scratch / "sales", engine=job.config.engine)


def _facts(job: Job, champion: Champion | None, found: _Found, stock: Stock | None) -> dict[str, Any]:
    settings, history, choice = job.config.demand, found.history, found.choice
    has_quantities = "quantity" in job.inputs["clean"].facts["present"]
    banners = _banners(found, stock, settings.interval, has_quantities=has_quantities)
    return {
        "as_of": history.starts[-1].as_of.isoformat(),
        "horizon_days": history.horizon_days,
        "returns": settings.returns,
        "unit": "pieces" if has_quantities else "purchase lines",
        "interval": settings.interval,
        "service_level": settings.service_level,
        "lead_time_days": settings.lead_time_days,
        "version": champion.version if champion else None,
        "method": choice.method,
        "simple": choice.simple,
        "why": choice.why,
        "weight": found.tried.weights.get(history.windows),
        "season_days": history.season_days,
        "windows": history.windows,
        "figures": _json(found.figures),
        "unknown_stock": stock.unknown if stock else 0,
        "banners": banner_facts(banners, job.inputs["readiness"]),
    }


def _ask(job: Job, champion: Champion, history: History, scratch: Path) -> dict[int, Sums]:
    """Return what the champion says at the moment, and said at the newest origins that it was not trained on."""
    clean = job.inputs["clean"]
    earlier = ask_champion(
        champion,
        open_events(clean),
        history,
        honest_origins(champion, history, most=job.config.demand.model_horizons),
        scratch / "asked",
        place=Place.of(job.home, job.config),
        data_hash=str(clean.manifest.content_hash),
    )
    return {**earlier, history.windows: add_up(history, job.inputs["product_scores"].path / SCORES)}


def _read_stock(job: Job, table: pd.DataFrame, out: Path) -> Stock:
    path = Path(job.config.demand.stock_file).expanduser()
    known = dict.fromkeys(table.loc[table["level"] == "product", "product_id"])
    stock = read_stock(path, known, out / UNKNOWN_FILE, lead_time_days=job.config.demand.lead_time_days)
    if hash_file(path) != job.outside["stock"]:
        raise UserError(
            f"The stock file {path.name} changed while it was read.", next_step="run again when its export is finished"
        )
    return stock


def _with_stock(table: pd.DataFrame, stock: Stock, horizon_days: int, out: Path) -> pd.DataFrame:
    """Write the list of what to order, and return the table with how long stock lasts."""
    judged = judge_stock(_numbers(table), stock.rows, horizon_days=horizon_days)
    reorder_list(judged, table).to_csv(out / REORDER_FILE, index=False)
    return table.drop(columns=list(STOCK_COLUMNS)).merge(
        judged[["product_id", *STOCK_COLUMNS]].round(3), on="product_id", how="left"
    )[table.columns]


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the products of a table of demand with plain numbers."""
    products = table[table["level"] == "product"]
    return products.assign(expected=products["expected"].astype(float))


def reorder_list(judged: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return what to order, the most urgent first.

    Args:
        judged: what `judge_stock` gives.
        table: the forecast, for names and categories.
    """
    names = table.loc[table["level"] == "product", ["product_id", "product_name", "category"]]
    wanted = judged[judged["order"] > 0].merge(names, on="product_id", how="left")
    columns = ["product_id", "product_name", "category", "order", "stock", "on_order", "lead_time_days"]
    columns += ["reorder_point", "expected", "days_left", "days_left_pessimistic", "days_left_optimistic"]
    ordered = wanted.sort_values(["days_left_pessimistic", "product_id"], na_position="last")[columns]
    return ordered.round(3).reset_index(drop=True)


def hashed_sql(path: Path) -> str:
    """Return the query of a demand table's rows in which every value has a hash."""
    return f"SELECT * REPLACE (CAST(expected AS VARCHAR) AS expected) FROM read_parquet({quote(path)})"


def _json(figures: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if isinstance(value, float) and pd.isna(value) else value for name, value in row.items()}
        for row in figures.to_dict("records")
    ]


def _banners(tested: _Found, stock: Stock | None, interval: float, *, has_quantities: bool) -> list[Banner]:
    choice, history = tested.choice, tested.history
    found = []
    if not choice.model_wins:
        step = "behavior run --set examples.unit=shopper_product --set registry.model_name=behavior-products"
        if history.unseen is not None:
            step = "use it as it is; the language model is tried again every night, on more and more horizons"
        found.append(_notice("simple_demand", choice.why, step))
    if not has_quantities:
        words = "The log tells no quantities, so demand is counted in purchase lines."
        found.append(_notice("demand_in_lines", words, "map the column: --set source.columns.quantity=NAME"))
    if history.windows < 3:
        words = f"The log holds {history.windows} whole horizon(s) before the day: no method could be tried properly."
        found.append(_notice("short_past", words, "give a longer log, or train a champion with a shorter horizon"))
    bias = served_figure(tested.figures, choice.method, "bias")
    if bias is not None and abs(bias) > MUCH_BIAS:
        words = f"On past horizons the method told {abs(bias):.0%} too {'much' if bias > 0 else 'little'} altogether."
        found.append(_notice("demand_biased", words, "look at the whole shop's last horizon too before you order"))
    coverage = served_figure(tested.figures, choice.method, "coverage")
    if coverage is not None and abs(coverage - interval) > FAR_OFF:
        words = f"Intervals that shall hold {interval:.0%} of the products held {coverage:.0%} on past horizons."
        found.append(_notice("demand_interval_off", words, "read the intervals as too narrow or too wide by as much"))
    if stock is not None and stock.unknown:
        words = f"Rows of the stock file that name products which the log does not know: {stock.unknown:,}."
        found.append(_notice("unknown_stock", words, f"look into {UNKNOWN_FILE}: it holds each with its reason"))
    return found


def _notice(code: str, words: str, next_step: str) -> Banner:
    return Banner(code=code, level="notice", words=words, next_step=next_step)


def served_figure(figures: pd.DataFrame, method: str, name: str) -> float | None:
    """Return a figure of a method on products, or None where it could not be measured."""
    if figures.empty:
        return None
    values = figures[(figures["method"] == method) & (figures["level"] == "product")][name].dropna()
    return float(values.iloc[0]) if len(values) else None
