"""A training as it runs: the work folder's heartbeat and finished epochs in; a bar, log lines and reported metrics out.

On a terminal there is a bar, elsewhere (Airflow) a line every ten seconds. The same figures go to whoever gave the
stage a `report`, from a thread of its own: a slow or absent receiver never holds up a training.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from behavior_tasks.base.progress import LOG_EVERY_SECONDS
from behavior_tasks.base.stage import AbandonedError, Judge, Report
from behavior_tasks.model.work_folder import SAID, Epoch, Heartbeat, WorkFolder

LAST_REPORT_SECONDS = 15.0
"""How long the stage waits at the end for the last figures to be taken."""
QUIET_SECONDS = 10.0
"""Silence from which on it is told."""
log = logging.getLogger("behavior")


@contextmanager
def showing(work: WorkFolder, console: Console | None = None) -> Iterator[Callable[[float], None]]:
    """Give a function that shows the newest heartbeat, to be called with the seconds for which it stood still.

    What the process has to say, e.g. that a head is off or memory ran out, goes into this process's log.

    Args:
        work: of the running training.
        console: where to draw; None: standard error.
    """
    console = console or Console(stderr=True)
    said = _Said(work)
    with _bar(work, console) if console.is_terminal else _lines(work) as show:

        def both(silent_seconds: float) -> None:
            said.pass_on()
            show(silent_seconds)

        try:
            yield both
        finally:
            said.pass_on()


class _Said:
    """Passes on the process's own log records, once each; what its libraries write stays in `log.txt`."""

    def __init__(self, work: WorkFolder) -> None:
        self._path = work.log
        self._read_bytes = 0

    def pass_on(self) -> None:
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read_bytes)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            match = SAID.match(line)
            if match:
                log.log(logging.getLevelNamesMapping()[match[1]], "train: %s", match[2])


@contextmanager
def _bar(work: WorkFolder, console: Console) -> Iterator[Callable[[float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[rates]}"))
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("train: starting", total=None, rates="")

        def draw(silent_seconds: float) -> None:
            beat = work.read_heartbeat()
            if beat is None:
                return
            rates = f"{_rates(beat, short=True)}, {_time_left(beat.seconds_left)}{_quiet(silent_seconds)}"
            scores = _scores(beat, short=True)
            bar.update(task, total=beat.total_steps, completed=beat.step, description=scores, rates=rates)

        yield draw


@contextmanager
def _lines(work: WorkFolder) -> Iterator[Callable[[float], None]]:
    started = logged = time.monotonic()

    def write(silent_seconds: float) -> None:
        nonlocal logged
        now = time.monotonic()
        if now - logged < LOG_EVERY_SECONDS:
            return
        logged = now
        beat = work.read_heartbeat()
        if beat is None:
            log.info("train: starting since %.0f s", now - started)
        else:
            log.info("%s%s", in_words(beat), _quiet(silent_seconds))

    yield write


@contextmanager
def reporting(work: WorkFolder, report: Report | None) -> Iterator[None]:
    """Report the training's figures every ten seconds inside the block, and a last time when it ends."""
    if report is None:
        yield
        return
    over = threading.Event()

    def run() -> None:
        while not over.wait(LOG_EVERY_SECONDS):
            _report(work, report)
        _report(work, report)

    thread = threading.Thread(target=run, name="training report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=LAST_REPORT_SECONDS)


def judging(work: WorkFolder, judge: Judge | None, show: Callable[[float], None]) -> Callable[[float], None]:
    """Return `show`, which then asks the judge about every epoch that has been finished since.

    Epochs of an earlier attempt, which a resumed training finds finished, are judged too.

    Raises:
        AbandonedError: by what is returned, when the judge says no.
    """
    if judge is None:
        return show
    judged = 0

    def show_and_ask(silent_seconds: float) -> None:
        nonlocal judged
        show(silent_seconds)
        for epoch in work.read_metrics()[judged:]:
            judged += 1
            if not judge(epoch_figures(epoch), epoch.epoch):
                raise AbandonedError(f"given up after epoch {epoch.epoch}")

    return show_and_ask


def epoch_figures(epoch: Epoch) -> dict[str, float]:
    """Return the finite figures of an epoch by name."""
    return _numbers(epoch.model_dump(exclude={"epoch", "step"}))


def _report(work: WorkFolder, report: Report) -> None:
    """Report the finished epochs by number, then the heartbeat by optimiser step."""
    for epoch in work.read_metrics():
        report(epoch_figures(epoch), epoch.epoch)
    beat = work.read_heartbeat()
    if beat is not None:
        report(live_figures(beat), beat.step)


def live_figures(beat: Heartbeat) -> dict[str, float]:
    """Return what a heartbeat tells as metrics; their common prefix keeps them apart from those of whole epochs."""
    told = beat.model_dump(exclude={"pid", "doing", "step", "total_steps", "written"})
    return {f"live/{name}": value for name, value in _numbers(told).items()}


def _numbers(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def in_words(beat: Heartbeat) -> str:
    """Say a heartbeat in one line.

    >>> beat = dict(pid=1, epoch=2, step=40, total_steps=90, loss=1.2, examples_per_second=300, seconds_left=95)
    >>> in_words(Heartbeat(**beat, validation_average_precision=0.31, tokens_per_second=4_100))
    'train: step 40 of 90, epoch 2, loss 1.200, validation AP 0.310, 300 examples/s, 4,100 tokens/s, 1:35 left'
    """
    head = f"train: step {beat.step:,} of {beat.total_steps:,}, {_scores(beat, short=False)}"
    return f"{head}, {_rates(beat, short=False)}, {_time_left(beat.seconds_left)}"


def _scores(beat: Heartbeat, *, short: bool) -> str:
    doing = "validating, " if beat.doing == "validate" else ""
    words = f"{doing}epoch {beat.epoch}, loss {beat.loss:.3f}"
    if beat.validation_average_precision is not None:
        words += f", {'AP' if short else 'validation AP'} {beat.validation_average_precision:.3f}"
    if beat.epsilon is not None:
        words += f", ε {beat.epsilon:.2f}"
    best = beat.best_average_precision
    if not short and best is not None and best != beat.validation_average_precision:
        words += f" (best {best:.3f})"
    return words


def _rates(beat: Heartbeat, *, short: bool) -> str:
    if short:
        return f"{beat.examples_per_second:,.0f} ex/s, {beat.tokens_per_second / 1000:,.1f}k tok/s"
    return f"{beat.examples_per_second:,.0f} examples/s, {beat.tokens_per_second:,.0f} tokens/s"


def _time_left(seconds: float) -> str:
    """Say how long it will take.

    >>> _time_left(9), _time_left(7325)
    ('0:09 left', '2:02:05 left')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


def _quiet(seconds: float) -> str:
    return f", silent for {seconds:.0f} s" if seconds > QUIET_SECONDS else ""
