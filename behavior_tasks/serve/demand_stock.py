"""Stock: a shop's list of what lies on the shelf and a forecast in; days that it will last, and what to order, out.

A product is ordered when what is there and on its way falls below what the lead time may need at the service level, up
to what one further horizon may need (the (s, S) rule; Silver, Pyke and Thomas 2017). The one thing to know: the file
is read line by line and only products that the log knows are kept, so its size costs no memory.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError, nearest

NEEDED, OPTIONAL = ("product_id", "stock"), ("lead_time_days", "on_order")
REVIEW_DAYS = 1.0
"""Days until the list is made again."""
SHOWN_MISTAKES = 5
UNKNOWN_REASON = "the log has no event with this product before the day"


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A stock file, read."""

    rows: pd.DataFrame
    """product_id, stock, lead_time_days, on_order of the products that the log knows, in the order of the file."""
    unknown: int
    """Rows of products that the log does not know."""


def read_stock(path: Path, known: Mapping[str, Any], unknown_file: Path, *, lead_time_days: float) -> Stock:
    """Read a stock file.

    Args:
        path: CSV, separated by commas, semicolons or tabs.
        known: ids of products that can be forecast.
        unknown_file: CSV to write the rows of other products into, with line and reason; not made when there are none.
        lead_time_days: where the file names none.

    Raises:
        UserError: naming the column that is missing, or the lines that are wrong; no row is used then.
    """
    kept: dict[str, tuple[int, float, float, float]] = {}
    mistakes: list[str] = []
    unknown = rows = wrong = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream, _Unknown(unknown_file) as others:
            for line, row in _rows(stream, path.name):
                rows += 1
                product, problem = (row["product_id"] or "").strip(), None
                numbers = _numbers(row, lead_time_days)
                if not product:
                    problem = "product_id is empty"
                elif isinstance(numbers, str):
                    problem = numbers
                elif product in kept:
                    problem = f"product {product} stands in line {kept[product][0]} already"
                if problem is not None:
                    wrong += 1
                    mistakes += [f"line {line}: {problem}"] if len(mistakes) < SHOWN_MISTAKES else []
                elif product not in known:
                    unknown += 1
                    others.add(line, product, str(row["stock"]))
                else:
                    assert not isinstance(numbers, str)  # it would be a problem
                    kept[product] = (line, *numbers)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path.name, str(error)) from None
    except OSError as error:
        raise _unreadable(path.name, error.strerror or "it can't be opened") from None
    if wrong or not rows:
        unknown_file.unlink(missing_ok=True)
        raise _wrong(path.name, mistakes, wrong, rows)
    table = pd.DataFrame.from_dict(kept, orient="index", columns=["line", "stock", "lead_time_days", "on_order"])
    table = table.drop(columns="line").astype(float).rename_axis("product_id").reset_index()
    return Stock(rows=table, unknown=unknown)


class _Unknown:
    """Writes rows of unknown products; the file is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None

    def __enter__(self) -> "_Unknown":
        return self

    def add(self, line: int, product: str, stock: str) -> None:
        if self._stream is None:
            self._stream = self._path.open("w", encoding="utf-8", newline="")
            self._write("line", "product_id", "stock", "reason")
        self._write(line, product, stock, UNKNOWN_REASON)

    def _write(self, *values: object) -> None:
        csv.writer(self._stream, lineterminator="\n").writerow(values)  # type: ignore[arg-type]  # it is open

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()


def _rows(stream: Any, name: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Give line number and values of every row, by column.

    Raises:
        UserError: when the file is empty or lacks a column.
    """
    header = stream.readline()
    delimiter = max(",;\t", key=header.count)
    columns = [word.strip() for word in next(csv.reader([header], delimiter=delimiter), [])]
    if not any(columns):
        raise UserError(
            f"The stock file {name} is empty.",
            expected="a header line product_id,stock and a line for every product",
            next_step="check the export; an empty demand.stock_file judges no stock",
        )
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        near = {column: nearest(column, [c for c in columns if c not in NEEDED]) for column in missing}
        hints = [f"rename {found} to {column}" for column, found in near.items() if found]
        raise UserError(
            f"The stock file {name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}.",
            found=", ".join(columns),
            expected=f"{', '.join(NEEDED)}; if you like {', '.join(OPTIONAL)}",
            next_step="; ".join(hints) or "add it",
        )
    reader = csv.DictReader(stream, fieldnames=columns, delimiter=delimiter)
    for row in reader:
        yield 1 + reader.line_num, row


