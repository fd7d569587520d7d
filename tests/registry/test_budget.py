"""The budget ledger: what trainings cost adds up, is set aside before it is spent, and can't be edited away."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.model.accounting import Mechanism, epsilon_of
from behavior_tasks.registry.budget import (
    BudgetLedgerError,
    Reservation,
    budget_path,
    charges,
    reserve,
    settle,
    spent,
)

MECHANISM = Mechanism(noise_multiplier=1.0, sample_rate=0.05, steps=100)
NOW = datetime(2026, 11, 28, 1, tzinfo=UTC)
DELTA = 1e-5


def cost(trainings: int) -> float:
    """The ε of so many equal trainings together."""
    return epsilon_of([MECHANISM] * trainings, DELTA)


def asked(training: str, *, budget: float | None = None, population: str = "log") -> Reservation:
    return Reservation(
        id=training,
        when=NOW,
        run=f"run-{training}",
        train="0123",
        population=population,
        shoppers=5000,
        shoppers_hash="abc",
        epsilon=3.0,
        delta=DELTA,
        mechanism=MECHANISM,
        budget_epsilon=budget,
        budget_delta=DELTA,
    )


def test_trainings_on_the_same_shoppers_add_up_by_the_librarys_accountant(home: Home) -> None:
    from opacus.accountants import RDPAccountant

    for name in "ab":
        reserve(home, asked(name))
        settle(home, name, steps=100, why="finished", when=NOW)
    reserve(home, asked("shop", population="simulated"))
    accountant = RDPAccountant()
    accountant.history = [(1.0, 0.05, 200)]
    found = charges(home)
    assert spent(found, "log", DELTA) == pytest.approx(accountant.get_epsilon(delta=DELTA), rel=0.01)
    assert cost(1) < cost(2) < 2 * cost(1)
    assert spent(found, "simulated", DELTA) == cost(1)
    assert [one.together for one in found] == [cost(1), cost(2), cost(1)]
    assert [one.state for one in found] == ["spent", "spent", "reserved"]


def test_what_does_not_end_counts_in_full_and_going_on_costs_nothing_more(home: Home) -> None:
    reserve(home, asked("a"))
    reserve(home, asked("a"))
    assert spent(charges(home), "log", DELTA) == cost(1)
    settle(home, "a", steps=40, why="finished", when=NOW)
    fewer = epsilon_of([MECHANISM.model_copy(update={"steps": 40})], DELTA)
    assert spent(charges(home), "log", DELTA) == fewer < cost(1)
    settle(home, "a", steps=0, why="twice", when=NOW)
    assert spent(charges(home), "log", DELTA) == fewer
    reserve(home, asked("b"))
    settle(home, "b", steps=0, why="refused", when=NOW)
    assert charges(home)[1].state == "given back"
    assert charges(home)[1].epsilon == 0
    # The same noise again is a new cost once it was given back.
    reserve(home, asked("b"))
    assert spent(charges(home), "log", DELTA) > cost(1)


def test_past_the_budget_nothing_is_reserved_and_an_unfinished_training_counts(home: Home) -> None:
    budget = (cost(2) + cost(3)) / 2
    reserve(home, asked("a", budget=budget))
    reserve(home, asked("b", budget=budget))
    with pytest.raises(UserError) as caught:
        reserve(home, asked("c", budget=budget))
    assert f"ε = {cost(2):.3g} spent so far; 2 training(s) of these have not ended" in str(caught.value.found)
    assert "behavior privacy budget" in str(caught.value.next_step)
    assert len(charges(home)) == 2
    # One that goes on asks for nothing new, and who is simulated costs nobody anything.
    reserve(home, asked("b", budget=budget))
    reserve(home, asked("d", budget=budget, population="simulated"))
    settle(home, "a", steps=0, why="refused", when=NOW)
    reserve(home, asked("c", budget=budget))


def test_two_at_once_can_not_both_take_the_last_of_it(home: Home) -> None:
    ends: list[str] = []

    def run(name: str) -> None:
        try:
            reserve(home, asked(name, budget=(cost(1) + cost(2)) / 2))
            ends.append("let through")
        except UserError:
            ends.append("refused")

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["let through", "refused", "refused", "refused"]


@pytest.mark.parametrize("damage", ["steps", "lost", "half", "kind", "alone"])
def test_a_ledger_that_was_edited_stops_everything_and_says_what_to_do(home: Home, damage: str) -> None:
    for name in "abc":
        reserve(home, asked(name))
    lines = budget_path(home).read_bytes().splitlines(keepends=True)
    if damage == "half":
        # Half a line at the end is what a crash leaves: it counts for nothing.
        budget_path(home).write_bytes(b"".join(lines)[:-30])
        assert len(charges(home)) == 2
        reserve(home, asked("d"))
        assert len(charges(home)) == 3
        return
    if damage == "steps":
        lines[1] = lines[1].replace(b'"steps": 100', b'"steps": 1')
    elif damage == "lost":
        del lines[1]
    else:
        from behavior_tasks.base.chain import link, to_line

        first = json.loads(lines[0])
        other = {"kind": "gift"} if damage == "kind" else {"kind": "settle", "id": "z", "when": "2026-11-28T01:00:00Z"}
        lines = [lines[0], to_line(link(other | {"steps": 1, "why": "x"}, first["hash"]))]
    budget_path(home).write_bytes(b"".join(lines))
    with pytest.raises(BudgetLedgerError, match="Line 2") as caught:
        reserve(home, asked("d"))
    assert "backup" in str(caught.value.next_step)
    assert "privacy/budget.jsonl" in str(caught.value.problem)


def test_nothing_is_spent_where_no_training_was_private(home: Home) -> None:
    assert charges(home) == []
    assert spent([], "log", DELTA) == 0
    settle(home, "unknown", steps=5, why="nobody", when=NOW + timedelta(days=1))
    assert not budget_path(home).exists()
