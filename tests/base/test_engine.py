"""The engine: results in the order of the jobs, user errors whole from another process."""

import time

import pytest

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError


def slow_first(job: int) -> int:
    time.sleep(0.3 if job == 0 else 0)
    return job * job


def refuse(job: int) -> int:
    raise UserError(f"bucket {job} is empty", found=0, expected=1, next_step="look")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_stand_in_the_order_of_the_jobs(workers: int) -> None:
    assert run_buckets(slow_first, [0, 1, 2, 3], engine=EngineConfig(workers=workers), what="squares") == [0, 1, 4, 9]


def test_a_user_error_crosses_the_process_whole() -> None:
    with pytest.raises(UserError) as caught:
        run_buckets(refuse, [1, 2], engine=EngineConfig(workers=2), what="refusals")
    assert str(caught.value) == str(UserError("bucket 1 is empty", found=0, expected=1, next_step="look"))