def _numbers(row: Mapping[str, str | None], lead_time_days: float) -> tuple[float, float, float] | str:
    """Return stock, lead time and what is on order, or what is wrong with them."""
    found = []
    for column, default in (("stock", None), ("lead_time_days", lead_time_days), ("on_order", 0.0)):
        text = (row.get(column) or "").strip()
        if not text and default is not None:
            found.append(default)
            continue
        try:
            number = float(text)
        except ValueError:
            return f"{column} is {text!r}, not a number" if text else f"{column} is empty"
        if not math.isfinite(number) or number < 0:
            return f"{column} is {text}; expected a number that is not negative"
        found.append(number)
    return found[0], found[1], found[2]


def _wrong(name: str, mistakes: list[str], wrong: int, rows: int) -> UserError:
    if not rows:
        return UserError(
            f"The stock file {name} has a header and no rows.",
            expected="a line for every product",
            next_step="check the export; an empty demand.stock_file judges no stock",
        )
    more = [f"and {wrong - len(mistakes)} more"] if wrong > len(mistakes) else []
    return UserError(
        f"The stock file {name} has {wrong} wrong line{'s' if wrong > 1 else ''} of {rows}; nothing of it was used.",
        found="\n".join([*mistakes, *more]),
        expected="every product once, with a stock of zero or more",
        next_step="mend these lines and run again",
    )


def _unreadable(name: str, why: str) -> UserError:
    return UserError(
        f"The stock file {name} can't be read.",
        found=why,
        expected="a CSV file in UTF-8 with product_id and stock",
        next_step="check the path (demand.stock_file, or --stock) and the export",
    )


def judge_stock(forecast: pd.DataFrame, stock: pd.DataFrame, *, horizon_days: int) -> pd.DataFrame:
    """Say how long stock lasts and what to order.

    Demand grows with time and its error with the square root of time.

    Args:
        forecast: product_id, expected, lower, upper, safe (pieces of one horizon, floats).
        stock: product_id, stock, lead_time_days, on_order; known products only.
        horizon_days: of the forecast.

    Returns:
        Of each row of `stock` also days_left, days_left_pessimistic, days_left_optimistic (NaN: nothing will be sold
        that anybody can tell), reorder_point and order (whole pieces, 0: enough).
    """
    table = stock.merge(forecast[["product_id", "expected", "lower", "upper", "safe"]], on="product_id", how="left")
    expected, there = table["expected"].to_numpy(), table["stock"].to_numpy()
    table["days_left"] = horizon_days * _lasting(there, expected, np.zeros(len(table)))
    table["days_left_pessimistic"] = horizon_days * _lasting(there, expected, table["upper"].to_numpy() - expected)
    table["days_left_optimistic"] = horizon_days * _lasting(there, expected, table["lower"].to_numpy() - expected)
    waiting = (table["lead_time_days"].to_numpy() + REVIEW_DAYS) / horizon_days
    beyond = table["safe"].to_numpy() - expected
    # Half a piece is none: what hardly sells is not ordered because its forecast is not quite nought.
    table["reorder_point"] = np.floor(expected * waiting + beyond * np.sqrt(waiting) + 0.5)
    full = expected * (waiting + 1) + beyond * np.sqrt(waiting + 1)
    position = there + table["on_order"].to_numpy()
    wanted = position < table["reorder_point"].to_numpy()
    table["order"] = np.where(wanted, np.ceil(np.maximum(0.0, full - position) - 1e-9), 0.0).astype(np.int64)
    return table


def _lasting(stock: np.ndarray, expected: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Return after how many horizons t the demand, expected · t + beyond · √t, has used the stock up; NaN: never."""
    with np.errstate(divide="ignore", invalid="ignore"):
        root = (-beyond + np.sqrt(beyond**2 + 4 * expected * stock)) / (2 * expected)
        straight = np.where(beyond > 0, stock / beyond, np.nan)
    return np.where(expected > 0, root, straight) ** 2
