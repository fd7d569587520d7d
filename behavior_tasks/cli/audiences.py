"""`behavior audiences`: whom to contact, from what was handed out last; a budget; lists to take away."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.cli import audiences_show as show
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import tell_banners

if TYPE_CHECKING:
    from behavior_tasks.serve.audiences_lists import ChosenList
    from behavior_tasks.serve.audiences_rules import Costs

APPLICATION = "audiences"
AsOf = Annotated[datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="A date; without it: the newest.")]
Budget = Annotated[int | None, typer.Option("--budget", min=1, help="So many can be contacted: who brings most?")]
ContactCost = Annotated[float, typer.Option("--contact-cost", help="What one contact costs.")]
Margin = Annotated[
    float | None, typer.Option("--margin", help="Share of a purchase's amount that the shop earns, e.g. 0.3.")
]
ValueOfSale = Annotated[
    float | None, typer.Option("--value-of-sale", help="What one purchase brings, instead of --margin.")
]
CampaignName = Annotated[str, typer.Option("--campaign", help="With a budget: what the control is drawn for.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write the list as CSV, and the control beside it as NAME.control.csv."),
]
Taken = Annotated[
    bool, typer.Option("--taken", help="The list as it was taken away, also where its date was scored again since.")
]
Instead = Annotated[
    bool, typer.Option("--instead", help="With --out: the list of this campaign and date taken before was never sent.")
]
UseRealIds = Annotated[
    bool, typer.Option("--real-ids", help="With --out: the shop's own ids; needs the key and the log. Logged.")
]
Raw = Annotated[
    bool, typer.Option("--raw", help="With --out: texts as they are, for programs; a spreadsheet may run them.")
]
Who = Annotated[str | None, typer.Option("--who", help="With --reason: who answers for it; else the user.")]
Reason = Annotated[
    str | None,
    typer.Option("--reason", help="With --out: why this list, though it nearly is one taken before. Logged."),
]
Log = Annotated[
    str | None, typer.Option("--input", "-i", help="With --real-ids: the log, where it lies elsewhere now.")
]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What was typed in."""

    name: str | None
    as_of: date | None
    budget: int | None
    costs: "Costs | None"
    campaign: str
    out: Path | None
    taken: bool
    instead: bool
    real_ids: bool
    log: str | None
    raw: bool
    who: str | None
    reason: str | None

    @property
    def by_budget(self) -> bool:
        return self.budget is not None or self.costs is not None


def audiences(
    name: Annotated[str | None, typer.Argument(help="One audience; without it: all of them.")] = None,
    as_of: AsOf = None,
    budget: Budget = None,
    contact_cost: ContactCost = 0.0,
    margin: Margin = None,
    value_of_sale: ValueOfSale = None,
    campaign: CampaignName = "budget",
    out: Out = None,
    taken: Taken = False,
    instead: Instead = False,
    real_ids: UseRealIds = False,
    log: Log = None,
    raw: Raw = False,
    who: Who = None,
    reason: Reason = None,
) -> None:
    """Show the audiences that were handed out last, ask for one by budget, or take a list away.

    A list of fewer than privacy.min_group people is refused, and so is one that differs by fewer from a list that was
    taken before. Whatever is taken leaves a line in registry/exports.jsonl.

    Examples:

        behavior audiences

        behavior audiences likely-buyers --out list.csv

        behavior audiences --budget 5000 --contact-cost 0.05 --margin 0.3 --campaign spring-sale --out list.csv

        behavior audiences likely-buyers --out list.csv --real-ids
    """
    asked = _Asked(
        name=name,
        as_of=as_date(as_of),
        budget=budget,
        costs=costs_of(contact_cost, margin, value_of_sale),
        campaign=campaign,
        out=out,
        taken=taken,
        instead=instead,
        real_ids=real_ids,
        log=log,
        raw=raw,
        who=who,
        reason=reason,
    )
    _refuse_odd(asked)
    home = current_home()
    chosen = _taken(home, asked) if taken else _served(home, asked)
    if chosen is not None:
        _show_and_take(home, chosen, asked)


