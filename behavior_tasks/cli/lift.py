"""`behavior lift`: which campaigns there are, and what one brought once its horizon is over."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.few import told_count
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.audiences import as_date, costs_of
from behavior_tasks.cli.screen import console, count

CAUSAL = (
    "This is what the contact caused only if everybody on the list was really contacted, and nobody in the control. "
    "95 % intervals."
)
NOBODY_TOOK = "The nightly list of {as_of}, which nobody took away with --out: right only if it was sent as it stands."


def lift(
    campaign: Annotated[
        str | None, typer.Argument(help="An audience's name, or its campaign; without it: which there are.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="Date of the list; without it: the newest that is over."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--input", "-i", help="Today's log; without it: where the last scoring found it, read again."),
    ] = None,
    contact_cost: Annotated[float, typer.Option("--contact-cost", help="What one contact cost.")] = 0.0,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Share of a purchase's amount that the shop earns.")
    ] = None,
    value_of_sale: Annotated[float | None, typer.Option("--value-of-sale", help="What one purchase brings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare what contacted shoppers bought with what the control bought, by today's log; or list the campaigns.

    Examples:

        behavior lift

        behavior lift likely-buyers

        behavior lift likely-buyers --as-of 2026-11-16 --contact-cost 0.05 --margin 0.3
    """
    costs = costs_of(contact_cost, margin, value_of_sale)
    if campaign is None:
        if as_of is not None or log is not None or costs is not None:
            raise UserError("Those options belong to one campaign.", next_step="behavior lift lists their names")
        _list(as_json)
        return
    from behavior_tasks.pipeline.lift import campaign_lift

    now = datetime.now(UTC)
    told = campaign_lift(
        current_home(),
        campaign,
        run_id=f"lift-{now:%Y-%m-%dT%H%M%S}-{uuid4().hex[:4]}",
        day=now.date(),
        as_of=as_date(as_of),
        input_path=log,
        costs=costs,
    )
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    _say_whose(told)
    if not told["over"]:
        _say_not_over(told)
    else:
        _show(told)


def _list(as_json: bool) -> None:
    from behavior_tasks.pipeline.lift import campaign_states

    states = campaign_states(current_home())
    if as_json:
        typer.echo(json.dumps(states, ensure_ascii=False, indent=2))
        return
    if not states:
        console.print("There are no campaigns yet. Next: behavior score", markup=False, highlight=False)
        return
    table = Table(title="Campaigns", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("campaign", "list of", "contact", "control", "taken by", "lift"):
        table.add_column(column, justify="right" if column in {"contact", "control"} else "left", overflow="fold")
    for one in states:
        by = f"{one['taken_by']}, {one['taken_at'][:10]}" if one["taken_by"] else "nobody: nightly"
        people = [told_count(one[group], one["least_told"]) for group in ("contacts", "control")]
        table.add_row(one["campaign"], one["as_of"], *people, by, one["state"])
    console.print(table)
    ready = next((one for one in states if one["ready"]), states[0])
    console.print(
        f"By the log as it was scored last. Next: behavior lift {ready['campaign']} --as-of {ready['as_of']}",
        markup=False,
        highlight=False,
    )


def _say_whose(told: Mapping[str, Any]) -> None:
    """Say which list is meant: the one that somebody took, or a nightly one."""
    for one in told["taken"]:
        number = f", the list number {one['number']} of that date" if one["number"] > 1 else ""
        console.print(
            f"The list of {told['as_of']} that {one['taken_by']} took on {one['taken_at'][:10]}{number} "
            f"({one['audience']}).",
            markup=False,
            highlight=False,
        )
    if not told["taken"]:
        console.print(NOBODY_TOOK.format(as_of=told["as_of"]), markup=False, highlight=False)


def _say_not_over(told: Mapping[str, Any]) -> None:
    console.print(
        f"Not enough data yet: the list of {told['as_of']} counts purchases until {told['until']}, and the log ends "
        f"on {told['log_until'] or 'no day'}.\nNext: behavior lift {told['campaign']} --as-of {told['as_of']}, with a "
        "log that reaches so far",
        markup=False,
        highlight=False,
    )


def _show(told: Mapping[str, Any]) -> None:
    title = f"{told['campaign']}, list of {told['as_of']}, purchases until {told['until']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for column in ("shoppers", "bought", "rate", "expected rate", "amount a shopper"):
        table.add_column(column, justify="right")
    for name, words in (("contact", "contacted"), ("control", "control")):
        group = told[name]
        if group["shoppers"] is None:
            table.add_row(words, told_count(None, told["least_told"]), *["–"] * 4)
            continue
        table.add_row(
            words,
            count(group["shoppers"]),
            count(group["buyers"]),
            _share(group["rate"]),
            _share(group["expected_rate"]),
            f"{group['amount'] / max(group['shoppers'], 1):,.2f}",
        )
    console.print(table)
    if told["gone"] != 0:
        console.print(
            f"{told_count(told['gone'], told['least_told'])} of the list are in the log no more (erased since) and "
            "are left out.",
            style="yellow",
            markup=False,
            highlight=False,
        )
    if not told["enough"]:
        console.print(f"Not enough data yet: {told['why']}.", style="yellow", markup=False, highlight=False)
    more = told["more"]
    _line("more buyers", more["rate"], lambda value: f"{100 * value:+.1f} points")
    _line("… allowing for scores", more["allowing_for_scores"], lambda value: f"{100 * value:+.1f} points")
    _line("extra buyers", more["buyers"], lambda value: f"{value:+,.0f}")
    _line("relative lift", more["relative"], lambda value: f"{100 * value:+.0f} %")
    _line("more amount a shopper", more["amount"], lambda value: f"{value:+,.2f}")
    _line("profit of the contacts", more["profit"], lambda value: f"{value:+,.2f}")
    console.print(_verdict(told), markup=False, highlight=False)
    console.print(CAUSAL, style="dim", highlight=False)


def _verdict(told: Mapping[str, Any]) -> str:
    from behavior_tasks.serve.audiences_lift import effect_of

    effect, needed = effect_of(told), told["needed_control"]
    if effect == "unclear":
        words = "No effect can be told from chance."
        if needed is not None:
            words += (
                f" To show a lift of a fifth four times in five, the control would need {needed:,} shoppers; it has "
                f"{told['control']['shoppers']:,} (audiences.holdout, or a larger audience)."
            )
        return words
    return f"The contact {effect} purchases."


def _line(what: str, told: Mapping[str, float] | None, words: Any) -> None:
    if told is not None:
        figures = f"{words(told['found'])}  ({words(told['lower'])} to {words(told['upper'])})"
        console.print(f"{what:<24}{figures}", markup=False, highlight=False)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
