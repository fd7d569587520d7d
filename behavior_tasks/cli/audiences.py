"""`behavior audiences`: whom to contact, from what was handed out last; a budget; lists to take away."""

import getpass
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.cli.screen import console, count

APPLICATION = "audiences"
SHOWN_ROWS = 10


def audiences(
    name: Annotated[str | None, typer.Argument(help="One audience; without it: all of them.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="A date; without it: the newest.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="So many can be contacted: who brings most?")
    ] = None,
    contact_cost: Annotated[float, typer.Option("--contact-cost", help="What one contact costs.")] = 0.0,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Share of a purchase's amount that the shop earns, e.g. 0.3.")
    ] = None,
    value_of_sale: Annotated[
        float | None, typer.Option("--value-of-sale", help="What one purchase brings, instead of --margin.")
    ] = None,
    campaign: Annotated[
        str, typer.Option("--campaign", help="With a budget: what the control is drawn for.")
    ] = "budget",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the list as CSV, and the control beside it as NAME.control.csv."),
    ] = None,
    real_ids: Annotated[
        bool, typer.Option("--real-ids", help="With --out: the shop's own ids; needs the key and the log. Logged.")
    ] = False,
    log: Annotated[
        str | None, typer.Option("--input", "-i", help="With --real-ids: the log, where it lies elsewhere now.")
    ] = None,
) -> None:
    """Show the audiences that were handed out last, ask for one by budget, or take a list away.

    Examples:

        behavior audiences

        behavior audiences likely-buyers --out list.csv

        behavior audiences --budget 5000 --contact-cost 0.05 --margin 0.3 --out list.csv

        behavior audiences likely-buyers --out list.csv --real-ids
    """
    from behavior_tasks.serve.served import need_served

    home = current_home()
    served = need_served(home, APPLICATION, as_date(as_of))
    wants_budget = budget is not None or contact_cost > 0 or margin is not None or value_of_sale is not None
    _refuse_odd(name, wants_budget=wants_budget, out=out, real_ids=real_ids, log=log)
    for banner in served.banners:
        console.print(f"{banner.words} Next: {banner.next_step}", style="yellow", markup=False, highlight=False)
    if wants_budget:
        costs = costs_of(contact_cost, margin, value_of_sale)
        told, members = _budget(home, served, budget, costs, campaign)
        heading = campaign
    elif name is not None:
        told, members = _named(served, name)
        heading = name
    else:
        _show_all(served)
        return
    _show_one(served, told, members)
    if out is not None:
        _write(home, served, heading, members, out, real_ids=real_ids, log=log)
    else:
        asked = "" if wants_budget else f" {heading}"
        console.print(f"\nNext: behavior audiences{asked} … --out list.csv", markup=False, highlight=False)
    if wants_budget:
        _show_rule(told)


def _refuse_odd(name: str | None, *, wants_budget: bool, out: Path | None, real_ids: bool, log: str | None) -> None:
    if name is not None and wants_budget:
        raise UserError("An audience's name goes without a budget.", next_step="leave out one of them")
    if out is not None and name is None and not wants_budget:
        raise UserError("--out needs the name of an audience, or a budget.", next_step="behavior audiences lists them")
    if real_ids and out is None:
        raise UserError("--real-ids needs --out: real ids are never shown on the screen.", next_step="--out list.csv")
    if log is not None and not real_ids:
        raise UserError("--input belongs to --real-ids.", next_step="leave it out")


def costs_of(contact_cost: float, margin: float | None, value_of_sale: float | None) -> Any:
    """Return the costs that three options state.

    Raises:
        UserError: when they don't fit together.
    """
    from behavior_tasks.serve.audiences_rules import Costs

    try:
        return Costs(contact_cost=contact_cost, margin=margin, value_of_sale=value_of_sale)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])).replace("_", "-")
        raise UserError(
            "The costs don't fit together.",
            found=f"{'--' + place + ': ' if place else ''}{str(first['msg']).removeprefix('Value error, ')}",
            expected="--contact-cost with --margin or --value-of-sale",
            next_step="for example --contact-cost 0.05 --margin 0.3",
        ) from None


def _budget(home: Home, served: Any, budget: int | None, costs: Any, campaign: str) -> tuple[dict[str, Any], Any]:
    from behavior_tasks.pipeline.later import same_key
    from behavior_tasks.serve.audiences_budget import pick_budget
    from behavior_tasks.serve.audiences_tell import tell

    picked = pick_budget(
        served,
        same_key(home, served),
        campaign=campaign,
        contacts=budget,
        costs=costs,
        holdout=served.facts["holdout"],
    )
    return tell(picked, costs, None), picked.members


