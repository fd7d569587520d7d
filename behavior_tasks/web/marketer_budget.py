"""The budget: how many may be contacted and what that costs in; what it buys, out, at once for any shop.

The one thing to know: the figures are those of `behavior audiences --budget` with the same words, from totals that were
added up when the day was scored; both go in steps of `privacy.min_group` people.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.few import is_few, stepped
from behavior_tasks.base.home import Home
from behavior_tasks.base.page import shown_number
from behavior_tasks.pipeline.export import real_ids_are_there
from behavior_tasks.pipeline.privacy.small_groups import least_group
from behavior_tasks.serve.audiences_curve import Budget, Curve
from behavior_tasks.serve.audiences_profit import Estimate
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.served import Served
from behavior_tasks.web.marketer_audiences import apart, tidied
from behavior_tasks.web.marketer_charts import Scale, line_of, scale_of
from behavior_tasks.web.marketer_look import AUDIENCES, look_for, shown_problem
from behavior_tasks.web.view import View

POINTS = 120
"""Of the picture."""
SLIDER_STEPS = 500
"""About as many places the slider has in a large shop."""
FIRST_SHARE = 0.1
"""Of everybody, before anybody says how many."""
COSTS = ("contact_cost", "margin", "value_of_sale")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was typed in."""

    contacts: int | None
    """None: as many as bring more than they cost, or a tenth."""
    costs: Costs
    typed: Mapping[str, str]
    """As it was typed, to stand in the form again."""
    problems: list[str] = field(default_factory=list)
    """Keys of texts that say what is wrong."""


def read_asked(given: Mapping[str, str | None]) -> Asked:
    """Return what a form says; what is wrong in it is told, and counts as not said.

    Args:
        given: `contacts` and COSTS, as text.
    """
    typed = {name: (given.get(name) or "").strip() for name in ("contacts", *COSTS)}
    problems: list[str] = []
    numbers = {name: _number(name, text, problems) for name, text in typed.items() if text}
    contacts = numbers.pop("contacts", None)
    if contacts is not None and (contacts < 1 or contacts != int(contacts)):
        problems.append("contacts_wrong")
        contacts = None
    try:
        costs = Costs.model_validate({name: value for name, value in numbers.items() if value is not None})
    except ValidationError as error:
        places = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
        problems += [f"{place}_wrong" for place in COSTS if place in places] or [_together(numbers)]
        costs = Costs()
    whole = None if contacts is None else int(contacts)
    return Asked(contacts=whole, costs=costs, typed=typed, problems=list(dict.fromkeys(problems)))


def budget_values(home: Home, view: View, served: Served, *, given: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what the page of the budget shows.

    Args:
        home: the state folder.
        view: whose language.
        served: the audiences as they were handed out.
        given: what the form says.
    """
    asked = read_asked(given)
    values = {
        "asked": asked,
        "problems": asked.problems,
        "facts": served.facts,
        "real_ids": view.visitor.may_decide and real_ids_are_there(home, served),
    }
    try:
        curve = Curve.load(served.folder, asked.costs)
    except UserError as trouble:
        return {**values, "found": None, "contacts": asked.contacts or "", "trouble": shown_problem(view, trouble)}
    least = least_group(home)
    found = _ask(curve, asked, least)
    points = _points(curve, least)
    scale = scale_of(points)
    return {
        **values,
        "found": found,
        "contacts": asked.contacts or stepped(found.worth.shoppers, least) or "",
        "most": stepped(found.most, least),
        "step": max(least, stepped(found.most // SLIDER_STEPS, least)),
        "told": told_budget(view, found, least),
        "line": line_of(points, scale),
        "mark": mark_of(found, scale, least),
        "scale": scale,
        "of": "amount" if found.worth.amount is not None else "buyers",
    }


def budget_answer(home: Home, view: View, given: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what the slider shows where it stands now: `figures` in words, and `mark` in the picture.

    Raises:
        UserError: when nothing is handed out, or the figures of these costs can't be told.
    """
    look, asked = look_for(home, AUDIENCES), read_asked(given)
    if look.served is None:
        raise look.trouble or UserError("Nothing is scored yet.", next_step="behavior score")
    curve = Curve.load(look.served.folder, asked.costs)
    least = least_group(home)
    found = _ask(curve, asked, least)
    return {
        "figures": told_budget(view, found, least),
        "mark": mark_of(found, scale_of(_points(curve, least)), least),
        "problems": [view.text(f"marketer.problems.{key}") for key in asked.problems],
    }


def told_budget(view: View, found: Budget, least: int) -> dict[str, str]:
    """Return a budget's figures as the page writes them; what is not known, or of too few people, is a dash."""
    worth = found.worth
    figures = {"buyers": worth.buyers, "amount": worth.amount, "profit": worth.profit}
    is_small = is_few(worth.shoppers, least)
    told = {name: "–" if is_small else told_estimate(view, figure) for name, figure in figures.items()}
    people = {"contacts": worth.shoppers, "control": found.control}
    fewer = view.text("marketer.fewer", n=least)
    return {**{name: fewer if is_few(n, least) else f"{stepped(n, least):,}" for name, n in people.items()}, **told}


def told_estimate(view: View, estimate: Estimate | None) -> str:
    """Return a figure with its interval."""
    if estimate is None:
        return "–"
    figures = tidied(asdict(estimate)) or {}
    found, lower, upper = (shown_number(one).replace("-", "−") for one in figures.values())
    return view.text("marketer.interval", found=found, lower=lower, upper=upper)


def mark_of(found: Budget, scale: Scale, least: int) -> tuple[float, float]:
    """Return where a budget stands in the picture; one of too few people stands at nothing."""
    if is_few(found.worth.shoppers, least):
        return scale.place(0.0, 0.0)
    figure = found.worth.amount or found.worth.buyers
    return scale.place(float(found.worth.shoppers), figure.expected)


def _ask(curve: Curve, asked: Asked, least: int) -> Budget:
    """Return what a budget buys, in whole steps of `least` people, so that no two answers differ by fewer."""
    contacts = asked.contacts
    is_priced = asked.costs.margin is not None or asked.costs.value_of_sale is not None
    if contacts is None and not is_priced:
        contacts = max(1, round(FIRST_SHARE * curve.most))
    found = curve.ask(contacts, asked.costs)
    whole = stepped(found.worth.shoppers, least)
    return found if whole in {0, found.worth.shoppers} else curve.ask(whole, asked.costs)


def _points(curve: Curve, least: int) -> list[tuple[float, float]]:
    points = curve.points(POINTS)
    worth = ((float(contacts), buyers if amount is None else amount) for contacts, buyers, amount in points)
    return apart(worth, least)


def _number(name: str, text: str, problems: list[str]) -> float | None:
    try:
        number = float(text.replace(",", "").replace("，", ""))
    except ValueError:
        number = float("nan")
    if number != number or abs(number) == float("inf"):
        problems.append(f"{name}_wrong")
        return None
    return number


def _together(numbers: Mapping[str, float | None]) -> str:
    return "two_worths" if numbers.get("margin") and numbers.get("value_of_sale") else "cost_alone"
