"""`behavior privacy budget`: what every training with differential privacy has cost, and what is left."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console, count

if TYPE_CHECKING:
    from behavior_tasks.registry.budget import Charge

POPULATIONS = {"log": "real logs", "simulated": "simulated shops"}


def budget(
    epsilon: Annotated[
        float | None, typer.Option(min=0, help="A budget to compare with; without it, the last training's own.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="The δ at which all are added up; without it, the last training's own.")
    ] = None,
) -> None:
    """Show what trainings with differential privacy have cost the shoppers, each and all together.

    Trainings on the same shoppers add up (by Rényi divergences), and so do those that were killed: they count what
    they had reserved.

    Examples:

        behavior privacy budget

        behavior privacy budget --epsilon 8 --delta 1e-6
    """
    from behavior_tasks.pipeline.privacy.budget import trained_without_privacy
    from behavior_tasks.registry.budget import charges

    home = current_home()
    found = charges(home)
    if not found:
        console.print("No training with differential privacy has been started; nothing of a budget is spent.")
    for population, words in POPULATIONS.items():
        mine = [one for one in found if one.reservation.population == population]
        if mine:
            console.print(_table(mine, words))
            _say_total(mine, epsilon=epsilon, delta=delta)
    without = trained_without_privacy(home)
    if without:
        console.print(
            f"{count(without)} language model(s) in the state folder were trained without differential privacy; no ε "
            "bounds what they tell of a shopper.",
            markup=False,
            highlight=False,
        )


def _table(found: "list[Charge]", words: str) -> Table:
    table = Table(title=f"Trainings on {words}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("when", no_wrap=True)
    table.add_column("run", overflow="fold")
    for name in ("ε", "δ", "shoppers"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("which", no_wrap=True)
    for name in ("steps", "noise"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for one in found:
        told, mechanism = one.reservation, one.mechanism
        table.add_row(
            f"{told.when:%Y-%m-%d}",
            told.run,
            f"{one.epsilon:.3f}",
            f"{told.delta:g}",
            count(told.shoppers),
            told.shoppers_hash[:6],
            count(mechanism.steps),
            f"{mechanism.noise_multiplier:.3g}",
            one.state,
        )
    return table


def _say_total(mine: "list[Charge]", *, epsilon: float | None, delta: float | None) -> None:
    from behavior_tasks.registry.budget import spent

    last = mine[-1].reservation
    delta = last.budget_delta if delta is None else delta
    budget = last.budget_epsilon if epsilon is None else epsilon
    total = spent(mine, last.population, delta)
    told = f"All together: ε = {total:.3f} at δ = {delta:g}"
    if budget is None:
        told += "; no budget is set (privacy.budget_epsilon)."
    elif total > budget:
        told += f", past the budget of {budget:g}: no further training is let through."
    else:
        told += f"; {budget - total:.3f} of the budget of {budget:g} is left."
    unfinished = sum(one.state == "reserved" for one in mine)
    if unfinished:
        told += f" {unfinished} training(s) reserved theirs and have not ended; they count in full."
    console.print(told, markup=False, highlight=False)
