"""The budget ledger: what every private training on the same shoppers has cost, one line an event, chained by hashes.

In comes what a training is about to spend, and later what it did spend; out comes what all of them cost together, by a
library's accountant. A training reserves all its steps before the first of them and settles afterwards; one that was
killed, or given up, counts what it reserved. The one thing to know: all trainings in a state folder on real logs count
as trainings on the same shoppers, whichever log they read, because a shopper may be in several; those on simulated
shops are counted apart, as nobody lives there.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.chain import CHAIN, BrokenChainError, link, read_chain, to_line
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.journal import append_line, whole_lines
from behavior_tasks.model.accounting import Mechanism, epsilon_of

Population = Literal["log", "simulated"]
FILE = "budget.jsonl"


class BudgetLedgerError(UserError):
    """The budget ledger is not what was written."""

    def __init__(self, problem: str, *, found: object, expected: object) -> None:
        super().__init__(
            f"The budget ledger, privacy/{FILE}, is damaged: {problem} Nothing is trained with differential privacy.",
            found=found,
            expected=expected,
            next_step=f"bring privacy/{FILE} back from a backup. Where there is none, keep the damaged file under "
            "another name: a new ledger then begins at nothing, so lower privacy.budget_epsilon by what the old "
            "one tells",
        )


class Line(BaseModel):
    """Common rules of the ledger's lines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    id: str
    """Of a training with its own noise; not of its artifact."""
    when: datetime
    together: float = 0.0
    """The ε of all trainings on the same shoppers, this line counted, at its `budget_delta`; filled in when written."""


class Reservation(Line):
    """All that a training may spend, written before its first step."""

    kind: Literal["reserve"] = "reserve"
    run: str
    """The run that asked first."""
    train: str
    """Key of the artifact that it makes."""
    population: Population
    unit: Literal["shopper"] = "shopper"
    shoppers: int
    shoppers_hash: str
    """Which they are, see `model/shoppers`."""
    epsilon: float
    """As asked for, at `delta`."""
    delta: float
    mechanism: Mechanism
    budget_epsilon: float | None
    """What the run allowed all trainings together; None: no limit."""
    budget_delta: float


class Settlement(Line):
    """What a training spent in the end."""

    kind: Literal["settle"] = "settle"
    steps: int
    why: str


class Charge(BaseModel):
    """One training: its reservation, and what it counts for."""

    model_config = ConfigDict(frozen=True)

    reservation: Reservation
    state: Literal["reserved", "spent", "given back"]
    steps: int
    together: float
    """As the last line about it says, see `Line`."""
    written: int
    """Number of that line."""

    @property
    def mechanism(self) -> Mechanism:
        """The steps that count."""
        return self.reservation.mechanism.model_copy(update={"steps": self.steps})

    @property
    def epsilon(self) -> float:
        """What it costs by itself, at its own δ."""
        return epsilon_of([self.mechanism], self.reservation.delta)


def population_of(log: str | None) -> Population:
    """Return whose budget a run spends.

    Args:
        log: what it reads; None: a simulated shop.
    """
    return "log" if log else "simulated"


def budget_path(home: Home) -> Path:
    """Return the ledger's file; it need not exist."""
    return home.privacy / FILE


def charges(home: Home) -> list[Charge]:
    """Return every training that has reserved something, oldest first.

    Raises:
        BudgetLedgerError: naming the line that is not what was written.
    """
    try:
        content = budget_path(home).read_bytes()
    except FileNotFoundError:
        return []
    return _charges(whole_lines(content))


def spent(found: Sequence[Charge], population: Population, delta: float) -> float:
    """Return the ε, at a δ, of all trainings on a population together."""
    return epsilon_of([one.mechanism for one in found if one.reservation.population == population], delta)


