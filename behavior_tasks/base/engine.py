"""The engine: who runs the buckets.

A per-shopper step is one pure function of one bucket. The engine only decides which process calls it; here
that is a pool of local processes. Results come back in bucket order, whatever order the work finished in.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from behavior_tasks.base.progress import track

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_buckets(function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, what: str) -> list[Result]:
    """Call a top-level function once a job and return the results in the order of the jobs.

    Args:
        function: picklable; reads and writes only what its job names.
        workers: processes at the same time; with 1, or a single job, the caller's own process works.
        what: description for the progress bar.
    """
    if workers == 1 or len(jobs) == 1:
        return list(track(map(function, jobs), what=what, total=len(jobs)))
    # A fresh interpreter per worker: forking a process that runs DuckDB or torch threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(workers, len(jobs)), mp_context=context) as pool:
        return list(track(pool.map(function, jobs), what=what, total=len(jobs)))
