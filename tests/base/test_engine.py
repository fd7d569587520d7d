"""The engine: results in the order of the jobs, user errors whole from another process."""

import os
import signal
import time

import pytest

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError


def slow_first(job: int) -> int:
    time.sleep(0.3 if job == 0 else 0)
    return job * job


def who(job: int) -> int:
    # Long enough that no process takes two of the jobs while another one starts.
    time.sleep(0.5)
    return os.getpid()


def refuse(job: int) -> int:
    raise UserError(f"bucket {job} is empty", found=0, expected=1, next_step="look")


def die(job: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def local(workers: int) -> EngineConfig:
    return EngineConfig(workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_stand_in_the_order_of_the_jobs(workers: int) -> None:
    assert run_buckets(slow_first, [0, 1, 2, 3], engine=local(workers), what="squares") == [0, 1, 4, 9]


def test_no_jobs_give_no_results() -> None:
    assert run_buckets(slow_first, [], engine=local(2), what="nothing", rows=0) == []


@pytest.mark.parametrize(
    ("workers", "jobs", "rows", "processes"),
    [(1, 2, None, 0), (2, 1, None, 0), (2, 2, 999_999, 0), (3, 3, 1_000_000, 2), (2, 2, None, 2)],
)
def test_further_processes_only_where_they_are_worth_it(
    workers: int, jobs: int, rows: int | None, processes: int
) -> None:
    worked = run_buckets(who, list(range(jobs)), engine=local(workers), what="who", rows=rows)
    others = set(worked) - {os.getpid()}
    assert len(others) == processes
    assert processes == 0 or os.getpid() not in worked


def test_a_user_error_crosses_the_process_whole() -> None:
    with pytest.raises(UserError) as caught:
        run_buckets(refuse, [1, 2], engine=local(2), what="refusals")
    assert str(caught.value) == str(UserError("bucket 1 is empty", found=0, expected=1, next_step="look"))


def test_a_killed_process_is_told_of_with_what_to_change() -> None:
    with pytest.raises(UserError, match=r"worked on texts was killed[\s\S]*lower engine\.workers"):
        run_buckets(die, [1, 2], engine=local(2), what="texts")
