"""Progress of long work: a bar on a terminal, a log line every ten seconds anywhere else (Airflow)."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
LOG_EVERY_SECONDS = 10.0
log = logging.getLogger("behavior")


def track(items: Iterable[Item], *, what: str, total: int) -> Iterator[Item]:
    """Yield the items, showing how many of `total` are done.

    Args:
        what: short description, e.g. "ingest buckets".
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            left = (now - started) / done * (total - done)
            log.info("%s: %d of %d, about %.0f s left", what, done, total, left)


def _bar() -> Progress:
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
