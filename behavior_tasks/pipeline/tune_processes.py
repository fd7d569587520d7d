"""The workers of a tuning on one machine: a number of processes, watched until the trials are done.

In comes the tuning's URI; out come finished trials in its study. The one thing to know: this process keeps a pipe to
each worker open, so however it ends, its workers stop too and give their trials back.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.trials import Tried
from behavior_tasks.pipeline.runs import open_run
from behavior_tasks.pipeline.tuning import open_study

POLL_SECONDS = 0.5
STOP_SECONDS = 120.0
"""For a training that writes its last checkpoint (up to 60 s) and for what its worker has to say in MLflow."""
MOST_DEATHS = 3
"""How often workers that died, e.g. by kill -9, are replaced."""


def run_workers(
    run_uri: str, numbers: Sequence[int], *, on_tick: Callable[[Sequence[Tried]], None] = lambda _: None
) -> None:
    """Run workers until the trials that are asked for are finished, or the time is over.

    Args:
        run_uri: what `start_tuning` gave, after `prepare_tuning`.
        numbers: of the workers, one process each.
        on_tick: called twice a second with the trials as they stand.

    Raises:
        UserError: what a worker was refused, or that workers died again and again.
    """
    run = open_run(run_uri)
    study = open_study(run.home, run.record.config)
    deaths = 0
    while True:
        workers = [_start(run_uri, _log_of(study.folder, number)) for number in numbers]
        try:
            while any(worker.poll() is None for worker in workers):
                on_tick(study.trials())
                time.sleep(POLL_SECONDS)
        finally:
            _stop(workers)
        on_tick(study.trials())
        error = run.noted("error")
        if error is not None:
            raise UserError(f"The tuning stopped.\n{error['message']}")
        died = sum(worker.returncode != 0 for worker in workers)
        if not died or not study.left():
            return
        deaths += died
        if deaths > MOST_DEATHS:
            log = next(_log_of(study.folder, n) for n, w in zip(numbers, workers, strict=True) if w.returncode)
            raise UserError(
                f"Workers of the study {study.name} died {deaths} times.",
                found=_last_lines(log),
                next_step="free some memory or take fewer tuning.workers; the same command goes on",
            )


def _log_of(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.log"


def _start(run_uri: str, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "behavior_tasks.pipeline.tune_worker", run_uri]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # A terminal's Ctrl-C must reach the workers through this process only, as a request to stop.
            start_new_session=True,
        )


def _stop(workers: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask the workers to stop, and kill those that take too long, with all that they started."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        try:
            worker.wait(timeout=max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            leader = psutil.Process(worker.pid)
            for member in [*leader.children(recursive=True), leader]:
                member.kill()
            worker.wait()


def _last_lines(log: Path, most: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-most:])
