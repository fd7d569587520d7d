"""The train stage: encoded texts and settings in, a model bundle and its metrics out.

Training is a process of its own, started with `accelerate launch`; this stage starts it, shows how far it is,
passes stop signals on and copies the finished bundle. The work folder outlives a kill of either, so the next
attempt goes on from the last checkpoint to the same weights.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from behavior_tasks.base.artifacts import Output, Rows, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.progress import LOG_EVERY_SECONDS
from behavior_tasks.base.stage import Job
from behavior_tasks.model.device import pick_device
from behavior_tasks.model.work_folder import Heartbeat, Outcome, TrainingJob, WorkFolder
from behavior_tasks.text.tokens import TokenSet

POLL_SECONDS = 0.25
STOP_SECONDS = 60.0
"""How long the process may take to write its last checkpoint after it was asked to stop."""
LOG_LINES = 15
log = logging.getLogger("behavior")


class TrainingStoppedError(RuntimeError):
    """The training process ended before it was done; running the stage again resumes it."""


def train_stage(job: Job) -> Output:
    """Fine-tune the language model in its own process and keep its bundle.

    Writes `model/` (the self-contained bundle) and `metrics.jsonl` (one line an epoch).

    Raises:
        UserError: the settings ask for what can't be had, e.g. a GPU or a checkpoint, or the training diverged.
        TrainingStoppedError: the process was killed or crashed; the message ends with its last words.
    """
    pick_device(job.config.train.device)
    folder = make_folder(job.home.work / "train" / job.key)
    lock = FileLock(folder.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            output = _train_in(WorkFolder(folder), job)
            shutil.rmtree(folder)
            Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise UserError(
            "The same model is being trained by another run right now.",
            next_step="wait for the other run; this one then finds its model finished",
        ) from None
    return output


def _train_in(work: WorkFolder, job: Job) -> Output:
    texts = job.inputs["verbalize"].path / "text.json"
    training = TrainingJob(
        tokens=job.inputs["encode"].path, text_settings=texts, model=job.config.model, train=job.config.train
    )
    write_durably(work.job, training.model_dump_json(indent=2).encode())
    outcome = _run_process(work, job)
    if outcome is None or outcome.status == "stopped":
        what = "was stopped" if outcome else "ended without finishing"
        raise TrainingStoppedError(
            f"The training process {what}; run again to go on from its last checkpoint.\n{_last_words(work, job)}"
        )
    if outcome.status == "refused":
        raise UserError(
            str(outcome.problem), found=outcome.found, expected=outcome.expected, next_step=outcome.next_step
        )
    shutil.copytree(work.bundle, job.out / "model")
    shutil.copyfile(work.metrics, job.out / "metrics.jsonl")
    return _describe(work, job)


def _describe(work: WorkFolder, job: Job) -> Output:
    epochs = work.read_metrics()
    best = max(epochs, key=lambda epoch: (epoch.validation_average_precision, -epoch.epoch))
    tokens = TokenSet.load(job.inputs["encode"].path)
    examples = len(tokens.rows("train")) + len(tokens.rows("validation"))
    decision = json.loads((work.bundle / "decision.json").read_bytes())
    return Output(
        rows=Rows(unit_in="examples", unit_out="models", rows_in=examples, rows_out=1),
        facts={
            "epochs": len(epochs),
            "best_epoch": best.epoch,
            "validation_average_precision": best.validation_average_precision,
            "threshold": decision["threshold"],
            "examples_per_second": round(best.examples_per_second, 1),
        },
    )


def _run_process(work: WorkFolder, job: Job) -> Outcome | None:
    """Start the process, show its progress until it ends, and return how it ended."""
    work.outcome.unlink(missing_ok=True)
    with work.log.open("wb") as stream:
        process = subprocess.Popen(
            _command(work, cpu=pick_device(job.config.train.device).type == "cpu", threads=job.config.train.threads),
            # The process stops when this pipe closes: on request, and also when this stage dies by kill -9.
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # A terminal's Ctrl-C must reach the process through this stage only, as a request to stop.
            start_new_session=True,
            # Threads that spin while they wait slow each other down several times on a busy machine.
            env={"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdin is not None
        pipe = process.stdin
        try:
            with stopping_on_signals(pipe.close), _progress(work) as show:
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    show()
        finally:
            pipe.close()
            _end(process)
    return work.read_outcome()


def _command(work: WorkFolder, *, cpu: bool, threads: int) -> list[str]:
    """Return the command line. Its own configuration file keeps a user's `accelerate config` out of it."""
    config = work.root / "accelerate.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: 'no'\n"
        f"num_processes: 1\nnum_machines: 1\nuse_cpu: {str(cpu).lower()}\n",
        encoding="utf-8",
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(config)]
    launch += ["--num_cpu_threads_per_process", str(threads)]
    return [*launch, "-m", "behavior_tasks.model.train_process", str(work.root), "--follow-stdin"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to stop; end it and what it started when it takes too long."""
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block, SIGTERM and SIGINT call `stop`; after it they reach whoever handled them before.

    So the block can end in good order, and the caller (Airflow, a terminal) still learns of the signal. A signal that
    was ignored (`nohup`, a job in the background of a script) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only; the handlers there stay as they are.
        yield
        return
    received: list[int] = []

    def handle(signum: int, _frame: object) -> None:
        received.append(signum)
        stop()

    heeded = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, handle) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if received:
        handler = before[signal.Signals(received[0])]
        if callable(handler):
            handler(received[0], None)
        else:
            raise SystemExit(128 + received[0])


@contextmanager
def _progress(work: WorkFolder) -> Iterator[Callable[[], None]]:
    """Give a function that shows the newest heartbeat: a bar on a terminal, a log line now and then elsewhere."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("train", total=None)

            def draw() -> None:
                beat = work.read_heartbeat()
                if beat is not None:
                    bar.update(task, total=beat.total_steps, completed=beat.step, description=_few_words(beat))

            yield draw
        return
    logged = [time.monotonic()]

    def write() -> None:
        beat = work.read_heartbeat()
        if beat is not None and time.monotonic() - logged[0] >= LOG_EVERY_SECONDS:
            logged[0] = time.monotonic()
            log.info("%s, about %.0f s left", _words(beat), beat.seconds_left)

    yield write


def _words(beat: Heartbeat) -> str:
    """Say a heartbeat.

    >>> beat = dict(pid=1, epoch=2, step=40, total_steps=90, loss=1.2, examples_per_second=300, seconds_left=9)
    >>> _words(Heartbeat(**beat, validation_average_precision=0.31))
    'train: step 40 of 90, epoch 2, loss 1.200, validation AP 0.310, 300 examples/s'
    """
    measured = beat.validation_average_precision
    score = "" if measured is None else f", validation AP {measured:.3f}"
    return (
        f"train: step {beat.step} of {beat.total_steps}, epoch {beat.epoch}, loss {beat.loss:.3f}{score}, "
        f"{beat.examples_per_second:.0f} examples/s"
    )


def _few_words(beat: Heartbeat) -> str:
    """Say a heartbeat so that a bar still fits beside it."""
    measured = beat.validation_average_precision
    return f"train: loss {beat.loss:.2f}" + ("" if measured is None else f", validation AP {measured:.3f}")


def _last_words(work: WorkFolder, job: Job) -> str:
    """Return the end of the process's log, without the state folder's place on this machine."""
    lines = work.log.read_text(encoding="utf-8", errors="replace").replace(str(job.home.root), "BEHAVIOR_HOME")
    return "\n".join(lines.splitlines()[-LOG_LINES:])
