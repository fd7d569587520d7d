"""`behavior watch`: one day watched, here or as the DAG through Airflow, then what stands and what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import read_as_of
from behavior_tasks.base.home import current_home
from behavior_tasks.cli import airflow, processes
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import LEVEL_STYLES, console, count, figure
from behavior_tasks.cli.stages import say_stage, start_now
from behavior_tasks.pipeline import Run, open_run, watch_stages
from behavior_tasks.serve.banners import EXIT_CODE

if TYPE_CHECKING:
    from behavior_tasks.watch.kept import Kept

WIDTH = 15
"""Of the names of stages."""


def watch(
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="The day at whose beginning the watch looks; without it: the day after the log's last event.",
        ),
    ] = None,
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    through_airflow: Annotated[
        bool, typer.Option("--airflow", help="Run the DAG behavior_monitoring through Airflow instead of here.")
    ] = False,
) -> None:
    """Judge what was served by what then happened, and say what has changed in the shop or in its log.

    Exit code 0: nothing severe stands. 2: the day could not be watched. 3: something severe stands.

    Examples:

        behavior watch --input log.csv.gz --preset taobao

        behavior watch --input log.csv --as-of 2026-11-23
    """
    settings, day = parse_settings(set), read_as_of(as_of)
    # Wrong settings are refused here, before Airflow or a database is started.
    load_config(preset, file=config, overrides=settings)
    asked = {"input": input, "preset": preset, "config_file": str(config) if config else None}
    if through_airflow:
        filled = {key: value for key, value in {**asked, "as_of": as_of, **settings}.items() if value is not None}
        kept = _through_airflow(filled, datetime.now(UTC))
    else:
        kept = _here(open_run(start_now("monitoring", asked, settings, as_of=day)))
    console.print(closing_page(kept))
    if any(alert.level == "severe" for alert in kept.standing.alerts):
        raise typer.Exit(EXIT_CODE)


def closing_page(kept: "Kept") -> RenderableType:
    """Return what the engineer on call wants to know."""
    from behavior_tasks.watch.handed_out import newest  # what watches takes seconds to import
    from behavior_tasks.watch.kept import version_rows

    matured = kept.table("matured")
    table = Table(title=f"Watch of {kept.day}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("served", "days", "buyers", "promised", "F1", "F1 at its test", "AP"):
        table.add_column(name, justify="left" if name == "served" else "right", no_wrap=True)
    for row in version_rows(matured).to_dict("records"):
        table.add_row(
            f"{row['unit']} {row['version']}",
            str(row["days"]),
            count(int(row["buyers"])),
            f"{row['promised']:,.0f}",
            f"{figure(row['f1'])} ({figure(row['f1_lower'])}–{figure(row['f1_upper'])})",
            figure(row["test_f1"]),
            figure(row["average_precision"]),
        )
    days = matured[matured["what"] == "day"]
    waiting = days[days["state"] == "not matured"]
    parts: list[RenderableType] = [table] if table.row_count else []
    if not len(days):
        parts.append(Text("Nothing has been served yet, so there is nothing to judge. Next: behavior score"))
    elif len(waiting):
        first = waiting["until"].min().date()
        parts.append(Text(f"Not matured: {len(waiting)} served; the first can be judged on {first}."))
    came = newest(kept.table("handed_out"))
    parts += [Text(line) for line in _what_came(came)]
    parts += [
        Text(
            f"{one.level}, {'new' if one.since == kept.day else f'since {one.since}'}: {one.words}\n"
            f"  next: {one.next_step}",
            LEVEL_STYLES[one.level],
        )
        for one in kept.standing.alerts
    ]
    if not kept.standing.alerts:
        parts.append(Text("Nothing is out of the ordinary."))
    parts.append(Text.assemble(("Report\n", "bold"), f"  {kept.folder / 'report.html'}"))
    return Group(*parts)


def _what_came(table: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each application's newest output that could be judged."""
    figures = {(row["application"], row["figure"]): row for row in table.to_dict("records")}
    wape, inside = (figures.get(("demand", name)) for name in ("wape", "inside"))
    if wape:
        held = (
            f"; intervals held {inside['value']:.0%} of the products, of {inside['asked']:.0%} asked" if inside else ""
        )
        told = f"{figure(wape['value'])} (promised {figure(wape['promised'])}, naive {figure(wape['rival'])})"
        yield f"Demand of {wape['as_of'].date()}: WAPE {told}{held}."
    hit = figures.get(("recommendations", "hit"))
    if hit:
        told = f"{figure(hit['value'])} ({figure(hit['lower'])}–{figure(hit['upper'])}) of {int(hit['count']):,} buyers"
        yield f"Recommendations of {hit['as_of'].date()}: hit rate {told}; promised {figure(hit['promised'])}."
    lists = table[table["figure"].isin(["buyers", "buyers_set_right"])]
    if len(lists):
        # Of an audience that was set right, the later row has that interval.
        lists = lists.drop_duplicates("about", keep="last")
        inside_of = (lists["value"] >= lists["promised_lower"]) & (lists["value"] <= lists["promised_upper"])
        words = "brought as many buyers as their intervals say"
        yield f"Audiences of {lists['as_of'].iloc[0].date()}: {int(inside_of.sum())} of {len(lists)} {words}."


def _here(run: Run) -> "Kept":
    with console.status("starting") as status:
        return watch_stages(
            run.uri,
            on_start=lambda name: status.update(name),
            on_end=lambda record: say_stage(run, record, width=WIDTH),
        )


def _through_airflow(asked: dict[str, Any], now: datetime) -> "Kept":
    """Run the DAG and return what it kept.

    Raises:
        UserError: when the day was not watched.
    """
    from behavior_tasks.pipeline.watching import kept_of

    console.print(f"Airflow runs the DAG {airflow.MONITORING_DAG} (the first time, its database is made too).")
    home = current_home()
    with console.status("starting Airflow") as status:

        def on_tick(run_id: str | None) -> None:
            if run_id is not None:
                status.update(f"after {len(open_run(run_id).stages())} stages")

        result = airflow.run_dag(
            home, airflow.PROJECT, asked, logical_date=now, dag_id=airflow.MONITORING_DAG, on_tick=on_tick
        )
    run = open_run(result.run_id) if result.run_id else None
    kept = kept_of(run.uri) if run is not None else None
    if kept is None:
        error = run.noted("error") if run is not None else None
        raise UserError(
            "The DAG run did not watch the day.",
            found=error["message"] if error else processes.last_lines(result.log) if result.log else None,
            next_step="behavior watch, without --airflow, says more",
        )
    return kept
