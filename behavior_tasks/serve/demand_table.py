"""The table of demand: the chosen forecast in; one row a product, a category and the shop, with intervals, out.

Products add up to their category and categories to the shop exactly: expectations are rounded to whole thousandths
before they are added, and kept as decimal numbers. The one thing to know: the interval of a category is its own, fitted
on past errors of categories; it is no sum of its products' intervals.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.serve.demand_backtest import Choice, Tried, group_sums, outcomes
from behavior_tasks.serve.demand_intervals import Asked, Calibration
from behavior_tasks.serve.demand_log import MILLI, History
from behavior_tasks.serve.products_files import DEMAND_FILE

PARQUET_FILE, CSV_FILE = DEMAND_FILE, "demand.csv"
STOCK_COLUMNS = (
    *("stock", "on_order", "lead_time_days", "days_left", "days_left_pessimistic", "days_left_optimistic"),
    *("reorder_point", "order"),
)
"""Of a product; empty where no stock file names it."""
SCHEMA = pa.schema(
    [
        ("level", pa.string()),
        ("product_id", pa.string()),
        ("category", pa.string()),
        ("product_name", pa.string()),
        ("expected", pa.decimal128(18, 3)),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("safe", pa.float64()),
        ("not_yet_seen", pa.float64()),
        ("last_horizon", pa.float64()),
        ("expected_amount", pa.float64()),
        ("note", pa.string()),
        *((name, pa.float64()) for name in STOCK_COLUMNS),
    ]
)
"""Pieces of one horizon. `level` is product, category or total; `safe` is enough at the service level; `not_yet_seen`
is the part of `expected` for shoppers who had not touched the product, where the language model is served."""
SILENT_HORIZONS = 4
"""A product without a sale in so many horizons is noted."""


def forecast_table(history: History, tried: Tried, choice: Choice, asked: Asked) -> pd.DataFrame:
    """Return the table with the columns of SCHEMA, of stock nothing yet; products by id, categories by name, total."""
    forecast, past = tried.now[choice.method], tried.past[choice.method]
    milli = np.round(forecast.expected * MILLI).astype(np.int64)
    expected = milli / MILLI
    ranges = Calibration.fit(outcomes(history, past, "product", list(past)), asked).ranges(expected, forecast.variance)
    products = pd.DataFrame(
        {
            "level": "product",
            "product_id": history.products["product_id"],
            "category": history.products["category"],
            "product_name": history.products["product_name"],
            "milli": milli,
            "lower": ranges.lower,
            "upper": ranges.upper,
            "safe": ranges.safe,
            "not_yet_seen": np.nan if forecast.unseen is None else forecast.unseen,
            "last_horizon": history.units[:, -1],
            "expected_amount": expected * history.products["price"],
            "note": _notes(history),
        }
    )
    table = pd.concat([products, _groups(history, products, choice, tried, asked)], ignore_index=True)
    from_milli = pa.array(table["milli"].to_numpy()).cast(pa.decimal128(22, 0))
    table["expected"] = [value.as_py().scaleb(-3) for value in from_milli]
    for name in ("lower", "upper", "safe", "not_yet_seen", "expected_amount"):
        table[name] = table[name].astype(float).round(3)
    return table.drop(columns="milli").reindex(columns=SCHEMA.names)


def _groups(history: History, products: pd.DataFrame, choice: Choice, tried: Tried, asked: Asked) -> pd.DataFrame:
    forecast, past = tried.now[choice.method], tried.past[choice.method]
    groups = products.groupby("category", sort=True)
    added = ["milli", "not_yet_seen", "last_horizon", "expected_amount"]
    categories = groups[added].sum(min_count=1).reset_index().assign(level="category")
    total = products[added].sum(min_count=1).to_frame().T.assign(level="total")
    table = pd.concat([categories, total], ignore_index=True)
    # Whole numbers: an integer sum is exact, and floats hold whole thousandths up to 9 · 10^12 pieces.
    table["milli"] = [*groups["milli"].sum(), products["milli"].sum()]
    table["milli"] = table["milli"].astype(np.int64)
    calibration = Calibration.fit(outcomes(history, past, "category", list(past)), asked)
    ranges = calibration.ranges(table["milli"].to_numpy() / MILLI, group_sums(history, forecast.variance))
    return table.assign(lower=ranges.lower, upper=ranges.upper, safe=ranges.safe, note="")


def _notes(history: History) -> np.ndarray:
    """Return what a planner should know of each product's past."""
    sold = history.units > 0
    silent = np.where(sold.any(axis=1), np.argmax(sold[:, ::-1], axis=1), history.windows)
    young = history.exposure.sum(axis=1) < 1
    quiet = (silent >= SILENT_HORIZONS) & ~young
    words = np.array([f"no sale in {n} horizons" for n in range(history.windows + 1)], dtype=object)
    return np.where(young, "new", np.where(quiet, words[silent], ""))


def write_table(table: pd.DataFrame, folder: Path) -> None:
    """Write the table as Parquet and as CSV."""
    rows = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(), folder / PARQUET_FILE, compression="zstd")
    table.to_csv(folder / CSV_FILE, index=False)


def read_table(folder: Path) -> pd.DataFrame:
    """Return what `write_table` wrote; `expected` holds decimal numbers."""
    return pq.read_table(folder / PARQUET_FILE).to_pandas()
