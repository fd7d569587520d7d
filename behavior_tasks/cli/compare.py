"""`behavior compare`: two versions or runs side by side, only what differs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.registry_options import Model, registry_config
from behavior_tasks.cli.screen import console

if TYPE_CHECKING:
    from behavior_tasks.pipeline.compare import Comparison, Row, Side

HASH_SHOWN = 12
NAMES = {"f1": "F1", "average_precision": "average precision"}


def compare(
    first: Annotated[str, typer.Argument(help="A version's number, an alias, a run's id or its name.")],
    second: Annotated[str, typer.Argument(help="What it is compared with; likewise.")],
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Show the metrics, settings and data in which two versions or runs differ; nothing that is the same.

    Metrics of different test examples are marked as not comparable. On the same examples, F1 and average precision
    get a difference with its interval (paired bootstrap by shopper).

    Exit code 0: compared. 2: one of them is not there.

    Examples:

        behavior compare previous champion

        behavior compare 3 2026-11-27T094536-98e8 --json
    """
    from behavior_tasks.pipeline.compare import compare as compare_two

    home = current_home()
    config = registry_config(home, model)
    found = compare_two(home, config, first, second)
    if as_json:
        console.print_json(json.dumps(_jsonable(found), ensure_ascii=False, allow_nan=False))
    else:
        _show(found, confidence=config.gate.confidence)


def _show(found: "Comparison", *, confidence: float) -> None:
    console.print(f"A  {found.first.label}\nB  {found.second.label}", markup=False, highlight=False)
    if found.not_comparable:
        console.print(f"Not comparable: {found.not_comparable}.", style="yellow", highlight=False)
    for title, rows in (("Metrics on test", found.metrics), ("Settings", found.settings), ("Data", found.data)):
        if rows:
            console.print(_table(title, rows, steps=title.startswith("Metrics") and not found.not_comparable))
        else:
            console.print(f"{title}: the same")
    for name, difference in found.differences.items():
        told = (difference.difference, difference.lower, difference.upper)
        if all(math.isfinite(value) for value in told):
            by, low, high = (f"{value:+.3f}".replace("-", "−") for value in told)
            level = f"{100 * confidence:g} % interval"
            words = f"{NAMES[name]}: B − A = {by}, {level} {low} to {high}, on the same examples"
            console.print(words, highlight=False)


def _table(title: str, rows: Sequence["Row"], *, steps: bool) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for name in ("A", "B", *(("B − A",) if steps else ())):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        cells = [row.name, _cell(row.first), _cell(row.second)]
        if steps:
            cells.append(_step(row))
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _step(row: "Row") -> str:
    if not isinstance(row.first, float) or not isinstance(row.second, float):
        return "–"
    return f"{row.second - row.first:+.3f}".replace("-", "−")


def _cell(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        # Whole hashes say no more than their beginning.
        return value[:HASH_SHOWN] if len(value) == 64 else value
    return f"{value:.3f}"


def _jsonable(found: "Comparison") -> dict[str, Any]:
    def side(told: "Side") -> dict[str, Any]:
        named = ("label", "run_id", "version", "kind", "test_hash")
        return {name: getattr(told, name) for name in named}

    return {
        "first": side(found.first),
        "second": side(found.second),
        "comparable": found.not_comparable is None,
        "not_comparable": found.not_comparable,
        **{name: [asdict(row) for row in getattr(found, name)] for name in ("metrics", "settings", "data")},
        "differences": {
            name: {k: v if math.isfinite(v) else None for k, v in asdict(difference).items()}
            for name, difference in found.differences.items()
        },
    }
