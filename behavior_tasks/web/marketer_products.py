"""Products: what was handed out of recommendations and demand in; the first of them, with their figures, out.

The one thing to know: only the first rows are read, however many products a shop has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.few import is_few, withheld
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.pipeline.privacy.small_groups import least_group
from behavior_tasks.serve.products_files import DEMAND_FILE, RECOMMENDED_FILE, REORDER_FILE
from behavior_tasks.serve.served import Served
from behavior_tasks.web.marketer_charts import bars_of
from behavior_tasks.web.marketer_look import first_rows
from behavior_tasks.web.marketer_phrases import phrase
from behavior_tasks.web.view import View

LEVELS = ("total", "product", "category")
SHOWN = 20
"""Products on a page; the files hold them all."""


def recommendations_values(home: Home, view: View, served: Served) -> dict[str, Any]:
    """Return what the page of the recommendations shows of what was handed out."""
    facts, least = served.facts, least_group(home)
    rows = [row for row in first_rows(served.folder / RECOMMENDED_FILE, SHOWN) if not is_few(int(row["lists"]), least)]
    lists = [float(row["lists"]) for row in rows]
    exam = facts["study"]["reported"]
    methods = exam["methods"] if exam else []
    return {
        "facts": facts,
        "least": least,
        "method": phrase(view.language, facts["method"]),
        "has_rows": (served.folder / RECOMMENDED_FILE).is_file(),
        "products": [
            {
                "id": row["product_id"],
                "name": row["product_name"],
                "lists": int(row["lists"]),
                "share": int(row["lists"]) / max(facts["shoppers"], 1),
                "first": withheld(int(row["first"]), least),
                "bar": bar,
            }
            for row, bar in zip(rows, bars_of([(count, count, count) for count in lists]), strict=True)
        ],
        "exam": exam if exam is None or not is_few(exam["shoppers"], least) else None,
        "methods": [
            {**row, "words": phrase(view.language, row["method"]), "bar": bar}
            for row, bar in zip(methods, bars_of([_triple(row["hit"]) for row in methods]), strict=True)
        ]
        if exam is not None and not is_few(exam["shoppers"], least)
        else [],
    }


def demand_values(_home: Home, view: View, served: Served) -> dict[str, Any]:
    """Return what the page of the demand shows of what was handed out."""
    folder, facts = served.folder, served.facts
    with connect() as connection:
        total, products, categories = (_largest(connection, folder, level) for level in LEVELS)
    return {
        "facts": facts,
        "unit": phrase(view.language, facts["unit"]),
        "method": phrase(view.language, facts["method"]),
        "total": total[0] if total else None,
        "products": _with_bars(view, products),
        "categories": _with_bars(view, categories),
        "reorder": first_rows(folder / REORDER_FILE, SHOWN),
        "has_stock": (folder / REORDER_FILE).is_file(),
    }


def _largest(connection: duckdb.DuckDBPyConnection, folder: Path, level: str) -> list[dict[str, Any]]:
    """Return the first rows of a level with the largest demand."""
    source = f"read_parquet({quote(folder / DEMAND_FILE)})"
    query = f"""
        SELECT product_id, product_name, category, CAST(expected AS DOUBLE) AS expected, lower, upper, last_horizon,
               expected_amount, note, days_left, "order"
        FROM {source} WHERE level = ? ORDER BY expected DESC, product_id, category LIMIT {SHOWN}
    """
    found = connection.execute(query, [level])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _with_bars(view: View, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bars = bars_of([(row["expected"], row["lower"], row["upper"]) for row in rows])
    return [
        {**row, "note": phrase(view.language, row["note"] or ""), "bar": bar}
        for row, bar in zip(rows, bars, strict=True)
    ]


def _triple(figure: Mapping[str, float]) -> tuple[float, float, float]:
    return figure["value"], figure["lower"], figure["upper"]
