"""A training within the budget: its cost is set aside before the first step, and what happens then is counted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import AbandonedError, Job
from behavior_tasks.model.work_folder import WorkFolder
from behavior_tasks.pipeline.privacy.budget import charged
from behavior_tasks.registry.budget import charges
from tests.model.toy import Toy, make_artifact, make_job, make_toy

ROWS = Rows(unit_in="examples", unit_out="models", rows_in=1, rows_out=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("budget"))


def begin(folder: Path, toy: Toy, **privacy: Any) -> tuple[Any, Job]:
    dp = {"epsilon": 3.0, "delta": 1e-3, "shoppers_per_step": 40}
    train = {"epochs": 2, "distillation": 0, "number_epochs": 0}
    config = {"privacy": {"dp": dp} | privacy, "train": train}
    job = make_job(folder, config, make_artifact(toy.encode, "encode"))
    record = SimpleNamespace(run_id="run-1", input="log.csv", config=job.config)
    return SimpleNamespace(home=job.home, record=record), job


def test_the_whole_cost_stands_in_the_ledger_while_it_trains_and_the_true_one_afterwards(
    tmp_path: Path, toy: Toy
) -> None:
    run, job = begin(tmp_path, toy)

    def work(_job: Job) -> Output:
        (meanwhile,) = charges(run.home)
        assert (meanwhile.state, meanwhile.steps, meanwhile.reservation.shoppers) == ("reserved", 8, 160)
        return Output(rows=ROWS, facts={"privacy": {"steps": 7}})

    charged(run, job, work)
    (after,) = charges(run.home)
    assert (after.state, after.steps, after.reservation.population) == ("spent", 7, "log")
    assert not [file for file in (run.home.work / "train").iterdir() if file.suffix == ".charge"]


def test_a_killed_training_counts_in_full_goes_on_for_nothing_and_a_new_one_costs_again(
    tmp_path: Path, toy: Toy
) -> None:
    run, job = begin(tmp_path, toy)
    folder = WorkFolder(run.home.work / "train" / job.key)

    def killed(_job: Job) -> Output:
        folder.last.touch()
        raise RuntimeError("killed")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            charged(run, job, killed)
    (one,) = charges(run.home)
    assert (one.state, one.steps) == ("reserved", 8)
    # Somebody cleared the work folder away: what its steps cost stays, and other noise costs anew.
    folder.last.unlink()
    folder.noise_key.unlink()
    charged(run, job, lambda _job: Output(rows=ROWS, facts={"privacy": {"steps": 8}}))
    assert [charge.state for charge in charges(run.home)] == ["reserved", "spent"]


def test_what_took_no_step_is_given_back_and_what_was_given_up_is_not(tmp_path: Path, toy: Toy) -> None:
    run, job = begin(tmp_path, toy)
    folder = WorkFolder(run.home.work / "train" / job.key)

    def refused(_job: Job) -> Output:
        raise UserError("There is no GPU.")

    def given_up(_job: Job) -> Output:
        folder.noise_key.unlink()
        folder.root.rmdir()
        raise AbandonedError("after epoch 1")

    with pytest.raises(UserError, match="GPU"):
        charged(run, job, refused)
    assert [charge.state for charge in charges(run.home)] == ["given back"]
    with pytest.raises(AbandonedError):
        charged(run, job, given_up)
    assert [(charge.state, charge.steps) for charge in charges(run.home)] == [("reserved", 8)]


def test_past_the_budget_and_with_too_large_a_delta_no_work_is_done(tmp_path: Path, toy: Toy) -> None:
    def work(_job: Job) -> Output:
        raise AssertionError("nothing may be trained")

    run, job = begin(tmp_path / "one", toy, budget_epsilon=2.5, budget_delta=1e-3)
    with pytest.raises(UserError, match="budget of these shoppers"):
        charged(run, job, work)
    assert charges(run.home) == []
    run, job = begin(tmp_path / "two", toy, dp={"epsilon": 3.0, "delta": 1 / 160})
    with pytest.raises(UserError) as caught:
        charged(run, job, work)
    assert "160 shoppers in train" in str(caught.value.found)
    assert charges(run.home) == []


def test_without_differential_privacy_the_ledger_is_not_touched(tmp_path: Path, toy: Toy) -> None:
    run, job = begin(tmp_path, toy, dp=None)
    charged(run, job, lambda _job: Output(rows=ROWS))
    assert not run.home.privacy.exists()
