"""The engine: who runs the buckets.

In comes one pure function with a job for every bucket; out come the results in the order of the jobs. The one thing
to know: the engine decides only which process calls it, from a pool of this machine or of Spark, so both give the same.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.progress import track

Job = TypeVar("Job")
Result = TypeVar("Result")
ROWS_PER_WORKER = 1_000_000
"""A further process costs about a second to start: worth it only for so many rows."""


def run_buckets(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    engine: EngineConfig,
    what: str,
    rows: int | None = None,
) -> list[Result]:
    """Call a top-level function once a job and return the results in the order of the jobs.

    Args:
        function: picklable; reads and writes only what its job names.
        engine: who works. A local runner with one worker, or a single job, works in the caller's own process.
        what: description for the progress bar.
        rows: rows of all jobs together, where they are known; few rows are not worth many local processes.

    Raises:
        UserError: whatever the function raises, or that a process died or Spark is not there.
    """
    if engine.runner == "spark":
        from behavior_tasks.base.spark import run_on_spark

        return run_on_spark(function, jobs, engine=engine, what=what, rows=rows)
    workers = min(engine.workers if rows is None else workers_for(rows, most=engine.workers), len(jobs))
    # Buckets are cut by a hash, so they are about equal.
    amounts = [rows / len(jobs)] * len(jobs) if rows and jobs else None
    if workers <= 1:
        return list(track(map(function, jobs), what=what, total=len(jobs), unit="rows", amounts=amounts))
    # A fresh interpreter per worker: forking a process that runs DuckDB or torch threads can hang.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
            done = pool.map(function, jobs)
            return list(track(done, what=what, total=len(jobs), unit="rows", amounts=amounts))
    except BrokenProcessPool:
        raise UserError(
            f"A process that worked on {what} was killed.",
            found=f"{workers} processes with up to {engine.memory_mb} MB each for DuckDB alone",
            expected="memory for all of them; the system kills a process when there is none left",
            next_step="lower engine.workers or engine.memory_mb, or raise engine.buckets, then run again",
        ) from None


def workers_for(rows: int, *, most: int) -> int:
    """Return how many processes so many rows are worth.

    >>> workers_for(50_000, most=8), workers_for(2_400_000, most=8), workers_for(10**7, most=8)
    (1, 3, 8)
    """
    return min(most, 1 + rows // ROWS_PER_WORKER)