def _named(served: Any, name: str) -> tuple[dict[str, Any], Any]:
    import pandas as pd

    from behavior_tasks.serve.audiences_files import MEMBERS

    told = {one["name"]: one for one in served.facts["audiences"]}
    if name not in told:
        close = nearest(name, told)
        raise UserError(
            f"There is no audience {name} of {served.as_of}.",
            expected=", ".join(told),
            next_step=f"behavior audiences {close}" if close else "behavior audiences",
        )
    return told[name], pd.read_parquet(served.folder / MEMBERS, filters=[("audience", "==", name)])


def _show_all(served: Any) -> None:
    facts = served.facts
    title = f"Audiences of {served.as_of}, for {facts['horizon_days']} days; {count(facts['scored'])} shoppers scored"
    console.print(_table(title, facts["audiences"]))
    for one in facts["audiences"]:
        if one["note"]:
            console.print(f"{one['name']} is empty: {one['note']}.", markup=False, highlight=False)
    if facts["in_words"]:
        console.print(f"\nPut to the test as of {facts['compared_at'] or '–'}. {facts['in_words']}", highlight=False)
    first = next((one["name"] for one in facts["audiences"] if one["contacts"] and one["contact"]), "NAME")
    console.print(f"\nThe page: {served.folder / 'page.html'}", markup=False, highlight=False, soft_wrap=True)
    for line in (
        f"behavior audiences {first} --out list.csv",
        "behavior audiences --budget 5000 --contact-cost 0.05 --margin 0.3",
        f"behavior lift {first}    once the {facts['horizon_days']} days are over",
    ):
        console.print(f"Next: {line}", markup=False, highlight=False)


def _table(title: str, told: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("audience", overflow="fold")
    for column in ("contact", "control", "buyers", "amount", "profit"):
        table.add_column(column, justify="right")
    for one in told:
        figures = [_figure(one[key]) if one["contacts"] else "–" for key in ("buyers", "amount", "profit")]
        contacts = count(one["contacts"]) if one["contact"] else f"leave {count(one['contacts'])}"
        table.add_row(one["name"], contacts, count(one["control"]), *figures)
    return table


def _figure(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "–"
    return f"{estimate['expected']:,.0f} ({estimate['lower']:,.0f} to {estimate['upper']:,.0f})"


def _show_one(served: Any, told: Mapping[str, Any], members: Any) -> None:
    console.print(_table(f"{told['heading']}, {served.as_of}", [told]))
    if told["note"]:
        console.print(f"It is empty: {told['note']}.", markup=False, highlight=False)
        return
    console.print(
        f"The intervals hold at 95 % if the scores are right and shoppers decide independently; every purchase within "
        f"{served.facts['horizon_days']} days counts, also of who would have bought anyway.",
        highlight=False,
    )
    listed = members[members["group"] != "control"].head(SHOWN_ROWS)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("shopper", "probability", "why (percentage points)"):
        table.add_column(column, overflow="fold")
    for row in listed.to_dict("records"):
        reason = row.get("reason")
        table.add_row(row["shopper"], f"{row['probability']:.1%}", reason if isinstance(reason, str) else "–")
    console.print(table)


def _show_rule(told: Mapping[str, Any]) -> None:
    costs = {key: value for key, value in told["costs"].items() if value}
    rule: dict[str, Any] = {"name": told["campaign"], **yaml.safe_load(told["rule"])}
    text = yaml.safe_dump([rule | ({"costs": costs} if costs else {})], sort_keys=False)
    console.print(
        "\nTo have it every night and to measure its lift, put this into your file of audiences (audiences.file):\n"
        + text.rstrip(),
        markup=False,
        highlight=False,
    )


def _write(home: Home, served: Any, heading: str, members: Any, out: Path, *, real_ids: bool, log: str | None) -> None:
    from behavior_tasks.serve.audiences_files import list_text, write_private

    if not out.absolute().parent.is_dir():
        raise UserError(f"There is no folder {out.parent}.", next_step="make it, or choose another place for --out")
    if real_ids:
        members = _really(home, served, heading, members, log)
    control = out.with_name(f"{out.stem}.control{out.suffix}")
    is_control = members["group"] == "control"
    for path, some in ((out, members[~is_control]), (control, members[is_control])):
        write_private(path, list_text(some))
    for some, what, path in ((~is_control, "", out), (is_control, " not to be contacted", control)):
        text = f"{count(int(some.sum()))} shoppers{what}: {path}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _really(home: Home, served: Any, heading: str, members: Any, log: str | None) -> Any:
    from behavior_tasks.pipeline.export import log_export, with_real_ids

    found = with_real_ids(home, served, members, log)
    what = {"audience": heading, "as_of": served.as_of.isoformat(), "shoppers": len(found), "artifact": served.artifact}
    log_export(home, when=datetime.now(UTC), who=_who(), what=what)
    return found


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


def as_date(moment: datetime | None) -> date | None:
    """Return the day of an option that was read as an instant."""
    return moment.date() if moment else None
