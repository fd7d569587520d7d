"""The privacy budget on the engineer's page: the budget ledger in; what its last lines say out.

The one thing to know: nothing is computed here; each line of the ledger says what all trainings cost together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from behavior_tasks.base.home import Home
from behavior_tasks.registry.budget import Charge, charges

POPULATIONS = ("log", "simulated")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What trainings on some shoppers have cost together."""

    population: str
    epsilon: float
    delta: float
    budget: float | None
    """Of the last training; None: no limit."""
    trainings: int
    unfinished: int
    """Of these, how many have reserved and not ended."""
    when: datetime
    """Of the last reservation."""

    @property
    def left(self) -> float | None:
        """What of the budget is left, at least zero."""
        return None if self.budget is None else max(0.0, self.budget - self.epsilon)


def read_budget(home: Home) -> list[Spent]:
    """Return what was spent, real logs first; nothing where no training was private.

    Raises:
        BudgetLedgerError: the ledger is damaged.
    """
    found = charges(home)
    by_population = ([one for one in found if one.reservation.population == name] for name in POPULATIONS)
    return [_spent(mine) for mine in by_population if mine]


def _spent(mine: Sequence[Charge]) -> Spent:
    last = mine[-1].reservation
    counted = [one for one in mine if one.state != "given back"]
    return Spent(
        population=last.population,
        epsilon=max(mine, key=lambda one: one.written).together,
        delta=last.budget_delta,
        budget=last.budget_epsilon,
        trainings=len(counted),
        unfinished=sum(one.state == "reserved" for one in counted),
        when=last.when,
    )
