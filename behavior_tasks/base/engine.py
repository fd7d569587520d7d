"""The engine: who runs the buckets.

A per-shopper step is one pure function of one bucket. The engine only decides which process calls it; here
that is a pool of local processes. Results come back in bucket order, whatever order the work finished in.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.progress import track

Job = TypeVar("Job")
Result = TypeVar("Result")
ROWS_PER_WORKER = 500_000
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
        engine: who works. With one worker, or a single job, that is the caller's own process.
        what: description for the progress bar.
        rows: rows of all jobs together, where they are known; few rows are not worth many processes.
    """
    workers = min(engine.workers if rows is None else workers_for(rows, most=engine.workers), len(jobs))
    if workers <= 1:
        return list(track(map(function, jobs), what=what, total=len(jobs)))
    # A fresh interpreter per worker: forking a process that runs DuckDB or torch threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        return list(track(pool.map(function, jobs), what=what, total=len(jobs)))


def workers_for(rows: int, *, most: int) -> int:
    """Return how many processes so many rows are worth.

    >>> workers_for(50_000, most=8), workers_for(1_200_000, most=8), workers_for(10**7, most=8)
    (1, 3, 8)
    """
    return min(most, 1 + rows // ROWS_PER_WORKER)