def reserve(home: Home, reservation: Reservation) -> Charge:
    """Set a training's whole cost aside, unless that is done already, and return it.

    Raises:
        UserError: all trainings together would cost more than the budget; nothing is reserved.
        BudgetLedgerError: the ledger is damaged.
    """
    with _lock(home):
        before = charges(home)
        known = [one for one in before if one.reservation.id == reservation.id and one.state == "reserved"]
        if known:
            return known[0]
        charge = _reserved(reservation)
        together = spent([*before, charge], reservation.population, reservation.budget_delta)
        _check_budget(before, reservation, together)
        written = reservation.model_copy(update={"together": together})
        _append(home, written)
    return _reserved(written)


def settle(home: Home, training: str, *, steps: int, why: str, when: datetime) -> None:
    """Say what a reserved training has spent; a second time changes nothing.

    Args:
        home: the state folder.
        training: the id of its reservation.
        steps: optimiser steps that it took; 0 gives all of it back.
        why: for people.
        when: the instant.
    """
    with _lock(home):
        found = charges(home)
        mine = [one for one in found if one.reservation.id == training and one.state == "reserved"]
        if not mine:
            return
        asked = mine[0].reservation
        after = [one.model_copy(update={"steps": steps}) if one is mine[0] else one for one in found]
        together = spent(after, asked.population, asked.budget_delta)
        _append(home, Settlement(id=training, when=when, steps=steps, why=why, together=together))


def _reserved(reservation: Reservation, number: int = 0) -> Charge:
    steps, together = reservation.mechanism.steps, reservation.together
    return Charge(reservation=reservation, state="reserved", steps=steps, together=together, written=number)


def _check_budget(before: Sequence[Charge], asked: Reservation, together: float) -> None:
    if asked.budget_epsilon is None or together <= asked.budget_epsilon:
        return
    so_far = spent(before, asked.population, asked.budget_delta)
    reserved = sum(one.state == "reserved" for one in before if one.reservation.population == asked.population)
    waiting = f"; {reserved} training(s) of these have not ended" if reserved else ""
    raise UserError(
        "The privacy budget of these shoppers does not allow this training (privacy.budget_epsilon).",
        found=f"ε = {so_far:.3g} spent so far{waiting}; with this training {together:.3g}, at δ = "
        f"{asked.budget_delta:g}; nothing was trained",
        expected=f"at most {asked.budget_epsilon:g} together",
        next_step="`behavior privacy budget` shows who spent it; lower privacy.dp.epsilon, or raise "
        "privacy.budget_epsilon if whoever answers for these people agrees",
    )


def _append(home: Home, line: Line) -> None:
    entry = line.model_dump(mode="json")
    make_folder(home.privacy)

    def follow(whole: bytes) -> bytes:
        _charges(whole)
        return to_line(link(entry, read_chain(whole).tail))

    append_line(budget_path(home), follow)


def _charges(content: bytes) -> list[Charge]:
    found: dict[str, Charge] = {}
    try:
        entries = read_chain(content).entries
        for number, entry in enumerate(entries, start=1):
            told = {name: value for name, value in entry.items() if name not in CHAIN}
            _take(found, told, number)
    except BrokenChainError as error:
        raise BudgetLedgerError(error.problem, found=error.found, expected=error.expected) from None
    return list(found.values())


def _take(found: dict[str, Charge], told: dict[str, Any], number: int) -> None:
    """Add what a line says to the charges so far."""
    try:
        if told.get("kind") == "reserve":
            reservation = Reservation.model_validate(told)
            found[reservation.id] = _reserved(reservation, number)
            return
        settled = Settlement.model_validate(told)
        before = found[settled.id].reservation
    except (ValidationError, KeyError):
        raise BrokenChainError(
            f"Line {number} is of another kind.",
            found=str(told)[:100],
            expected="a reservation, or a settlement of one before it",
        ) from None
    state: Literal["spent", "given back"] = "spent" if settled.steps else "given back"
    found[settled.id] = Charge(
        reservation=before, state=state, steps=settled.steps, together=settled.together, written=number
    )


def _lock(home: Home) -> FileLock:
    return FileLock(make_folder(home.privacy) / ".budget.lock")