def _refuse_odd(asked: _Asked) -> None:
    if asked.name is not None and asked.by_budget:
        raise UserError("An audience's name goes without a budget.", next_step="leave out one of them")
    if asked.taken and asked.name is None:
        raise UserError("--taken needs the name of an audience or campaign.", next_step="behavior lift lists them")
    if asked.out is not None and asked.name is None and not asked.by_budget:
        raise UserError("--out needs the name of an audience, or a budget.", next_step="behavior audiences lists them")
    if asked.real_ids and asked.out is None:
        raise UserError("--real-ids needs --out: real ids are never shown on the screen.", next_step="--out list.csv")
    if asked.instead and (asked.out is None or asked.taken):
        raise UserError("--instead belongs to --out, for a list of its own.", next_step="leave out --instead")
    if asked.log is not None and not asked.real_ids:
        raise UserError("--input belongs to --real-ids.", next_step="leave it out")
    if asked.out is None and (asked.raw or asked.reason is not None):
        raise UserError("--raw and --reason belong to --out.", next_step="--out list.csv")
    if asked.who is not None and asked.reason is None:
        raise UserError("--who belongs to --reason.", next_step='--reason "why it is taken all the same"')
    if asked.reason is not None and not asked.reason.strip():
        raise UserError("--reason is empty.", next_step='--reason "why it is taken all the same"')


def costs_of(contact_cost: float, margin: float | None, value_of_sale: float | None) -> "Costs | None":
    """Return the costs that three options state; None where they state none.

    Raises:
        UserError: when they don't fit together.
    """
    from behavior_tasks.serve.audiences_rules import Costs

    if not contact_cost and margin is None and value_of_sale is None:
        return None
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


def _taken(home: Home, asked: _Asked) -> "ChosenList":
    """Return a list as it was taken away."""
    from behavior_tasks.serve.audiences_taken import need_taken

    assert asked.name is not None  # refused without
    taken = need_taken(home, asked.name, asked.as_of)
    show.line(f"The list that {taken.words}:")
    return taken.load()


def _served(home: Home, asked: _Asked) -> "ChosenList | None":
    """Return the list of a date that was asked for; None, and all of them on the screen, where none was."""
    from behavior_tasks.pipeline.later import same_key
    from behavior_tasks.pipeline.privacy.small_groups import least_group, stepped_list
    from behavior_tasks.serve.audiences_lists import named_list
    from behavior_tasks.serve.audiences_rules import Costs
    from behavior_tasks.serve.audiences_taken import scored_again
    from behavior_tasks.serve.served import need_served

    served = need_served(home, APPLICATION, asked.as_of)
    tell_banners([*served.banners, *scored_again(home, served)])
    if asked.by_budget:
        costs = asked.costs or Costs()
        key = same_key(home, served)
        least = least_group(home)
        return stepped_list(served, key, campaign=asked.campaign, contacts=asked.budget, costs=costs, least=least)
    if asked.name is not None:
        return named_list(served, asked.name)
    show.everything(served, least_group(home))
    return None


def _show_and_take(home: Home, chosen: "ChosenList", asked: _Asked) -> None:
    from behavior_tasks.pipeline.privacy.small_groups import least_group
    from behavior_tasks.pipeline.take_away import RealIds, take_away
    from behavior_tasks.serve.audiences_taken import Taker

    least = least_group(home)
    show.one_list(chosen, least)
    if asked.budget is not None and chosen.told["contacts"] < asked.budget and least > 1:
        show.line(f"Budgets go in steps of {least} people (privacy.min_group).")
    if asked.out is not None:
        who = user_name() if asked.who is None else asked.who
        taker = Taker(who=who, when=datetime.now(UTC), instead=asked.instead, reason=asked.reason)
        ids = RealIds(log=asked.log) if asked.real_ids else None
        show.taken_away(take_away(home, chosen, asked.out, taker, real_ids=ids, raw=asked.raw), least)
    else:
        words = "" if asked.by_budget else f" {asked.name}{' --taken' if asked.taken else ''}"
        show.line(f"\nNext: behavior audiences{words} … --out list.csv")
    if asked.by_budget:
        show.rule(chosen.told)


def as_date(moment: datetime | None) -> date | None:
    """Return the day of an option that was read as an instant."""
    return moment.date() if moment else None
